package document

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/policy"
)

// Kind is the kind of a document.
type Kind string

// The kinds of documents.
const (
	KindAccess Kind = "access" // policy that lets the integration's role read its buckets
	KindTrust  Kind = "trust"  // policy that lets the proxy assume the role
	KindCORS   Kind = "cors"   // CORS rules that let pages read the buckets with fetch()
	KindRole   Kind = "role"   // the role with its trust and access policies; has no JSON format
	KindAssume Kind = "assume" // policy that lets the proxy's principal assume the role
	KindRevoke Kind = "revoke" // policy that revokes the role's sessions
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{KindAccess, KindTrust, KindCORS, KindRole, KindAssume, KindRevoke}
}

// Request describes a document to write.
type Request struct {
	Kind   Kind
	Format Format
	// Integration is the integration that the document is for. It must have passed the
	// configuration's checks.
	Integration *config.Integration
	// Config provides the origins for [KindCORS]. It may be nil if Origins is set.
	Config *config.Config
	// Origins are the origins for [KindCORS]. Optional.
	Origins []string
	// KMSKeys are the ARNs of the KMS keys that objects are encrypted with, for [KindAccess] and
	// [KindRole]. Optional.
	KMSKeys []string
	// Principal assumes the role: the ARN of a user or role, or an account's 12 digits. It is
	// required if [Request.NeedsPrincipal] returns true.
	Principal string
	// Before is the instant before which sessions must be issued to be revoked, for [KindRevoke].
	Before time.Time
	// WithTags adds sts:TagSession and sts:SetSourceIdentity to [KindTrust], [KindRole] and
	// [KindAssume]. An integration with session tags or a source identity adds them, too.
	WithTags bool
	// WebIdentity, if not nil, changes [KindTrust] to the trust policy of the role that the proxy
	// itself runs as.
	WebIdentity *Identity
}

// Identity is a subject of an OpenID Connect provider.
type Identity struct{ ProviderARN, Subject, Audience string }

// NeedsPrincipal reports whether the document requires a principal.
func (r *Request) NeedsPrincipal() bool {
	trusts := r.Kind == KindTrust && r.WebIdentity == nil || r.Kind == KindRole
	return trusts && r.check() == nil
}

// check returns an error if the document cannot be written for any principal.
func (r *Request) check() error {
	needsRole := r.Kind == KindTrust && r.WebIdentity == nil ||
		r.Kind == KindRole || r.Kind == KindAssume || r.Kind == KindRevoke
	switch {
	case !slices.Contains(Kinds(), r.Kind):
		return fmt.Errorf("unknown document %q; use access, trust, cors, role, assume "+
			"or revoke", r.Kind)
	case !slices.Contains(Formats(), r.Format):
		return fmt.Errorf("unknown format %q; use json, terraform, cloudformation or cli", r.Format)
	case r.Kind == KindRole && r.Format == JSON:
		return errRoleJSON
	case needsRole && r.Integration.OwnCredentials:
		return fmt.Errorf("integration %s uses the proxy's own credentials and no role, so it has "+
			"no %s document", r.Integration.Name, r.Kind)
	case needsRole && r.Integration.RoleARN == "":
		return fmt.Errorf("integration %s has access keys and no role, so it has no %s document",
			r.Integration.Name, r.Kind)
	}
	return nil
}

var errRoleJSON = errors.New("a role consists of two JSON documents; " +
	"request trust and access, or another --format")

