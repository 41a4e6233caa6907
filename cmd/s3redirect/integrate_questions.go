package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/onboard"
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

// askForBuckets asks for one bucket or several. Their names also answer the first question.
func (n *newIntegration) askForBuckets() error {
	q := onboard.Ask(onboard.Several)
	first, err := n.ask(question{text: q.Label, hint: q.Hint, otherwise: q.Default,
		accept: func(answer string) error {
			if isScope(answer) {
				return nil
			}
			switch strings.ToLower(answer) {
			case "yes", "y", "no", "n":
				return errors.New("answer one or several, or type the bucket's name")
			}
			return n.checkBuckets(answer)
		}})
	if err != nil {
		return err
	}
	if !isScope(first) {
		n.setBuckets(first)
		return nil
	}
	several := strings.EqualFold(first, onboard.Several)
	ask := n.unused("permitted_buckets", "")
	if !several {
		ask = n.question("bucket", "")
		ask.accept = n.checkBuckets
	}
	answer, err := n.ask(ask)
	if n.setBuckets(answer); several {
		n.PermittedBuckets = n.buckets
	}
	return err
}

// setBuckets sets the buckets, and the prefix if the answer names one.
func (n *newIntegration) setBuckets(answer string) {
	buckets, prefix := onboard.ParseScope(answer)
	n.buckets, n.Prefix = buckets, cmp.Or(prefix, n.Prefix)
}

// isScope reports whether the answer to [onboard.Several] is one of the words that it names.
func isScope(answer string) bool {
	return strings.EqualFold(answer, onboard.One) || strings.EqualFold(answer, onboard.Several)
}

// checkBuckets returns what is wrong with an answer that names the buckets of an integration, or a
// folder of one.
func (n *newIntegration) checkBuckets(answer string) error {
	buckets, prefix := onboard.ParseScope(answer)
	d := n.Draft()
	d["prefix"] = cmp.Or(prefix, n.Prefix)
	key := "permitted_buckets"
	if len(buckets) == 1 && !locator.IsPattern(buckets[0]) {
		key = "bucket"
	}
	d[key] = strings.Join(buckets, " ")
	return n.checkKeys(d, key, "prefix")
}

// checkKeys returns what is wrong with the first of the keys that is wrong.
func (n *newIntegration) checkKeys(d config.Draft, keys ...string) error {
	for _, key := range keys {
		if d[key] == "" {
			continue
		}
		if err := onboard.CheckUnused(n.source, d, key, d[key], os.LookupEnv); err != nil {
			return err
		}
	}
	return nil
}

// scope asks for the buckets and the name.
func (n *newIntegration) scope() error {
	if len(n.buckets) == 0 && !n.yes {
		if err := n.askForBuckets(); err != nil {
			return err
		}
	} else if len(n.buckets) == 0 || slices.Contains(n.buckets, "") {
		return usageError{errors.New("s3redirect integrate: --bucket is missing: which buckets is the role for?")}
	}
	if n.Bucket != "" || len(n.PermittedBuckets) == 0 && len(n.buckets) == 1 && !locator.IsPattern(n.buckets[0]) {
		n.Bucket, n.PermittedBuckets = n.buckets[0], nil
	} else {
		n.PermittedBuckets = n.buckets
	}
	n.BlockedPrefixes = n.blocked
	d := n.Draft()
	for _, key := range []string{"bucket", "permitted_buckets", "prefix", "blocked_prefixes"} {
		if err := n.checkKeys(d, key); err != nil {
			return usageError{fmt.Errorf("s3redirect integrate: --%s: %w", flagOf(key), err)}
		}
	}
	var err error
	q := n.unused("name", n.Name)
	q.otherwise = onboard.DefaultName(n.Buckets(), n.Prefix)
	n.Name, err = n.ask(q)
	return err
}

// store asks for the endpoint, the region and the keys.
func (n *newIntegration) store() (err error) {
	if n.secret != "" && !strings.HasPrefix(n.secret, "${") {
		return usageError{errSecretOnCommandLine}
	}
	n.SecretAccessKey = config.Secret(n.secret)
	where := n.optional("endpoint", n.Endpoint)
	check := where.accept
	where.accept = func(answer string) error { return check(onboard.EndpointURL(answer)) }
	endpoint, err := n.ask(where)
	if err != nil {
		return err
	}
	n.Endpoint = onboard.EndpointURL(endpoint)
	if n.Endpoint != "" && n.IsAWS() {
		n.say("  This is one of AWS's own hosts: the role is assumed at AWS STS, and no sts_endpoint " +
			"is needed.")
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
	literal := given != "" && !strings.HasPrefix(given, "${") // an access key ID itself, which is not a secret
	q := n.question(key, given)
	q.accept = func(s string) error {
		switch {
		case literal:
			return nil
		case slices.Contains(config.SecretKeys(), key):
			return secretVariable(s)
		}
		value, err := config.Lookup(variableName(s))
		if err == nil && value == "" {
			err = fmt.Errorf("the environment variable %s is empty", variableName(s))
		}
		return err
	}
	answer, err := n.ask(q)
	if literal || err != nil {
		return answer, err
	}
	return "${" + variableName(answer) + "}", nil
}

// variableName returns the name of the variable NAME or ${NAME}.
func variableName(answer string) string {
	return strings.TrimSuffix(strings.TrimPrefix(answer, "${"), "}")
}

// secretVariable returns an error unless the answer names a variable that is set. The error does not
// repeat the answer, which could be the secret itself.
func secretVariable(answer string) error {
	if value, err := config.Lookup(variableName(answer)); err != nil || value == "" {
		return errors.New("there is no environment variable with this name (nor such a file:PATH or " +
			"credential:NAME); to set it, end this with Ctrl-C. The secret itself stays out of the file")
	}
	return nil
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
	n.KMSKeys = n.kmsKeys
	if err := onboard.Check(n.Draft(), "kms_keys", n.Draft()["kms_keys"], os.LookupEnv); err != nil {
		return usageError{fmt.Errorf("s3redirect integrate: --kms-key: %w", err)}
	}
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
	return n.PlaceholderRoleARN(n.principal)
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
