package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/policy"
)

// validateKey returns a function that stores an answer with set in a copy of the integration, and
// returns what the configuration's checks report about key.
func (n *newIntegration) validateKey(
	key string, set func(i *config.Integration, answer string),
) func(string) error {
	return func(answer string) error {
		tried := n.Integration
		if tried.RoleARN == "" {
			tried.RoleARN = n.placeholderRoleARN() // the role will be created later
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

// validateUnused is like validateKey, and also rejects values that another integration of the file
// already uses.
func (n *newIntegration) validateUnused(
	key string, set func(i *config.Integration, answer string),
) func(string) error {
	grammar := n.validateKey(key, set)
	return func(answer string) error {
		if err := grammar(answer); err != nil {
			return err
		}
		tried := config.Integration{Name: rand.Text(), Bucket: n.Bucket, PermittedBuckets: n.PermittedBuckets, Region: config.RegionAuto, RoleARN: "arn:aws:iam::000000000000:role/r"}
		set(&tried, answer)
		if len(tried.Buckets()) == 0 {
			return nil
		}
		ch, err := n.source.Add(tried.Draft())
		if err == nil {
			_, err = ch.Parse(os.LookupEnv)
		}
		if all, ok := errors.AsType[config.Errors](err); ok {
			return errors.New(all[0].Problem)
		}
		return err
	}
}

// scope asks for the buckets and the name.
func (n *newIntegration) scope() error {
	if len(n.buckets) == 0 && !n.yes {
		several, err := n.confirm("Is the role to be the default for several permitted buckets (no: it is for one bucket only)", "--bucket", false)
		if err != nil {
			return err
		}
		q := question{text: "The bucket's name", accept: n.validateUnused("bucket", func(i *config.Integration, s string) { i.Bucket = s })}
		if several {
			q = question{text: "The permitted buckets, with blanks between them; * stands for any characters, as in team-*",
				accept: n.validateUnused("permitted_buckets", func(i *config.Integration, s string) { i.PermittedBuckets = strings.Fields(s) })}
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
		if err := n.validateUnused(key, func(*config.Integration, string) {})(buckets); err != nil {
			return usageError{fmt.Errorf("s3redirect integrate: --bucket: %w", err)}
		}
	}
	var err error
	n.Name, err = n.ask(question{text: "A name for it, in metrics and logs", otherwise: defaultName(n.Buckets()), flag: "--name", given: n.Name,
		accept: n.validateUnused("name", func(i *config.Integration, s string) { i.Name = s })})
	return err
}

// store asks where the buckets are.
func (n *newIntegration) store() (err error) {
	if n.secret != "" && !strings.HasPrefix(n.secret, "${") {
		return usageError{errSecretOnCommandLine}
	}
	n.SecretAccessKey = config.Secret(n.secret)
	n.Endpoint, err = n.ask(question{text: "The endpoint of an S3-compatible store, as browsers reach it (none: AWS)", optional: true, flag: "--endpoint", given: n.Endpoint,
		accept: n.validateKey("endpoint", func(i *config.Integration, s string) { i.Endpoint, i.PathStyle = s, true })})
	if err != nil {
		return err
	}
	region := config.RegionAuto
	if n.Endpoint != "" {
		region = "us-east-1"
	}
	n.Region, err = n.ask(question{text: "The buckets' region, or auto to have it found", otherwise: region, flag: "--region", given: n.Region,
		accept: n.validateKey("region", func(i *config.Integration, s string) { i.Region = s })})
	if err != nil || n.Endpoint == "" {
		return err
	}
	if !n.PathStyle {
		if n.PathStyle, err = n.confirm("Does the store have its buckets in the path (https://host/bucket/key)", "--path-style", true); err != nil {
			return err
		}
	}
	n.STSEndpoint, err = n.ask(question{text: "Its STS, where roles are assumed (none: it has no roles, and keys sign)", optional: true, flag: "--sts-endpoint", given: n.STSEndpoint,
		accept: n.validateKey("sts_endpoint", func(i *config.Integration, s string) { i.STSEndpoint = s })})
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
	} else if err := n.validateKey("external_id", func(i *config.Integration, s string) { i.ExternalID = s })(n.ExternalID); err != nil {
		return usageError{fmt.Errorf("s3redirect integrate: --external-id: %w", err)}
	}
	if n.SessionDuration == time.Hour {
		n.SessionDuration = 0 // the default needs no line
	}
	return nil
}

// keysOnly tells whether the integration is one with keys and without a role.
func (n *newIntegration) keysOnly() bool { return n.Endpoint != "" && n.STSEndpoint == "" }

// placeholderRoleARN returns a valid ARN that stands for a role that does not exist yet.
func (n *newIntegration) placeholderRoleARN() string {
	return policy.PlaceholderRoleARN(&n.Integration, n.principal)
}

func (n *newIntegration) roleOrPlaceholder() string {
	if n.RoleARN != "" {
		return n.RoleARN
	}
	return n.placeholderRoleARN()
}

// role asks for the ARN of the role that was made meanwhile.
func (n *newIntegration) role() (err error) {
	if n.keysOnly() {
		n.RoleARN = ""
		return nil
	}
	given := n.RoleARN
	if given == n.placeholderRoleARN() {
		given = ""
	}
	n.RoleARN, err = n.ask(question{text: "Once the role is made: its ARN", flag: "--role-arn", given: given,
		accept: n.validateKey("role_arn", func(i *config.Integration, s string) { i.RoleARN = s })})
	return err
}
