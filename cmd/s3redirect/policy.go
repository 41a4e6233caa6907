package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/onboard"
	"s3redirect/internal/policy/document"
)

// list is the value of a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// draft is an integration that flags describe.
type draft struct {
	config.Integration
	buckets, blocked list
	secret           string
}

func (d *draft) register(flags *flag.FlagSet) {
	flags.StringVar(&d.Name, "name", "",
		"the `name` of the integration; default: the bucket's name")
	flags.Var(&d.buckets, "bucket", "a `bucket`, or a pattern such as team-*; may be repeated; "+
		"one bucket makes a scoped integration, several buckets or a pattern a default integration")
	flags.StringVar(&d.Prefix, "prefix", "",
		"narrows the bucket to the keys under this `prefix`, such as tenant-a/")
	flags.Var(&d.blocked, "blocked-prefix", "a `prefix` that no viewer may read, from the bucket's root; "+
		"may be repeated")
	flags.StringVar(&d.AccessPoint, "access-point", "",
		"the `ARN` of the access point through which the bucket is read")
	flags.StringVar(&d.Region, "region", "", "the `region` of the buckets, or auto")
	flags.StringVar(&d.RoleARN, "role-arn", "", "the `ARN` of the role")
	flags.StringVar(&d.ExternalID, "external-id", "",
		"the external `ID` that the role's trust policy requires")
	flags.DurationVar(&d.SessionDuration, "session-duration", time.Hour,
		"the lifetime of a session")
	flags.BoolVar(&d.FileVersioning, "file-versioning", false,
		"allow ?versionId=, which requires s3:GetObjectVersion")
	flags.BoolVar(&d.ListBucket, "list-bucket", false,
		"allow s3:ListBucket, too, so that S3 answers 404 for a missing key; without it, "+
			"S3 answers 403, which does not reveal whether the key exists")
	flags.StringVar(&d.Endpoint, "endpoint", "",
		"the `URL` of an S3-compatible store, as browsers reach it")
	flags.StringVar(&d.STSEndpoint, "sts-endpoint", "", "the `URL` of the store's STS")
	flags.BoolVar(&d.PathStyle, "path-style", false,
		"the store expects the bucket in the URL's path instead of the host name")
	flags.StringVar(&d.AccessKeyID, "access-key-id", "",
		"the access key ID, or '${NAME}' for an environment `variable`")
	flags.StringVar(&d.secret, "secret-access-key", "",
		"the secret key as '${NAME}', an environment `variable`; the key itself is rejected, "+
			"because other users can read command lines")
}

// notEmpty are the flags that must not be set to an empty text, with what to do instead. An unset
// variable of a script would otherwise remove a condition from a policy, or name another principal.
var notEmpty = map[string]string{
	"external-id":  "; without it, integrate generates an external ID",
	"principal":    "; without it, STS is asked",
	"role-arn":     "",
	"access-point": "",
	"prefix":       "; without it, the whole bucket is meant",
}

// rejectEmpty returns an error if a flag of notEmpty is set to an empty text.
func rejectEmpty(flags *flag.FlagSet) (err error) {
	flags.Visit(func(f *flag.Flag) {
		if remedy, ok := notEmpty[f.Name]; ok && f.Value.String() == "" && err == nil {
			err = usageError{fmt.Errorf("s3redirect %s: --%s is empty; if it comes from a variable, "+
				"set that; or omit the flag%s", flags.Name(), f.Name, remedy)}
		}
	})
	return err
}

var errSecretOnCommandLine = errors.New("--secret-access-key: name an environment variable, " +
	"such as '${SECRET}'; other users of this machine can read command lines")

// finish completes the integration from the flags.
func (d *draft) finish() error {
	if d.secret != "" && !strings.HasPrefix(d.secret, "${") {
		return usageError{errSecretOnCommandLine}
	}
	d.SecretAccessKey, d.SessionPolicy = config.Secret(d.secret), true
	if len(d.buckets) == 1 && !locator.IsPattern(d.buckets[0]) {
		d.Bucket, d.PermittedBuckets = d.buckets[0], nil
	} else {
		d.Bucket, d.PermittedBuckets = "", d.buckets
	}
	d.BlockedPrefixes = d.blocked
	if d.Name == "" {
		d.Name = onboard.DefaultName(d.Buckets(), d.Prefix)
	}
	if d.RoleARN == "" || d.SessionDuration == time.Hour { // the file does not state the default
		d.SessionDuration = 0
	}
	return nil
}