// Write returns the document, and notes for the person who applies it. Errors describe what is
// wrong with the request and how to correct it.
func (r *Request) Write() (text string, notes []string, err error) {
	if err := r.check(); err != nil {
		return "", nil, err
	}
	i := r.Integration
	path, name := policy.RoleOf(i.RoleARN)
	role := Role{Name: name, Path: path, MaxSession: max(time.Hour, i.SessionDuration)}
	switch {
	case r.Kind == KindCORS:
		return r.cors()
	case r.Kind == KindAssume:
		assume := r.tagged(policy.Assume(i.RoleARN))
		text, err = r.Format.WritePolicy(i.RoleName(), assume)
		return text, r.addDeployNote([]string{noteAssume}), err
	case r.Kind == KindRevoke:
		return r.revoke(name)
	case r.Kind == KindTrust && r.WebIdentity != nil:
		return r.ownRole(role)
	}
	if r.Kind != KindTrust {
		if err := r.checkKMSKeys(); err != nil {
			return "", nil, err
		}
		if err := checkNames(i); err != nil {
			return "", nil, err
		}
		access := policy.Access(i.Scope(), r.KMSKeys)
		role.Access = &access
		notes = append(notes, r.accessNotes(&role)...)
		if i.RoleARN == "" {
			if i.OwnCredentials {
				notes = append(notes, noteOwn)
			} else {
				notes = append(notes, noteKeys)
			}
			text, err = r.Format.WritePolicy(i.RoleName(), access)
			return text, r.addDeployNote(notes), err
		}
	}
	if r.Kind != KindAccess {
		trust, more, err := r.trust()
		if err != nil {
			return "", nil, err
		}
		role.Trust, notes = trust, append(notes, more...)
	}
	text, err = r.Format.WriteRole(role)
	return text, r.addDeployNote(notes), err
}

const (
	noteAssume = "attach this policy to the principal that the proxy runs as, if the role is in " +
		"another account or its trust policy names the proxy's whole account"
	noteListBucket = "without s3:ListBucket, S3 answers 403 for a missing key; " +
		"with list_bucket: true (--list-bucket) it answers 404"
	noteNotASCII = "IAM accepts no characters above U+00FF in a policy unless they are escaped, which " +
		"a template cannot express; if the deployment fails, use another --format"
	noteKeys = "the integration has access keys and no role; " +
		"attach this policy to the user that owns the keys"
	noteOwn = "the integration uses the proxy's own credentials and no role; " +
		"attach this policy to the proxy's own role or user"
	noteRoleChaining = "a session that a role obtains by role chaining lasts one hour at most, " +
		"whatever the role's maximum is; keep session_duration at 1h"
	noteNoExternalID = "there is no external ID: anyone who can add integrations to the proxy " +
		"can read this role's buckets (the confused deputy problem); `s3redirect integrate` " +
		"generates an external ID"
	noteTags = "the policy of the proxy's own principal must allow sts:TagSession and " +
		"sts:SetSourceIdentity, too; the document assume has both"
	noteOwnRole = "this is the role that s3redirect runs as; each integration's role must trust " +
		"it (s3redirect policy trust --principal)"
	noteBucketCORS = "CORS belongs to the whole bucket, not to a prefix: the rules replace those that " +
		"the bucket has, so apply them once for all integrations of the bucket"
	noteBucketResource = "CloudFormation sets CORS only on buckets that it created or imported; " +
		"copy CorsConfiguration into your bucket's resource"
)

// accessNotes returns the notes about an access policy, and names the policy within the role. One
// role may have the policies of several prefixes.
func (r *Request) accessNotes(role *Role) (notes []string) {
	i := r.Integration
	if !i.ListBucket {
		notes = append(notes, noteListBucket)
	}
	if i.Prefix != "" && i.RoleARN != "" {
		role.AccessName = accessName + "-" + i.Name
		notes = append(notes, "the policy is named "+role.AccessName+" within the role, so that "+
			"integrations of other prefixes may share the role; keep session_policy on if they do")
	}
	if r.Format == CloudFormation && strings.Contains(compact(role.Access), `\u`) {
		notes = append(notes, noteNotASCII)
	}
	return notes
}

// checkNames returns an error if the store's policies cannot name the integration's prefixes.
func checkNames(i *config.Integration) error {
	scope := i.Scope()
	for _, prefix := range append([]string{i.Prefix}, i.BlockedPrefixes...) {
		if !scope.CanName(prefix) {
			return fmt.Errorf("policies of S3-compatible stores have no escape for *, ?, ${ and a leading $, "+
				"so a policy for %s would also name other keys", locator.Printable(prefix))
		}
	}
	return nil
}

func (r *Request) checkKMSKeys() error {
	for _, key := range r.KMSKeys {
		err := policy.CheckKMSKey(key)
		if err == nil {
			err = samePartition(key, r.Integration)
		}
		if err != nil {
			return fmt.Errorf("--kms-key %q: %w", key, err)
		}
	}
	return nil
}

