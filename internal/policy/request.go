package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// Kind is what a document is about.
type Kind string

// The kinds of documents.
const (
	KindAccess Kind = "access" // what the integration's role must be allowed: to read its buckets
	KindTrust  Kind = "trust"  // who may assume the role: we, with the external ID
	KindCORS   Kind = "cors"   // which pages may read the buckets with fetch()
	KindRole   Kind = "role"   // trust and access in one; there is no JSON of it
	KindAssume Kind = "assume" // what our own principal must be allowed, where the role is in another account
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{KindAccess, KindTrust, KindCORS, KindRole, KindAssume} }

// Request is a document that is asked for.
type Request struct {
	Kind   Kind
	Format Format
	// Integration is what it is for. It must have passed the configuration's checks.
	Integration *config.Integration
	// Config says which pages read, unless Origins do. Required for CORS without Origins.
	Config  *config.Config
	Origins []string
	// KMSKeys are the ARNs of keys that objects are encrypted with; for access.
	KMSKeys []string
	// Principal is who assumes the role: an ARN, or an account's 12 digits. Required for trust; see [Request.NeedsPrincipal].
	Principal string
	// WebIdentity makes trust about the role that we run as ourselves. nil is the usual.
	WebIdentity *Identity
}

// Identity is a subject of an OpenID Connect provider.
type Identity struct{ ProviderARN, Subject, Audience string }

// NeedsPrincipal tells whether the document cannot be written without a principal.
func (r *Request) NeedsPrincipal() bool {
	return (r.Kind == KindTrust && r.WebIdentity == nil || r.Kind == KindRole) && r.check() == nil
}

// check says why there is no such document, whoever the principal is.
func (r *Request) check() error {
	own := r.Kind == KindTrust && r.WebIdentity != nil
	switch {
	case !slices.Contains(Kinds(), r.Kind):
		return fmt.Errorf("the document %q: there are access, trust, cors, role and assume", r.Kind)
	case !slices.Contains(Formats(), r.Format):
		return fmt.Errorf("the format %q: there are json, terraform, cloudformation and cli", r.Format)
	case r.Kind == KindRole && r.Format == JSON:
		return errors.New("a role is two JSON documents: ask for trust and for access, or for another --format")
	case (r.Kind == KindTrust || r.Kind == KindRole || r.Kind == KindAssume) && !own && r.Integration.RoleARN == "":
		return fmt.Errorf("the integration %s has keys and no role, so nobody is to be trusted", r.Integration.Name)
	}
	return nil
}

// RoleName is what an integration's role is called that has no name yet.
func RoleName(i *config.Integration) string {
	name := "s3redirect-" + i.Name
	return name[:min(len(name), 64)]
}

// SomeRole is a role's ARN that is in order, as long as there is none. Where the region is to be found, the partition is that of our
// principal, if it is known: nothing reaches from one partition into another.
func SomeRole(i *config.Integration, principal string) string {
	partition := i.Partition()
	if parts := strings.Split(principal, ":"); i.Region == config.RegionAuto && len(parts) == 6 && !i.Foreign() {
		partition = parts[1]
	}
	return "arn:" + partition + ":iam::000000000000:role/" + RoleName(i)
}

