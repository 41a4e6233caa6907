package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/onboard"
	"s3redirect/internal/policy"
)

// question returns the question about a key. The flag of the same name answers it too.
func (n *newIntegration) question(key, given string) question {
	q := onboard.Ask(key)
	return question{text: q.Label, hint: q.Hint, flag: "--" + strings.ReplaceAll(key, "_", "-"), given: given,
		accept: func(answer string) error { return onboard.Check(n.Draft(), key, answer, os.LookupEnv) }}
}

// unused is like question, but also rejects answers that another integration uses.
func (n *newIntegration) unused(key, given string) question {
	q := n.question(key, given)
	q.accept = func(answer string) error { return onboard.CheckUnused(n.source, n.Draft(), key, answer, os.LookupEnv) }
	return q
}

// optional returns the question about a key that may be omitted.
func (n *newIntegration) optional(key, given string) question {
	q := n.question(key, given)
	q.optional = true
	return q
}

// agree asks a yes-or-no question, unless the answer is yes already.
func (n *newIntegration) agree(key string, otherwise bool) (bool, error) {
	return n.confirm(onboard.Ask(key).Label, "--"+strings.ReplaceAll(key, "_", "-"), otherwise)
}

// scope asks for the buckets and the name.
func (n *newIntegration) scope() error {
	if len(n.buckets) == 0 && !n.yes {
		several, err := n.agree(onboard.Several, false)
		if err != nil {
			return err
		}
		q := n.unused("bucket", "")
		if several {
			q = n.unused("permitted_buckets", "")
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
	for key, buckets := range map[string]string{"bucket": n.Bucket,
		"permitted_buckets": strings.Join(n.PermittedBuckets, " ")} {
		if buckets == "" {
			continue
		}
		if err := onboard.CheckUnused(n.source, n.Draft(), key, buckets, os.LookupEnv); err != nil {
			return usageError{fmt.Errorf("s3redirect integrate: --bucket: %w", err)}
		}
	}
	var err error
	q := n.unused("name", n.Name)
	q.otherwise = onboard.DefaultName(n.Buckets())
	n.Name, err = n.ask(q)
	return err
}

// store asks for the endpoint, the region and the keys.
func (n *newIntegration) store() (err error) {
	if n.secret != "" && !strings.HasPrefix(n.secret, "${") {
		return usageError{errSecretOnCommandLine}
	}
	n.SecretAccessKey = config.Secret(n.secret)
	if n.Endpoint, err = n.ask(n.optional("endpoint", n.Endpoint)); err != nil {
		return err
	}
	q := n.question("region", n.Region)
	q.otherwise = onboard.DefaultRegion(n.Endpoint)
	n.Region, err = n.ask(q)
	if err != nil || n.IsAWS() {
		return err
	}
	if !n.PathStyle {
		if n.PathStyle, err = n.agree("path_style", true); err != nil {
			return err
		}
		n.HostStyle = !n.PathStyle
	}
	if n.STSEndpoint, err = n.ask(n.optional("sts_endpoint", n.STSEndpoint)); err != nil {
		return err
	}
	n.say("  The variables must be set now, and wherever the proxy runs.")
	if n.AccessKeyID, err = n.variable("access_key_id", n.AccessKeyID); err != nil {
		return err
	}
	n.secret, err = n.variable("secret_access_key", n.secret)
	n.SecretAccessKey = config.Secret(n.secret)
	return err
}

// variable asks for a variable and returns it in the form ${NAME}.
func (n *newIntegration) variable(key, given string) (string, error) {
	name := func(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, "${"), "}") }
	literal := given != "" && !strings.HasPrefix(given, "${") // an access key ID itself, which is not a secret
	q := n.question(key, given)
	q.accept = func(s string) error {
		if literal {
			return nil
		}
		value, err := config.Lookup(name(s))
		if err == nil && value == "" {
			err = fmt.Errorf("the environment variable %s is empty", name(s))
		}
		return err
	}
	answer, err := n.ask(q)
	if literal || err != nil {
		return answer, err
	}
	return "${" + name(answer) + "}", nil
}

// rights asks for file_versioning and list_bucket, and generates the external ID.
func (n *newIntegration) rights() (err error) {
	if !n.FileVersioning {
		if n.FileVersioning, err = n.agree("file_versioning", false); err != nil {
			return err
		}
	}
	if !n.ListBucket {
		if n.ListBucket, err = n.agree("list_bucket", false); err != nil {
			return err
		}
	}
	n.SessionPolicy = true
	if n.keysOnly() {
		n.ExternalID, n.SessionDuration = "", 0
		return nil
	}
	if n.ExternalID == "" {
		n.ExternalID = onboard.New()["external_id"]
	} else if err := onboard.Check(n.Draft(), "external_id", n.ExternalID, os.LookupEnv); err != nil {
		return usageError{fmt.Errorf("s3redirect integrate: --external-id: %w", err)}
	}
	if n.SessionDuration == time.Hour {
		n.SessionDuration = 0 // the default needs no line
	}
	return nil
}

// keysOnly reports whether the integration has static keys and no role.
func (n *newIntegration) keysOnly() bool { return n.LacksSTS() }

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

// role asks for the ARN of the role, which the user has created in the meantime.
func (n *newIntegration) role() (err error) {
	if n.keysOnly() {
		n.RoleARN = ""
		return nil
	}
	given := n.RoleARN
	if given == n.placeholderRoleARN() {
		given = ""
	}
	n.RoleARN, err = n.ask(n.question("role_arn", given))
	return err
}
