package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/onboard"
	"s3redirect/internal/policy"
	"s3redirect/internal/policy/document"
)

// showDocuments prints the documents to create, and where to create them.
func (n *newIntegration) showDocuments() error {
	r := document.Request{Format: document.JSON, Integration: &n.Integration, Config: n.configured()}
	number := 0
	show := func(kind document.Kind, more string) error {
		r.Kind = kind
		text, notes, err := r.Write()
		if err != nil {
			return usageError{fmt.Errorf("s3redirect integrate: %w", err)}
		}
		number++
		about := onboard.Describe(kind)
		n.say("\n--- %d. %s\n%s", number, about.Title, strings.TrimSuffix(text, "\n"))
		for _, note := range notes {
			n.say("    note: %s", note)
		}
		n.say("    %s", about.Hint)
		if more != "" {
			n.say("    %s", more)
		}
		return nil
	}
	if n.keysOnly() {
		if err := show(document.KindAccess, "Give it to the user whose keys they are, in the store."); err != nil {
			return err
		}
	} else {
		if err := n.resolvePrincipal(); err != nil {
			return err
		}
		if err := n.askForTags(); err != nil {
			return err
		}
		r.Principal, r.WithTags = n.principal, n.withTags
		n.RoleARN = n.roleOrPlaceholder()
		more := ""
		if n.IsAWS() && len(n.KMSKeys) == 0 {
			more = "For objects under SSE-KMS:\n    " + n.command("access") + " --kms-key ARN"
		}
		if err := show(document.KindAccess, more); err != nil {
			return err
		}
		if err := show(document.KindTrust,
			"Both at once (--format terraform and cloudformation are there, too):\n    "+
				n.command("role --format cli")); err != nil {
			return err
		}
	}
	more := "It is needed for every bucket that the patterns match."
	switch {
	case n.HasAccessPoint():
		more = "It is needed for the bucket behind the access point."
	case !slices.ContainsFunc(n.Buckets(), locator.IsPattern):
		more = "Or: " + n.command("cors --format cli")
	}
	if err := show(document.KindCORS, more); err != nil {
		return err
	}
	n.say("")
	return nil
}

// command returns the command line that prints a document of this integration before it is in a
// file.
func (n *newIntegration) command(words string) string {
	kind, _, _ := strings.Cut(words, " ")
	line := append([]string{"policy"}, strings.Fields(words)...)
	line = append(line, "--name", n.Name, "--region", n.Region)
	for _, b := range n.Buckets() {
		line = append(line, "--bucket", b)
	}
	if kind != "access" && kind != "cors" && n.RoleARN != n.placeholderRoleARN() {
		line = append(line, "--role-arn", n.RoleARN)
	}
	if kind == "role" || kind == "trust" {
		line = append(line, "--principal", n.principal, "--external-id", n.ExternalID)
	}
	tagged := kind == "role" || kind == "trust" || kind == "assume"
	if tagged && n.withTags && !strings.Contains(words, "--with-tags") {
		line = append(line, "--with-tags")
	}
	if kind == "role" && n.SessionDuration > 0 {
		line = append(line, "--session-duration", config.Short(n.SessionDuration))
	}
	if kind == "role" || kind == "access" {
		if n.FileVersioning {
			line = append(line, "--file-versioning")
		}
		if n.ListBucket {
			line = append(line, "--list-bucket")
		}
	}
	if n.Prefix != "" {
		line = append(line, "--prefix", n.Prefix)
	}
	if kind == "role" || kind == "access" {
		for _, prefix := range n.BlockedPrefixes {
			line = append(line, "--blocked-prefix", prefix)
		}
		for _, key := range n.KMSKeys {
			line = append(line, "--kms-key", key)
		}
	}
	if n.AccessPoint != "" {
		line = append(line, "--access-point", n.AccessPoint)
	}
	if n.Endpoint != "" {
		line = append(line, "--endpoint", n.Endpoint)
		if n.PathStyle {
			line = append(line, "--path-style")
		}
		if n.STSEndpoint != "" {
			line = append(line, "--sts-endpoint", n.STSEndpoint)
		}
		if n.keysOnly() {
			line = append(line, "--access-key-id", n.AccessKeyID, "--secret-access-key", n.secret)
		}
	}
	return commandLine(line...)
}

// configured returns the present configuration, whose cors section the CORS document needs.
func (n *newIntegration) configured() *config.Config {
	if n.current != nil {
		return n.current
	}
	return &config.Config{}
}

// resolvePrincipal sets n.principal, the ARN that assumes the role: from STS if it answers, else from
// the user.
func (n *newIntegration) resolvePrincipal() (err error) {
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
	q := n.question(onboard.Principal, n.principal)
	q.accept = func(s string) error {
		_, err := policy.ParsePrincipal(s, n.Partition())
		return err
	}
	n.principal, err = n.ask(q)
	return err
}

// askForTags sets n.withTags. Only sessions have tags and source identities, and STS does not
// report them. EKS Pod Identity always attaches tags.
// https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html
func (n *newIntegration) askForTags() (err error) {
	if n.withTags || !strings.Contains(n.principal, ":assumed-role/") {
		return nil
	}
	agent := os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	isPodIdentity := strings.Contains(agent, "//169.254.170.23/") ||
		strings.Contains(agent, "//[fd00:ec2::23]/")
	n.withTags, err = n.agree(onboard.WithTags, isPodIdentity)
	return err
}

// expand replaces variables by their values, for calls before the file is loaded.
func expand(i *config.Integration) {
	value := func(s string) string {
		if name, ok := strings.CutPrefix(s, "${"); ok {
			value, _ := config.Lookup(strings.TrimSuffix(name, "}")) // its question has accepted it
			return value
		}
		return s
	}
	i.AccessKeyID, i.SecretAccessKey = value(i.AccessKeyID), config.Secret(value(string(i.SecretAccessKey)))
}