// Write makes the document, and says what to know about it. Its error is about what was asked for, and says what to do.
func (r *Request) Write() (text string, notes []string, err error) {
	if err := r.check(); err != nil {
		return "", nil, err
	}
	i := r.Integration
	path, name := RoleOf(i.RoleARN)
	role := Role{Name: name, Path: path, MaxSession: max(time.Hour, i.SessionDuration)}
	switch {
	case r.Kind == KindCORS:
		return r.cors()
	case r.Kind == KindAssume:
		notes = []string{"this is for the principal that we run as: allow it there, if the role is in another account, or if its trust policy names our whole account"}
		text, err = r.Format.WritePolicy(RoleName(i), Assume(i.RoleARN))
		return text, r.deployed(notes), err
	case r.Kind == KindTrust && r.WebIdentity != nil:
		return r.ownRole(role)
	}
	if r.Kind != KindTrust {
		for _, key := range r.KMSKeys {
			if err := CheckKMSKey(key); err != nil {
				return "", nil, fmt.Errorf("--kms-key %q: %w", key, err)
			}
			if err := samePartition(key, i); err != nil {
				return "", nil, fmt.Errorf("--kms-key %q: %w", key, err)
			}
		}
		access := Access(i, r.KMSKeys)
		role.Access = &access
		if !i.ListBucket {
			notes = append(notes, "without s3:ListBucket, S3 answers 403 to a key that is not there; with list_bucket: true (--list-bucket) it is a 404")
		}
		if i.RoleARN == "" {
			notes = append(notes, "the integration has keys and no role: this is for the user whose keys they are")
			text, err = r.Format.WritePolicy(RoleName(i), access)
			return text, r.deployed(notes), err
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
	return text, r.deployed(notes), err
}

// deployed adds how a template with names of IAM's is applied: CloudFormation wants that to be said.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-template.html
func (r *Request) deployed(notes []string) []string {
	if r.Format != CloudFormation {
		return notes
	}
	return append(notes, "apply it with: aws cloudformation deploy --capabilities CAPABILITY_NAMED_IAM --stack-name "+stackName.ReplaceAllString(RoleName(r.Integration), "-")+" --template-file FILE")
}

var stackName = regexp.MustCompile(`[^A-Za-z0-9]+`)

// samePartition says why an ARN cannot stand in an integration's policies: IAM refuses those of other partitions. Other stores have one.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
func samePartition(arn string, i *config.Integration) error {
	if partition := strings.Split(arn, ":")[1]; partition != i.Partition() && !i.Foreign() {
		return fmt.Errorf("it is of the partition %s, and the integration is of %s: nothing reaches from one into the other; look at its region and its role", partition, i.Partition())
	}
	return nil
}

// trust is the role's trust policy.
func (r *Request) trust() (*Document, []string, error) {
	i := r.Integration
	p, err := ParsePrincipal(r.Principal, i.Partition())
	if err != nil {
		return nil, nil, fmt.Errorf("the principal %q: %w", r.Principal, err)
	}
	if err := samePartition(p.ARN, i); err != nil {
		return nil, nil, fmt.Errorf("the principal %q: %w", r.Principal, err)
	}
	d := Trust(p, i.ExternalID)
	notes := slices.Clone(p.Warnings)
	if p.Role && !i.Foreign() {
		notes = append(notes, "what a role assumes lasts an hour at most (role chaining), whatever the role's maximum: keep session_duration at 1h")
	}
	if i.ExternalID == "" {
		notes = append(notes, "there is no external ID: whoever can have us use this role can read its buckets through us (the confused deputy). `s3redirect integrate` makes one")
	}
	return &d, notes, nil
}

// ownRole is the trust policy of the role that we run as ourselves.
func (r *Request) ownRole(role Role) (string, []string, error) {
	trust, err := WebIdentity(r.WebIdentity.ProviderARN, r.WebIdentity.Subject, r.WebIdentity.Audience)
	if err != nil {
		return "", nil, fmt.Errorf("web identity: %w", err)
	}
	role.Name, role.Path, role.MaxSession, role.Trust = "s3redirect", "/", time.Hour, &trust
	text, err := r.Format.WriteRole(role)
	return text, r.deployed([]string{
		"this is for the role that s3redirect runs as; each integration's role trusts that one (policy trust --principal)",
		"what a role assumes lasts an hour at most (role chaining): keep session_duration at 1h",
	}), err
}

// cors is the buckets' CORS configuration.
func (r *Request) cors() (string, []string, error) {
	i := r.Integration
	origins, why := r.Origins, CORSFor(r.Origins)
	if len(origins) == 0 {
		origins, why = CORSOrigins(r.Config)
	}
	if err := config.CheckOrigins(origins); err != nil {
		return "", nil, fmt.Errorf("--origin: %w", err)
	}
	notes := []string{why}
	if r.Format != JSON {
		for _, b := range i.Buckets() {
			if locator.IsPattern(b) {
				return "", nil, fmt.Errorf("%s is a pattern, and CORS belongs to a bucket: name the buckets with --bucket instead of --integration", b)
			}
		}
	}
	if r.Format == CloudFormation {
		notes = append(notes, "CloudFormation knows CORS as a property of a bucket that it made or imported: put CorsConfiguration into your bucket's own resource")
	}
	text, err := r.Format.WriteCORS(i.Buckets(), CORS(origins), i.Endpoint)
	return text, notes, err
}
