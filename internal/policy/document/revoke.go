package document

import (
	"fmt"

	"s3redirect/internal/policy"
)

// revokeName is the name of the policy that revokes a role's sessions. The IAM console uses the
// same name, so each revocation replaces the previous one.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
const revokeName = "AWSRevokeOlderSessions"

const (
	noteRevoke = "S3 rejects the revoked sessions as soon as IAM applies the policy, which can " +
		"take a minute; then purge every replica (POST /-/purge), so that it gets a new session"
	noteRevokeAll = "the policy revokes all sessions of the role, also those of its other users"
	noteRevokeEnd = "remove the policy when the revoked sessions have expired, " +
		"session_duration after the revocation"
	noteRevokeStore = "not every S3-compatible store evaluates aws:TokenIssueTime; check that the " +
		"store rejects an old URL"
)

// revoke writes the policy that revokes the sessions of the integration's role.
func (r *Request) revoke(role string) (text string, notes []string, err error) {
	notes = []string{noteRevoke, noteRevokeAll, noteRevokeEnd}
	if !r.Integration.IsAWS() {
		notes = append(notes, noteRevokeStore)
	}
	text, err = r.Format.writeRevoke(role, policy.Revoke(r.Before))
	return text, r.addDeployNote(notes), err
}

// writeRevoke writes an inline policy of an existing role.
func (f Format) writeRevoke(role string, d policy.Document) (string, error) {
	switch f {
	case Terraform:
		return fmt.Sprintf(`resource "aws_iam_role_policy" %q {
  name = %q
  role = %s
  policy = %s
}
`, label(role)+"_revoke", revokeName, literal(role), jsonencode(d)), nil
	case CloudFormation:
		return template(map[string]resource{logicalID(role) + "Revoke": {
			Type: "AWS::IAM::RolePolicy",
			Properties: rolePolicy{
				PolicyName:     revokeName,
				RoleName:       role,
				PolicyDocument: &d,
			},
		}}, nil)
	case CLI:
		return fmt.Sprintf("aws iam put-role-policy --role-name %s --policy-name %s \\\n"+
			"  --policy-document %s\n", quote(role), revokeName, quote(compact(d))), nil
	}
	return indented(d, ""), nil
}