// request is the document that a policy command writes.
type request struct {
	document.Request
	kmsKeys, origins list
	webIdentity      document.Identity
	before           string
}

const policyHelp = `Usage: s3redirect policy access|trust|cors|role|assume|revoke [flags]

  access   the policy that lets the integration's role read its buckets
  trust    the trust policy that lets the proxy assume the role with the external ID
  cors     the CORS rules that let pages read the buckets with fetch()
  role     the role with its trust and access policies (not as json)
  assume   the policy that lets the proxy's own principal assume the role; required if the
           role is in another account
  revoke   the policy that revokes the role's sessions; purge the proxy when it is attached

The document is written to standard output, notes about it to standard error. Select an integration
of the configuration with --integration, or describe one with the other flags.

`

// writePolicy writes one of an integration's documents.
func writePolicy(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var r request
	if len(args) > 0 && slices.Contains(document.Kinds(), document.Kind(args[0])) {
		r.Kind, args = document.Kind(args[0]), args[1:]
	}
	var d draft
	flags := flag.NewFlagSet("policy", flag.ContinueOnError)
	path := configFlag(flags)
	name := flags.String("integration", "", "the `name` of an integration of the configuration")
	format := flags.String("format", "json",
		"the `format`: json, terraform, cloudformation or cli")
	r.register(flags)
	d.register(flags)
	if r.Kind == "" {
		flags.SetOutput(stderr)
		fmt.Fprint(stderr, policyHelp)
		flags.PrintDefaults()
		if slices.ContainsFunc(args, isHelp) {
			return flag.ErrHelp
		}
		return policyError("the first argument must be one of access, trust, cors, role, assume " +
			"and revoke")
	}
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if err := rejectEmpty(flags); err != nil {
		return err
	}
	if err := r.parseBefore(time.Now()); err != nil {
		return err
	}
	r.Format = document.Format(*format)
	if !slices.Contains(document.Formats(), r.Format) {
		return policyError("unknown --format %s; use json, terraform, cloudformation or cli",
			*format)
	}
	if err := r.choose(*path, *name, &d); err != nil {
		return err
	}
	text, notes, err := r.write(ctx)
	if err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintln(stderr, "note:", n)
	}
	_, err = io.WriteString(stdout, text)
	return err
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// policyError returns an error in the command line of the policy command.
func policyError(format string, args ...any) error {
	return usageError{fmt.Errorf("s3redirect policy: "+format, args...)}
}

func (r *request) register(flags *flag.FlagSet) {
	flags.Var(&r.kmsKeys, "kms-key",
		"access, role: the `ARN` of a KMS key that objects are encrypted with; may be repeated")
	flags.StringVar(&r.Principal, "principal", "",
		"trust, role: the `ARN` or account that the proxy runs as; default: ask STS")
	flags.StringVar(&r.before, "before", "", "revoke: the `time` before which sessions must be "+
		"issued to be revoked, such as 2026-05-01T12:00:00Z; default: now")
	flags.BoolVar(&r.WithTags, "with-tags", false,
		"trust, role, assume: allow sts:TagSession and sts:SetSourceIdentity, too, which STS "+
			"requires if the proxy's own session has tags or a source identity")
	flags.Var(&r.origins, "origin", "cors: an `origin` whose pages may read the buckets; "+
		"may be repeated; default: the origins of the configuration")
	flags.StringVar(&r.webIdentity.ProviderARN, "web-identity-provider", "",
		"trust: write the trust policy of the role that the proxy itself runs as; "+
			"the `ARN` of its OpenID Connect provider")
	flags.StringVar(&r.webIdentity.Subject, "web-identity-subject", "",
		"trust: the provider's `subject`, such as system:serviceaccount:NAMESPACE:NAME")
	flags.StringVar(&r.webIdentity.Audience, "web-identity-audience", "sts.amazonaws.com",
		"trust: the provider's `audience`")
}