// addDeployNote adds the command that deploys a CloudFormation template. CloudFormation requires
// CAPABILITY_NAMED_IAM for templates that name IAM resources.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-template.html
func (r *Request) addDeployNote(notes []string) []string {
	if r.Format != CloudFormation {
		return notes
	}
	stack := notStackName.ReplaceAllString(r.Integration.RoleName(), "-")
	if r.Kind == KindRevoke {
		stack += "-revoke" // deployed to the role's stack, the template would remove the role
	}
	return append(notes, "deploy it with: aws cloudformation deploy "+
		"--capabilities CAPABILITY_NAMED_IAM --stack-name "+stack+" --template-file FILE")
}

var notStackName = regexp.MustCompile(`[^A-Za-z0-9]+`)

// samePartition returns an error if an ARN is not in the integration's partition. IAM rejects such
// ARNs in policies. S3-compatible stores have a single partition.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
func samePartition(arn string, i *config.Integration) error {
	if got, want := strings.Split(arn, ":")[1], i.Partition(); got != want && i.IsAWS() {
		return fmt.Errorf("the ARN is in partition %s, but the integration is in %s; "+
			"check the integration's region and role", got, want)
	}
	return nil
}

// trust returns the role's trust policy.
func (r *Request) trust() (*policy.Document, []string, error) {
	i := r.Integration
	p, err := policy.ParsePrincipal(r.Principal, i.Partition())
	if err == nil {
		err = samePartition(p.ARN, i)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("principal %q: %w", r.Principal, err)
	}
	d := r.tagged(policy.Trust(p, i.ExternalID))
	notes := slices.Clone(p.Warnings)
	if r.needsTags() {
		notes = append(notes, noteTags)
	}
	if p.Role && i.IsAWS() {
		notes = append(notes, noteRoleChaining)
	}
	if i.ExternalID == "" {
		notes = append(notes, noteNoExternalID)
	}
	return &d, notes, nil
}

// tagged returns d, with the actions that tags require if they are needed.
func (r *Request) tagged(d policy.Document) policy.Document {
	if r.needsTags() {
		return d.WithTags()
	}
	return d
}

// needsTags reports whether AssumeRole is called with tags or a source identity: the integration's,
// or those of the proxy's own session, which STS passes on.
func (r *Request) needsTags() bool {
	return r.WithTags || len(r.Integration.SessionTags) > 0 || r.Integration.SourceIdentity != ""
}

// ownRole writes the trust policy of the role that the proxy itself runs as.
func (r *Request) ownRole(role Role) (string, []string, error) {
	id := r.WebIdentity
	trust, err := policy.WebIdentity(id.ProviderARN, id.Subject, id.Audience)
	if err != nil {
		return "", nil, fmt.Errorf("web identity: %w", err)
	}
	trust = r.tagged(trust)
	role.Name, role.Path, role.MaxSession, role.Trust = "s3redirect", "/", time.Hour, &trust
	text, err := r.Format.WriteRole(role)
	return text, r.addDeployNote([]string{noteOwnRole, noteRoleChaining}), err
}

// cors writes the CORS configuration of the integration's buckets.
func (r *Request) cors() (string, []string, error) {
	i := r.Integration
	origins, note := r.Origins, corsNote(r.Origins)
	if len(origins) == 0 {
		origins, note = corsOrigins(r.Config)
	}
	if err := config.CheckOrigins(origins); err != nil {
		return "", nil, fmt.Errorf("--origin: %w", err)
	}
	notes := []string{note}
	if r.Format != JSON {
		for _, b := range i.Buckets() {
			if i.HasAccessPoint() {
				return "", nil, fmt.Errorf("%s is an access point, but CORS is set on the bucket "+
					"behind it; name that bucket with --bucket instead of --integration", b)
			}
			if locator.IsPattern(b) {
				return "", nil, fmt.Errorf("%s is a pattern, but CORS is set on single buckets; "+
					"name the buckets with --bucket instead of --integration", b)
			}
		}
	}
	if i.Prefix != "" {
		notes = append(notes, noteBucketCORS)
	}
	if r.Format == CloudFormation {
		notes = append(notes, noteBucketResource)
	}
	text, err := r.Format.WriteCORS(i.Buckets(), policy.CORS(origins), i.Endpoint)
	return text, notes, err
}
