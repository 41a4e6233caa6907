package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"s3redirect/check"
	"s3redirect/config"
	"s3redirect/integration"
	"s3redirect/locator"
	"s3redirect/policy"
)

// newIntegration is an integration on its way into a file.
type newIntegration struct {
	*conversation
	draft
	path      string
	old       []byte // nil: there is no file yet
	principal string
	sample    string
	listen    string
	admin     string
	try       bool
	failing   bool // write it though it does not work yet
}

// integrate adds an integration to a configuration, in conversation.
func integrate(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	n := newIntegration{}
	flags := flag.NewFlagSet("integrate", flag.ContinueOnError)
	flags.StringVar(&n.path, "config", "config.yaml", "the configuration `file`; it is made if it is not there")
	yes := flags.Bool("yes", false, "ask nothing: take the flags, and the defaults")
	noTry := flags.Bool("no-try", false, "do not try it before it is written")
	flags.StringVar(&n.principal, "principal", "", "who we are, an `ARN`; default: STS is asked")
	flags.StringVar(&n.sample, "sample", "", "an object to try it with, `s3://bucket/key`")
	flags.StringVar(&n.listen, "listen", "127.0.0.1:8080", "viewers' `address`, in a new file")
	flags.StringVar(&n.admin, "admin-listen", "127.0.0.1:9090", "administrators' `address`, in a new file")
	n.register(flags)
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	n.try = !*noTry
	n.conversation = converse(ctx, stdout, *yes)
	if err := n.readFile(); err != nil {
		return err
	}
	for _, step := range []func() error{n.beginFile, n.scope, n.store, n.rights, n.showDocuments, n.role, n.tryIt} {
		if err := step(); err != nil {
			return err
		}
	}
	return n.write()
}

// readFile reads the configuration, and sees whether it can be written.
func (n *newIntegration) readFile() error {
	text, err := os.ReadFile(n.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		n.old = nil
	case err != nil:
		_, err = config.Load(n.path) // which says it in words
		return usageError{err}
	default:
		n.old = text
		if _, err := config.Parse(n.path, text, os.LookupEnv); err != nil && !config.LacksIntegrations(err) {
			return usageError{fmt.Errorf("%w\ns3redirect integrate: the configuration does not load; mend it first", err)}
		}
	}
	if err := config.Writable(n.path); err != nil {
		return usageError{fmt.Errorf("s3redirect integrate: %w", err)}
	}
	return nil
}

// beginFile agrees on a file that there is not yet.
func (n *newIntegration) beginFile() error {
	if n.old != nil {
		n.say("An integration for %s. Ctrl-C ends this at any time, and nothing is written.\n", n.path)
		return nil
	}
	n.say("There is no %s yet: it will be made, with one integration in it. Ctrl-C ends this at any time, and nothing is written.\n", n.path)
	if n.yes {
		return nil
	}
	everyone, err := n.confirm(fmt.Sprintf("May everyone who can reach %s read what the integration reads", n.listen), "--yes", true)
	if err == nil && !everyone {
		err = usageError{errors.New("s3redirect integrate: then begin with a copy of the example config.yaml, and say under viewers who may ask; nothing was written")}
	}
	return err
}

// judge accepts an answer if the configuration's own checks have nothing to say about a key of the integration.
func (n *newIntegration) judge(key string, set func(i *config.Integration, answer string)) func(string) error {
	return func(answer string) error {
		tried := n.Integration
		if tried.RoleARN == "" {
			tried.RoleARN = n.someRole() // what is about roles is in order: there will be one
		}
		set(&tried, answer)
		for _, e := range tried.Check(os.LookupEnv) {
			if e.Key == key || strings.HasPrefix(e.Key, key+"[") {
				return errors.New(e.Problem)
			}
		}
		return nil
	}
}

// free is judge, for what the file's other integrations may have already.
func (n *newIntegration) free(key string, set func(i *config.Integration, answer string)) func(string) error {
	grammar := n.judge(key, set)
	return func(answer string) error {
		if err := grammar(answer); err != nil {
			return err
		}
		tried := config.Integration{Name: rand.Text(), Bucket: n.Bucket, PermittedBuckets: n.PermittedBuckets, Region: config.RegionAuto, RoleARN: "arn:aws:iam::000000000000:role/r"}
		set(&tried, answer)
		if len(tried.Buckets()) == 0 {
			return nil
		}
		_, err := config.Append(n.path, n.beginning(), &tried, os.LookupEnv)
		if all, ok := errors.AsType[config.Errors](err); ok {
			return errors.New(all[0].Problem)
		}
		return err
	}
}

