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
	"s3redirect/internal/policy"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// draft is an integration as flags describe it.
type draft struct {
	config.Integration
	buckets list
	secret  string
}

func (d *draft) register(flags *flag.FlagSet) {
	flags.StringVar(&d.Name, "name", "", "the integration's `name`; default: the bucket's")
	flags.Var(&d.buckets, "bucket", "a `bucket`, or a pattern such as team-*; several make a default integration, one a scoped one")
	flags.StringVar(&d.Region, "region", "", "the buckets' `region`, or auto")
	flags.StringVar(&d.RoleARN, "role-arn", "", "the role's `ARN`")
	flags.StringVar(&d.ExternalID, "external-id", "", "the external `ID`")
	flags.DurationVar(&d.SessionDuration, "session-duration", time.Hour, "how long a session lives")
	flags.BoolVar(&d.FileVersioning, "file-versioning", false, "allow ?versionId=, which needs s3:GetObjectVersion")
	flags.BoolVar(&d.ListBucket, "list-bucket", false, "have s3:ListBucket too, so that a key that is not there is a 404; without it S3 does not say whether a key exists, and answers 403")
	flags.StringVar(&d.Endpoint, "endpoint", "", "the `URL` of an S3-compatible store, as browsers reach it")
	flags.StringVar(&d.STSEndpoint, "sts-endpoint", "", "the `URL` of its STS")
	flags.BoolVar(&d.PathStyle, "path-style", false, "the store has its buckets in the path")
	flags.StringVar(&d.AccessKeyID, "access-key-id", "", "the access key ID, or '${NAME}' for an environment `variable`")
	flags.StringVar(&d.secret, "secret-access-key", "", "the secret key as '${NAME}', an environment `variable`; never the key itself, which others could see")
}

var errSecretOnCommandLine = errors.New("--secret-access-key: name an environment variable, as '${SECRET}'; a command line is seen by everybody on the machine")

// finish puts what the flags said together.
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
	if d.Name == "" {
		d.Name = defaultName(d.Buckets())
	}
	if d.RoleARN == "" || d.SessionDuration == time.Hour { // the default needs no line in the file
		d.SessionDuration = 0
	}
	return nil
}

// defaultName is a bucket's name without what an integration's may not hold.
func defaultName(buckets []string) string {
	if len(buckets) == 0 {
		return ""
	}
	return strings.Trim(strings.ReplaceAll(buckets[0], "*", ""), ".-")
}

// request is what a policy command is to write.
type request struct {
	policy.Request
	kmsKeys, origins list
	webIdentity      policy.Identity
}

const policyHelp = `Usage: s3redirect policy access|trust|cors|role|assume [flags]

  access   what the integration's role must be allowed: to read its buckets
  trust    who may assume the role: we, with the external ID
  cors     which pages may read the buckets with fetch()
  role     trust and access in one (not as json)
  assume   what our own principal must be allowed, where the role is in another account

The document goes to standard output, what to know about it to standard error. The integration is one of the configuration's
(--integration), or is described by flags.

`

