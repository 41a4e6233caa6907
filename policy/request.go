package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"s3redirect/config"
	"s3redirect/locator"
)

// Kind is which document of an integration is meant.
type Kind string

// The kinds.
const (
	KindAccess Kind = "access" // what the integration's role must be allowed: to read its buckets
	KindTrust  Kind = "trust"  // who may assume the role
	KindCORS   Kind = "cors"   // which pages may read the buckets with fetch()
	KindRole   Kind = "role"   // trust and access in one (not as JSON)
	KindAssume Kind = "assume" // what our own principal must be allowed, where the role is in another account
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{KindAccess, KindTrust, KindCORS, KindRole, KindAssume} }

// Request is one document of one integration, to be written in some format.
type Request struct {
	Kind        Kind
	Format      Format
	Integration *config.Integration
	Config      *config.Config // that the integration is, or will be, in: it says which pages read the buckets
	// Principal is who assumes the role, as [ParsePrincipal] takes it. A trust policy needs it: see [Request.NeedsPrincipal].
	Principal string
	KMSKeys   []string // Optional. ARNs of the keys that objects are encrypted with.
	Origins   []string // Optional. The origins whose pages read the buckets; default: the configuration's.
	// Provider, Subject and Audience ask for another trust policy than the integration's: that of the role that we run as
	// ourselves, as [WebIdentity] makes it. Optional.
	Provider, Subject, Audience string
}

// NeedsPrincipal tells whether the document names the principal that we run as, which only STS, or a person, can tell.
func (r *Request) NeedsPrincipal() bool {
	return (r.Kind == KindTrust && r.Provider == "" || r.Kind == KindRole) && r.check() == nil
}

// check says why there is no such document, whoever the principal is.
func (r *Request) check() error {
	switch {
	case !slices.Contains(Kinds(), r.Kind):
		return fmt.Errorf("the document %q: there are access, trust, cors, role and assume", r.Kind)
	case !slices.Contains(Formats(), r.Format):
		return fmt.Errorf("the format %q: there are json, terraform, cloudformation and cli", r.Format)
	case r.Kind == KindRole && r.Format == JSON:
		return errors.New("a role is two JSON documents: ask for trust and for access, or for another format")
	case (r.Kind == KindTrust && r.Provider == "" || r.Kind == KindRole || r.Kind == KindAssume) && r.Integration.RoleARN == "":
		return fmt.Errorf("the integration %s has keys and no role, so nobody is to be trusted", r.Integration.Name)
	}
	return nil
}

// RoleName is what an integration's role is called that has no name yet.
func RoleName(i *config.Integration) string {
	name := "s3redirect-" + i.Name
	return name[:min(len(name), 64)]
}

// Write writes the document, and what to know about it. An error says which part of the request will not do.
func (r *Request) Write() (text string, notes []string, err error) {
	if err := r.check(); err != nil {
		return "", nil, err
	}
	i := r.Integration
	switch {
	case r.Kind == KindCORS:
		return r.cors()
	case r.Kind == KindAssume:
		text, err = r.Format.WritePolicy(RoleName(i), Assume(i.RoleARN))
		return text, []string{"this is for the principal that we run as: allow it there, if the role is in another account, or if its trust policy names our whole account"}, err
	case r.Kind == KindTrust && r.Provider != "":
		return r.ownRole()
	case r.Kind == KindAccess && i.RoleARN == "":
		return r.userAccess()
	}

	path, name := RoleOf(i.RoleARN)
	role := Role{Name: name, Path: path, MaxSession: max(time.Hour, i.SessionDuration)}
	var more []string
	switch r.Kind {
	case KindAccess:
		role.Access, notes, err = r.access()
	case KindTrust:
		role.Trust, notes, err = r.trust()
	case KindRole:
		if role.Access, notes, err = r.access(); err == nil {
			role.Trust, more, err = r.trust()
		}
	}
	if err != nil {
		return "", nil, err
	}
	text, err = r.Format.WriteRole(role)
	return text, append(notes, more...), err
}

// access is the role's access policy.
func (r *Request) access() (d *Document, notes []string, err error) {
	for _, key := range r.KMSKeys {
		if err := CheckKMSKey(key); err != nil {
			return nil, nil, fmt.Errorf("the KMS key %q: %w", key, err)
		}
	}
	if !r.Integration.ListBucket {
		notes = []string{"without s3:ListBucket, S3 answers 403 to a key that is not there; with list_bucket it is allowed, and the answer is 404"}
	}
	return new(Access(r.Integration, r.KMSKeys)), notes, nil
}

// userAccess is the access policy of the user whose keys the integration has.
func (r *Request) userAccess() (text string, notes []string, err error) {
	d, notes, err := r.access()
	if err != nil {
		return "", nil, err
	}
	text, err = r.Format.WritePolicy(RoleName(r.Integration), *d)
	return text, append(notes, "the integration has keys and no role: this is for the user whose keys they are"), err
}

// trust is the role's trust policy.
func (r *Request) trust() (*Document, []string, error) {
	i := r.Integration
	p, err := ParsePrincipal(r.Principal, i.Partition())
	if err != nil {
		return nil, nil, fmt.Errorf("the principal %q: %w", r.Principal, err)
	}
	notes := slices.Clone(p.Warnings)
	if p.Role && !i.Foreign() {
		notes = append(notes, "what a role assumes lasts an hour at most (role chaining), whatever the role's maximum: keep session_duration at 1h")
	}
	if i.ExternalID == "" {
		notes = append(notes, "there is no external ID: whoever can have us use this role can read its buckets through us (the confused deputy). `s3redirect integrate` makes one")
	}
	return new(Trust(p, i.ExternalID)), notes, nil
}

// ownRole is the trust policy of the role that we run as ourselves.
func (r *Request) ownRole() (text string, notes []string, err error) {
	trust, err := WebIdentity(r.Provider, r.Subject, r.Audience)
	if err != nil {
		return "", nil, fmt.Errorf("web identity: %w", err)
	}
	text, err = r.Format.WriteRole(Role{Name: "s3redirect", Path: "/", MaxSession: time.Hour, Trust: &trust})
	return text, []string{
		"this is for the role that s3redirect runs as; each integration's role trusts that one (policy trust --principal)",
		"what a role assumes lasts an hour at most (role chaining): keep session_duration at 1h",
	}, err
}

// cors is the buckets' CORS configuration.
func (r *Request) cors() (text string, notes []string, err error) {
	origins, why := r.Origins, CORSFor(r.Origins)
	if len(origins) == 0 {
		origins, why = CORSOrigins(r.Config)
	}
	if err := config.CheckOrigins(origins); err != nil {
		return "", nil, fmt.Errorf("the origins: %w", err)
	}
	buckets := r.Integration.Buckets()
	if n := slices.IndexFunc(buckets, locator.IsPattern); n >= 0 && r.Format != JSON {
		return "", nil, fmt.Errorf("%s is a pattern, and CORS belongs to a bucket: name the buckets themselves", buckets[n])
	}
	notes = []string{why}
	if r.Format == CloudFormation {
		notes = append(notes, "CloudFormation knows CORS as a property of a bucket that it made or imported: put CorsConfiguration into your bucket's own resource")
	}
	text, err = r.Format.WriteCORS(buckets, CORS(origins), r.Integration.Endpoint)
	return text, notes, err
}