// beginning is the file as it is, or as it begins.
func (n *newIntegration) beginning() []byte {
	if n.old != nil {
		return n.old
	}
	return []byte(strings.NewReplacer("listen: 127.0.0.1:8080", "listen: "+n.listen, "admin_listen: 127.0.0.1:9090", "admin_listen: "+n.admin).Replace(config.NewFile))
}

// scope asks for the buckets and the name.
func (n *newIntegration) scope() error {
	if len(n.buckets) == 0 && !n.yes {
		several, err := n.confirm("Is the role to be the default for several permitted buckets (no: it is for one bucket only)", "--bucket", false)
		if err != nil {
			return err
		}
		q := question{text: "The bucket's name", accept: n.free("bucket", func(i *config.Integration, s string) { i.Bucket = s })}
		if several {
			q = question{text: "The permitted buckets, with blanks between them; * stands for any characters, as in team-*",
				accept: n.free("permitted_buckets", func(i *config.Integration, s string) { i.PermittedBuckets = strings.Fields(s) })}
		}
		answer, err := n.ask(q)
		if err != nil {
			return err
		}
		if n.buckets = strings.Fields(answer); several {
			n.PermittedBuckets = n.buckets
		} else {
			n.Bucket = answer
		}
	} else if len(n.buckets) == 0 || slices.Contains(n.buckets, "") {
		return usageError{errors.New("s3redirect integrate: --bucket is missing: which buckets is the role for?")}
	}
	if n.Bucket != "" || len(n.PermittedBuckets) == 0 && len(n.buckets) == 1 && !locator.IsPattern(n.buckets[0]) {
		n.Bucket, n.PermittedBuckets = n.buckets[0], nil
	} else {
		n.PermittedBuckets = n.buckets
	}
	for key, buckets := range map[string]string{"bucket": n.Bucket, "permitted_buckets": strings.Join(n.PermittedBuckets, " ")} {
		if buckets == "" {
			continue
		}
		if err := n.free(key, func(*config.Integration, string) {})(buckets); err != nil {
			return usageError{fmt.Errorf("s3redirect integrate: --bucket: %w", err)}
		}
	}
	var err error
	n.Name, err = n.ask(question{text: "A name for it, in metrics and logs", otherwise: defaultName(n.Buckets()), flag: "--name", given: n.Name,
		accept: n.free("name", func(i *config.Integration, s string) { i.Name = s })})
	return err
}

// store asks where the buckets are.
func (n *newIntegration) store() (err error) {
	if n.secret != "" && !strings.HasPrefix(n.secret, "${") {
		return usageError{errSecretOnCommandLine}
	}
	n.SecretAccessKey = config.Secret(n.secret)
	n.Endpoint, err = n.ask(question{text: "The endpoint of an S3-compatible store, as browsers reach it (none: AWS)", optional: true, flag: "--endpoint", given: n.Endpoint,
		accept: n.judge("endpoint", func(i *config.Integration, s string) { i.Endpoint, i.PathStyle = s, true })})
	if err != nil {
		return err
	}
	region := config.RegionAuto
	if n.Endpoint != "" {
		region = "us-east-1"
	}
	n.Region, err = n.ask(question{text: "The buckets' region, or auto to have it found", otherwise: region, flag: "--region", given: n.Region,
		accept: n.judge("region", func(i *config.Integration, s string) { i.Region = s })})
	if err != nil || n.Endpoint == "" {
		return err
	}
	if !n.PathStyle {
		if n.PathStyle, err = n.confirm("Does the store have its buckets in the path (https://host/bucket/key)", "--path-style", true); err != nil {
			return err
		}
	}
	n.STSEndpoint, err = n.ask(question{text: "Its STS, where roles are assumed (none: it has no roles, and keys sign)", optional: true, flag: "--sts-endpoint", given: n.STSEndpoint,
		accept: n.judge("sts_endpoint", func(i *config.Integration, s string) { i.STSEndpoint = s })})
	if err != nil {
		return err
	}
	n.say("Keys stay out of the file: it names environment variables, which must be set now, and whenever the proxy runs.")
	if n.AccessKeyID, err = n.variable("The variable with the access key ID", "--access-key-id", n.AccessKeyID); err != nil {
		return err
	}
	n.secret, err = n.variable("The variable with the secret access key", "--secret-access-key", n.secret)
	n.SecretAccessKey = config.Secret(n.secret)
	return err
}

// variable asks for the name of an environment variable, and returns it as the file has it.
func (n *newIntegration) variable(text, flagName, given string) (string, error) {
	name := func(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, "${"), "}") }
	answer, err := n.ask(question{text: text, flag: flagName, given: given, accept: func(s string) error {
		if given != "" && !strings.HasPrefix(given, "${") {
			return nil // an access key ID itself, which is no secret
		}
		if os.Getenv(name(s)) == "" {
			return fmt.Errorf("the environment variable %s is not set", name(s))
		}
		return nil
	}})
	if given != "" && !strings.HasPrefix(given, "${") || err != nil {
		return answer, err
	}
	return "${" + name(answer) + "}", nil
}