// writePolicy prints one of an integration's documents.
func writePolicy(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var r request
	if len(args) > 0 && slices.Contains(policy.Kinds(), policy.Kind(args[0])) {
		r.Kind, args = policy.Kind(args[0]), args[1:]
	}
	var d draft
	flags := flag.NewFlagSet("policy", flag.ContinueOnError)
	path := flags.String("config", "config.yaml", "the configuration `file`")
	name := flags.String("integration", "", "the `name` of an integration in it")
	format := flags.String("format", "json", "json, terraform, cloudformation or cli")
	flags.Var(&r.kmsKeys, "kms-key", "access: the `ARN` of a KMS key that objects are encrypted with; may be repeated")
	flags.StringVar(&r.Principal, "principal", "", "trust: who we are, an `ARN` or an account; default: STS is asked")
	flags.Var(&r.origins, "origin", "cors: an `origin` whose pages may read; may be repeated; default: the configuration's")
	flags.StringVar(&r.webIdentity.ProviderARN, "web-identity-provider", "", "trust of the role that we run as ourselves: the OpenID Connect provider's `ARN`")
	flags.StringVar(&r.webIdentity.Subject, "web-identity-subject", "", "and its `subject`, such as system:serviceaccount:NAMESPACE:NAME")
	flags.StringVar(&r.webIdentity.Audience, "web-identity-audience", "sts.amazonaws.com", "and its `audience`")
	d.register(flags)
	if r.Kind == "" {
		flags.SetOutput(stderr)
		fmt.Fprint(stderr, policyHelp)
		flags.PrintDefaults()
		if slices.ContainsFunc(args, func(a string) bool { return a == "-h" || a == "--help" || a == "-help" }) {
			return flag.ErrHelp
		}
		return usageError{fmt.Errorf("s3redirect policy: say which: %s", strings.Trim(fmt.Sprint(policy.Kinds()), "[]"))}
	}
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	r.Format = policy.Format(*format)
	if !slices.Contains(policy.Formats(), r.Format) {
		return usageError{fmt.Errorf("s3redirect policy: --format %s: there are json, terraform, cloudformation and cli", *format)}
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

// choose finds the integration: one of the file's, or the flags'.
func (r *request) choose(path, name string, d *draft) error {
	mistake := func(format string, args ...any) error {
		return usageError{fmt.Errorf("s3redirect policy: "+format, args...)}
	}
	if name == "" {
		return r.describe(d, mistake)
	}
	if len(d.buckets) > 0 {
		return mistake("--integration and --bucket exclude each other: one is of the file, the other describes a new one")
	}
	c, err := config.Load(path)
	if err != nil {
		return usageError{err}
	}
	var names []string
	for n := range c.Integrations {
		if c.Integrations[n].Name == name {
			r.Config, r.Integration = c, &c.Integrations[n]
			return nil
		}
		names = append(names, c.Integrations[n].Name)
	}
	return mistake("%s has no integration %s; it has %s", path, name, strings.Join(names, ", "))
}

// describe takes the integration from the flags. What a document does not need may be missing.
func (r *request) describe(d *draft, mistake func(string, ...any) error) error {
	r.Config = &config.Config{}
	ownRole, byARN := r.Kind == policy.KindTrust && r.webIdentity.ProviderARN != "", r.Kind == policy.KindAssume && d.RoleARN != ""
	if len(d.buckets) == 0 && !ownRole && !byARN {
		return mistake("name an integration of the configuration with --integration, or describe one with --bucket and --region")
	}
	if r.Kind == policy.KindAssume && !byARN {
		return mistake("name the role that is to be assumed with --role-arn, or an integration of the configuration with --integration")
	}
	session := d.SessionDuration
	if err := d.finish(); err != nil {
		return err
	}
	r.Integration = &d.Integration
	if len(d.buckets) == 0 {
		d.Bucket, d.Name = "any-bucket", "s3redirect"
	}
	judged := d.Integration
	if judged.Region == "" {
		judged.Region = config.RegionAuto // which, with the role's ARN, tells the partition
	}
	if d.RoleARN == "" && judged.AccessKeyID == "" {
		judged.STSEndpoint = d.STSEndpoint
		judged.RoleARN = policy.SomeRole(&judged, r.Principal)
		d.SessionDuration, judged.SessionDuration = session, session // of the role that will be made
		if judged.Endpoint != "" && judged.STSEndpoint == "" {
			judged.STSEndpoint = judged.Endpoint
		}
	}
	if errs := judged.Check(os.LookupEnv); errs != nil {
		lines := make([]string, len(errs))
		for n, e := range errs {
			lines[n] = strings.TrimPrefix("--"+strings.ReplaceAll(e.Key, "_", "-")+": "+e.Problem, "--: ")
		}
		return mistake("%s", strings.Join(lines, "\n"))
	}
	d.RoleARN = judged.RoleARN
	return nil
}

// write makes the document, and says what to know about it. Who we are is asked of STS, where that matters and was not said.
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
			return "", nil, errors.New("our own principal is not known, as STS could not be asked who we are: give --principal ARN, or credentials. `s3redirect check` says what is wrong with them")
		}
	}
	if text, notes, err = r.Write(); err != nil {
		err = usageError{fmt.Errorf("s3redirect policy: %w", err)}
	}
	return text, notes, err
}
