package document

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/policy"
)

// tenant returns an integration of a prefix, with the role of all tenants.
func tenant(name, prefix string) *config.Integration {
	return role(func(i *config.Integration) {
		i.Name, i.Bucket, i.Prefix = name, "films", prefix
		i.RoleARN, i.ListBucket = "arn:aws:iam::123456789012:role/s3redirect-team.a", true
		i.BlockedPrefixes = []string{prefix + "raw/"}
	})
}

// TestAccessOfPrefix writes the access policy of a prefix in all formats, and reads it back.
func TestAccessOfPrefix(t *testing.T) {
	i := tenant("tenant-a", `it's "${a}" %{b} *?$ ü日🎬/`)
	access := policy.Access(i.Scope(), nil)
	want := compact(access)
	if strings.ContainsFunc(want, func(r rune) bool { return r > '~' }) {
		t.Errorf("the policy has characters outside ASCII: %s", want)
	}
	write := func(kind Kind, format Format) string {
		t.Helper()
		r := Request{Kind: kind, Format: format, Integration: i,
			Principal: "arn:aws:iam::123456789012:role/proxy"}
		text, notes, err := r.Write()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(notes, "\n"), "is named read-tenant-a") {
			t.Errorf("%s as %s: notes = %q, want one about the policy's name", kind, format, notes)
		}
		return text
	}
	checkJSON(t, "JSON", write(KindAccess, JSON), want)
	for _, kind := range []Kind{KindAccess, KindRole} {
		text := write(kind, Terraform)
		got := attributes(t, text, "aws_iam_role_policy")
		checkJSON(t, "Terraform", got["policy"], want)
		checkAttributes(t, got, map[string]string{"name": "read-tenant-a"})
		const label = `"aws_iam_role_policy" "s3redirect_team_a-read-tenant-a"`
		if !strings.Contains(text, label) {
			t.Errorf("Terraform has no resource %s:\n%s", label, text)
		}
	}
	keys := tenant("tenant-b", "日/")
	keys.RoleARN, keys.AccessKeyID = "", "AKIA"
	r := Request{Kind: KindAccess, Format: Terraform, Integration: keys}
	text, _, err := r.Write()
	if err != nil {
		t.Fatal(err)
	}
	checkJSON(t, "policy of a user", attributes(t, text, "aws_iam_policy")["policy"],
		compact(policy.Access(keys.Scope(), nil)))
	text = write(KindAccess, CloudFormation)
	p := parseTemplate(t, text, nil).GetAllIAMRolePolicyResources()["S3RedirectTeamAReadTenantA"]
	if p == nil || p.RoleName != "s3redirect-team.a" || p.PolicyName != "read-tenant-a" {
		t.Fatalf("template = %s, want the policy read-tenant-a of s3redirect-team.a", text)
	}
	checkJSON(t, "CloudFormation", compact(p.PolicyDocument), want)
	role, err := parseTemplate(t, write(KindRole, CloudFormation), nil).
		GetIAMRoleWithName("S3RedirectTeamA")
	if err != nil || role.Policies[0].PolicyName != "read-tenant-a" {
		t.Errorf("role = %+v, %v, want the policy read-tenant-a", role, err)
	}
	checkArguments(t, write(KindAccess, CLI), [][]string{{
		"iam", "put-role-policy", "--role-name", "s3redirect-team.a",
		"--policy-name", "read-tenant-a", "--policy-document", want,
	}})
}

// TestDocumentsOfOneRole checks that the documents of two prefixes do not replace one another, even
// if the integrations share a role.
func TestDocumentsOfOneRole(t *testing.T) {
	for _, f := range []Format{Terraform, CloudFormation, CLI} {
		names := map[string]string{}
		for _, name := range []string{"tenant-a", "tenant-b"} {
			r := Request{Kind: KindAccess, Format: f, Integration: tenant(name, name+"/")}
			text, notes, err := r.Write()
			if err != nil {
				t.Fatal(err)
			}
			var label string
			switch f {
			case Terraform:
				label, _, _ = strings.Cut(text, "{")
			case CloudFormation:
				_, label, _ = strings.Cut(text, "Resources:\n")
				label, _, _ = strings.Cut(label, ":")
				label += notes[len(notes)-1] // the stack's name
			case CLI:
				label, _, _ = strings.Cut(text, "--policy-document")
			}
			if other, taken := names[label]; taken {
				t.Errorf("%s: %s and %s are both %s", f, name, other, label)
			}
			names[label] = name
		}
	}
}

func TestRequestOfPrefix(t *testing.T) {
	const key = "arn:aws:kms:eu-central-1:123456789012:key/k"
	store := tenant("tenant-a", "a*/")
	store.Endpoint, store.STSEndpoint = "https://s3.example", "https://s3.example"
	store.SessionPolicy, store.RoleARN = false, "arn:aws:iam:::role/r"
	encrypted := tenant("tenant-a", "tenant-a/")
	encrypted.KMSKeys = []string{key}
	for _, q := range []struct {
		request         Request
		text, note, err string
	}{
		{
			request: Request{Kind: KindAccess, Format: JSON, Integration: store},
			err:     "have no escape for *, ?, ${",
		},
		{
			request: Request{Kind: KindAccess, Format: JSON, Integration: encrypted,
				KMSKeys: []string{key}},
			text: fmt.Sprintf("\"Resource\": [\n        %q\n      ]", key),
		},
		{
			request: Request{Kind: KindCORS, Format: CLI, Integration: encrypted,
				Origins: []string{"*"}},
			text: "--bucket films ",
			note: "belongs to the whole bucket",
		},
		{
			request: Request{Kind: KindRevoke, Format: JSON, Integration: encrypted,
				Before: time.Unix(1e9, 0)},
			text: "aws:TokenIssueTime",
			note: "all sessions of the role",
		},
		{
			request: Request{Kind: KindAccess, Format: CloudFormation,
				Integration: tenant("tenant-a", "日/")},
			text: "日/*",
			note: "IAM accepts no characters above U+00FF",
		},
	} {
		text, notes, err := q.request.Write()
		if q.err != "" {
			if err == nil || !strings.Contains(err.Error(), q.err) {
				t.Errorf("%s: error = %v, want one with %q", q.request.Kind, err, q.err)
			}
			continue
		}
		if err != nil || !strings.Contains(text, q.text) ||
			!strings.Contains(strings.Join(notes, "\n"), q.note) {
			t.Errorf("%s: got %v, notes %q and\n%s\nwant %q and a note with %q",
				q.request.Kind, err, notes, text, q.text, q.note)
		}
	}
}