// rights asks what may be read beside the newest versions, and makes the external ID.
func (n *newIntegration) rights() (err error) {
	if !n.FileVersioning {
		if n.FileVersioning, err = n.confirm("May older versions be read (?versionId=)", "--file-versioning", false); err != nil {
			return err
		}
	}
	if !n.ListBucket {
		if n.ListBucket, err = n.confirm("Is a key that is not there to be a 404 (the role then needs s3:ListBucket too; without it, S3 answers 403)", "--list-bucket", false); err != nil {
			return err
		}
	}
	n.SessionPolicy = true
	if n.keysOnly() {
		n.ExternalID, n.SessionDuration = "", 0
		return nil
	}
	if n.ExternalID == "" {
		n.ExternalID = rand.Text()
	} else if err := n.judge("external_id", func(i *config.Integration, s string) { i.ExternalID = s })(n.ExternalID); err != nil {
		return usageError{fmt.Errorf("s3redirect integrate: --external-id: %w", err)}
	}
	if n.SessionDuration == time.Hour {
		n.SessionDuration = 0 // the default needs no line
	}
	return nil
}

// keysOnly tells whether the integration is one with keys and without a role.
func (n *newIntegration) keysOnly() bool { return n.Endpoint != "" && n.STSEndpoint == "" }

// someRole is a role's ARN that is in order, as long as there is none.
func (n *newIntegration) someRole() string {
	return "arn:" + n.Partition() + ":iam::000000000000:role/" + roleName(&n.Integration)
}

// showDocuments prints what has to be made, and says where.
func (n *newIntegration) showDocuments() error {
	r := request{format: policy.JSON, integration: &n.Integration, config: n.configured()}
	show := func(title, kind, hint string) error {
		r.kind = kind
		text, notes, err := r.write(n.ctx)
		if err != nil {
			return err
		}
		n.say("\n--- %s\n%s", title, strings.TrimSuffix(text, "\n"))
		for _, note := range notes {
			n.say("    note: %s", note)
		}
		n.say("    %s", hint)
		return nil
	}
	if n.keysOnly() {
		if err := show("Access policy", "access", "Give it to the user whose keys they are, in the store."); err != nil {
			return err
		}
	} else {
		if err := n.knowPrincipal(); err != nil {
			return err
		}
		r.principal = n.principal
		n.RoleARN, r.hasRole = n.roleOrSome(), true
		if err := show("1. Access policy", "access", "In IAM: Policies, Create policy, JSON. It lets the role read the buckets, and nothing else."); err != nil {
			return err
		}
		if err := show("2. Trust policy", "trust", "In IAM: Roles, Create role, Custom trust policy; then add the policy of step 1. Both at once (--format terraform and cloudformation are there too):\n    "+n.command("role", "cli")); err != nil {
			return err
		}
	}
	if err := show("3. CORS, only if pages read the objects with fetch(); images and videos need none", "cors", "In S3: the bucket, Permissions, Cross-origin resource sharing; or: "+n.command("cors", "cli")); err != nil {
		return err
	}
	n.say("")
	return nil
}

// command is the command line that prints a document of this integration, before it is in a file.
func (n *newIntegration) command(kind, format string) string {
	words := []string{"s3redirect policy", kind, "--format", format, "--name", n.Name, "--region", n.Region}
	for _, b := range n.Buckets() {
		words = append(words, "--bucket", "'"+b+"'")
	}
	if kind == "role" {
		words = append(words, "--principal", n.principal, "--external-id", n.ExternalID)
	}
	for name, on := range map[string]bool{"--file-versioning": n.FileVersioning, "--list-bucket": n.ListBucket} {
		if on && kind == "role" {
			words = append(words, name)
		}
	}
	if n.Endpoint != "" {
		words = append(words, "--endpoint", n.Endpoint)
	}
	return strings.Join(words, " ")
}

// configured is the configuration as it is, as far as it says which pages read.
func (n *newIntegration) configured() *config.Config {
	if c, err := config.Parse(n.path, n.old, os.LookupEnv); err == nil {
		return c
	}
	return &config.Config{}
}

