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
	"s3redirect/internal/policy"
	"s3redirect/internal/policy/document"
)

// showDocuments prints what has to be made, and says where.
func (n *newIntegration) showDocuments() error {
	r := document.Request{Format: document.JSON, Integration: &n.Integration, Config: n.configured()}
	show := func(title string, kind document.Kind, hint string) error {
		r.Kind = kind
		text, notes, err := r.Write()
		if err != nil {
			return usageError{fmt.Errorf("s3redirect integrate: %w", err)}
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
		if err := n.resolvePrincipal(); err != nil {
			return err
		}
		r.Principal = n.principal
		n.RoleARN = n.roleOrPlaceholder()
		hint := "In IAM: Policies, Create policy, JSON. It lets the role read the buckets, and nothing else."
		if n.IsAWS() {
			hint += " For objects under SSE-KMS:\n    " + n.command("access") + " --kms-key ARN"
		}
		if err := show("1. Access policy", "access", hint); err != nil {
			return err
		}
		if err := show("2. Trust policy", "trust", "In IAM: Roles, Create role, Custom trust policy; then add the policy of step 1. Both at once (--format terraform and cloudformation are there too):\n    "+n.command("role --format cli")); err != nil {
			return err
		}
	}
	hint := "In S3: the bucket, Permissions, Cross-origin resource sharing"
	if slices.ContainsFunc(n.Buckets(), locator.IsPattern) {
		hint += "; of every bucket that the patterns mean."
	} else {
		hint += "; or: " + n.command("cors --format cli")
	}
	if err := show("3. CORS, only if pages read the objects with fetch(); images and videos need none", "cors", hint); err != nil {
		return err
	}
	n.say("")
	return nil
}

// command is the command line that prints a document of this integration, before it is in a file.
func (n *newIntegration) command(words string) string {
	kind, _, _ := strings.Cut(words, " ")
	line := []string{"s3redirect policy", words, "--name", n.Name, "--region", n.Region}
	for _, b := range n.Buckets() {
		line = append(line, "--bucket", "'"+b+"'")
	}
	if kind != "access" && kind != "cors" && n.RoleARN != n.placeholderRoleARN() {
		line = append(line, "--role-arn", n.RoleARN)
	}
	if kind == "role" || kind == "trust" {
		line = append(line, "--principal", n.principal, "--external-id", n.ExternalID)
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
	if n.Endpoint != "" {
		line = append(line, "--endpoint", n.Endpoint)
		if n.PathStyle {
			line = append(line, "--path-style")
		}
		if n.STSEndpoint != "" {
			line = append(line, "--sts-endpoint", n.STSEndpoint)
		}
		if n.keysOnly() {
			line = append(line, "--access-key-id", "'"+n.AccessKeyID+"'", "--secret-access-key", "'"+n.secret+"'")
		}
	}
	return strings.Join(line, " ")
}

// configured is the configuration as it is, as far as it says which pages read.
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