// parseBefore sets r.Before from the flag. An instant in the future would revoke new sessions, too.
func (r *request) parseBefore(now time.Time) (err error) {
	if r.before == "" {
		r.Before = now
		return nil
	}
	if r.Before, err = time.Parse(time.RFC3339, r.before); err != nil {
		return policyError("--before: %s is not a time; write it as 2026-05-01T12:00:00Z", r.before)
	}
	if r.Before.After(now) {
		return policyError("--before: %s is in the future, so new sessions would be revoked, too",
			r.before)
	}
	return nil
}

// choose sets the integration: the named one of the configuration file, or the draft.
func (r *request) choose(path, name string, d *draft) error {
	if name == "" {
		return r.useDraft(d)
	}
	if len(d.buckets) > 0 {
		return policyError("--integration and --bucket cannot be combined; use --integration " +
			"to select one of the configuration, or --bucket to describe a new one")
	}
	c, err := config.Load(path)
	if err != nil {
		return usageError{err}
	}
	var names []string
	for _, i := range c.Integrations {
		if i.Name == name {
			r.Config, r.Integration = c, i
			return nil
		}
		names = append(names, i.Name)
	}
	return policyError("%s has no integration %s; it has %s", path, name, strings.Join(names, ", "))
}

// useDraft sets the integration to the draft. Flags that the document does not need may be missing.
func (r *request) useDraft(d *draft) error {
	r.Config = &config.Config{}
	ownRole := r.Kind == document.KindTrust && r.webIdentity.ProviderARN != ""
	ofRole := r.Kind == document.KindAssume || r.Kind == document.KindRevoke
	byARN := ofRole && d.RoleARN != ""
	if len(d.buckets) == 0 && !ownRole && !byARN {
		return policyError("select an integration of the configuration with --integration, " +
			"or describe one with --bucket and --region")
	}
	if ofRole && !byARN {
		return policyError("name the role with --role-arn, " +
			"or select an integration of the configuration with --integration")
	}
	session := d.SessionDuration
	if err := d.finish(); err != nil {
		return err
	}
	r.Integration = &d.Integration
	if len(d.buckets) == 0 {
		d.Bucket, d.Name = "any-bucket", "s3redirect"
	}
	checked := d.Integration
	if checked.Region == "" {
		checked.Region = config.RegionAuto // the role's ARN then determines the partition
	}
	if d.RoleARN == "" && checked.AccessKeyID == "" {
		checked.RoleARN = checked.PlaceholderRoleARN(r.Principal)
		d.SessionDuration, checked.SessionDuration = session, session // for the new role
		if checked.LacksSTS() {
			checked.STSEndpoint = checked.Endpoint
		}
	}
	if errs := checked.Check(os.LookupEnv); errs != nil {
		lines := make([]string, len(errs))
		for n, e := range errs {
			flagName := "--" + flagOf(e.Key)
			lines[n] = strings.TrimPrefix(flagName+": "+e.Problem, "--: ")
		}
		return policyError("%s", strings.Join(lines, "\n"))
	}
	d.RoleARN = checked.RoleARN
	return nil
}

// flagOf returns the name of the flag that sets a key of an integration.
func flagOf(key string) string {
	key, _, _ = strings.Cut(key, "[")
	switch key {
	case "permitted_buckets":
		return "bucket"
	case "blocked_prefixes":
		return "blocked-prefix"
	}
	return strings.ReplaceAll(key, "_", "-")
}

var errUnknownPrincipal = errors.New("the proxy's principal is unknown because STS did " +
	"not answer; set --principal ARN, or provide AWS credentials (`s3redirect check` explains " +
	"what is wrong with them)")

// write returns the document and its notes. If the document needs a principal and none is set, it
// asks STS for the caller's identity.
func (r *request) write(ctx context.Context) (text string, notes []string, err error) {
	r.KMSKeys, r.Origins = r.kmsKeys, r.origins
	if r.webIdentity.ProviderARN != "" {
		r.WebIdentity = &r.webIdentity
	}
	if r.Principal == "" && r.NeedsPrincipal() {
		sts := &integration.AWSSTS{}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if r.Principal, err = sts.CallerIdentity(ctx, r.Integration); err != nil {
			return "", nil, errUnknownPrincipal
		}
	}
	if text, notes, err = r.Write(); err != nil {
		err = policyError("%w", err)
	}
	return text, notes, err
}