// knowPrincipal finds out who assumes the role: from STS, or else by asking.
func (n *newIntegration) knowPrincipal() (err error) {
	if n.principal == "" {
		ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		defer cancel()
		asked := n.Integration
		expand(&asked)
		if n.principal, err = (&integration.AWSSTS{}).CallerIdentity(ctx, &asked); err == nil && n.principal != "" {
			n.say("\nSTS says that we are %s.", n.principal)
			return nil
		}
		n.say("\nSTS does not say who we are (there are no credentials here, or the store has no GetCallerIdentity).")
	}
	n.principal, err = n.ask(question{text: "The ARN of the user or role that the proxy runs as", flag: "--principal", given: n.principal, accept: func(s string) error {
		_, err := policy.ParsePrincipal(s, n.Partition())
		return err
	}})
	return err
}

// expand replaces the variables' names by what they hold, for calls made before the file is read.
func expand(i *config.Integration) {
	value := func(s string) string {
		if name, ok := strings.CutPrefix(s, "${"); ok {
			return os.Getenv(strings.TrimSuffix(name, "}"))
		}
		return s
	}
	i.AccessKeyID, i.SecretAccessKey = value(i.AccessKeyID), config.Secret(value(string(i.SecretAccessKey)))
}

func (n *newIntegration) roleOrSome() string {
	if n.RoleARN != "" {
		return n.RoleARN
	}
	return n.someRole()
}

// role asks for the ARN of the role that was made meanwhile.
func (n *newIntegration) role() (err error) {
	if n.keysOnly() {
		n.RoleARN = ""
		return nil
	}
	given := n.RoleARN
	if given == n.someRole() {
		given = ""
	}
	n.RoleARN, err = n.ask(question{text: "Once the role is made: its ARN", flag: "--role-arn", given: given,
		accept: n.judge("role_arn", func(i *config.Integration, s string) { i.RoleARN = s })})
	return err
}

// text is the file's new text, and the configuration that it is.
func (n *newIntegration) text() ([]byte, *config.Config, error) {
	text, err := config.Append(n.path, n.beginning(), &n.Integration, os.LookupEnv)
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("%w\ns3redirect integrate: with the new integration the configuration would not load; nothing was written", err)}
	}
	c, err := config.Parse(n.path, text, os.LookupEnv)
	return text, c, err
}

// tryIt checks the integration as `check` does, and asks what to do where it does not work.
func (n *newIntegration) tryIt() error {
	if !n.try {
		return nil
	}
	var err error
	n.sample, err = n.ask(question{text: "An object to try it with, as s3://" + n.Buckets()[0] + "/key", optional: true, flag: "--sample", given: n.sample, accept: func(s string) error {
		if s == "" {
			return nil
		}
		_, err := locator.Parse(s)
		return err
	}})
	for err == nil {
		var sound bool
		if sound, err = n.checked(); err != nil || sound {
			break
		}
		if n.yes {
			return fmt.Errorf("the integration does not work: %w (--no-try writes it all the same)", errNothingWritten)
		}
		var answer string
		answer, err = n.ask(question{text: "It does not work yet. [r]etry, another role [a]RN, [w]rite it all the same, or [q]uit", otherwise: "retry", accept: func(s string) error {
			if strings.ContainsRune("rawq", rune(strings.ToLower(s)[0])) {
				return nil
			}
			return errors.New("answer r, a, w or q")
		}})
		if err != nil {
			break
		}
		switch strings.ToLower(answer)[0] {
		case 'a':
			n.RoleARN = ""
			err = n.role()
		case 'w':
			return nil
		case 'q':
			return errNothingWritten
		}
	}
	return err
}

func (n *newIntegration) checked() (sound bool, err error) {
	_, c, err := n.text()
	if err != nil {
		return false, err
	}
	o := check.Options{Config: c, Integrations: []string{n.Name}, Clock: time.Now}
	if n.sample != "" {
		l, err := locator.Parse(n.sample)
		if err != nil {
			return false, err
		}
		o.Sample = &l
	}
	table := check.NewTable(n.w, isTerminal(n.w) && os.Getenv("NO_COLOR") == "")
	o.Report = table.Add
	sound, err = check.Run(n.ctx, o)
	n.say("")
	if err != nil && n.ctx.Err() != nil {
		return false, fmt.Errorf("interrupted: %w", errNothingWritten)
	} else if err != nil { // the sample is of another integration
		n.sample = ""
		n.say("%v; going on without it.", err)
		return n.checked()
	}
	return sound, nil
}

// write puts the integration into the file.
func (n *newIntegration) write() error {
	text, _, err := n.text()
	if err != nil {
		return err
	}
	if n.ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", errNothingWritten)
	}
	if err := config.Save(n.path, n.old, text); err != nil {
		return err
	}
	n.say("%s has the integration %s:\n\n%s", n.path, n.Name, n.Text())
	n.say("Next: s3redirect serve --config %s (or restart it), and ask for http://…%s%s/KEY", filepath.Clean(n.path), locator.PathPrefix, n.Buckets()[0])
	return nil
}
