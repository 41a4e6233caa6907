package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/smithy-go"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// explainOwnCredentials explains why the proxy's own credentials cannot be loaded.
func explainOwnCredentials(err error) explanation {
	profile := os.Getenv("AWS_PROFILE")
	if missing, ok := errors.AsType[awsconfig.SharedConfigProfileNotExistError](err); ok {
		return explanation{
			"the proxy's own credentials: the shared files have no profile " +
				sanitize(missing.Profile),
			"Correct AWS_PROFILE, or add the profile to ~/.aws/config or ~/.aws/credentials. Set " +
				"AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE if the files are elsewhere.",
		}
	}
	if _, ok := errors.AsType[*ssocreds.InvalidTokenError](err); ok {
		return explanation{
			"the proxy's own credentials: the SSO session has expired, or does not exist",
			"Sign in again with aws sso login" + profileFlag(profile) +
				"; or run with credentials that are renewed automatically (instance, container, " +
				"web identity).",
		}
	}
	if _, ok := errors.AsType[awsconfig.AssumeRoleTokenProviderNotSetError](err); ok {
		return explanation{
			"the proxy's own credentials: the profile requires an MFA code, and the proxy cannot " +
				"prompt for one",
			"Use a profile without mfa_serial, or a role that the machine provides (instance, " +
				"container, web identity).",
		}
	}
	if isHopLimit(err) {
		return explanation{
			"the proxy's own credentials: the instance metadata service (169.254.169.254) does " +
				"not answer this container; the instance's hop limit is probably 1",
			"Set it to 2: aws ec2 modify-instance-metadata-options --instance-id ID " +
				"--http-put-response-hop-limit 2; or, better, give the container its own role " +
				"(IRSA, Pod Identity, task role).",
		}
	}
	return explainNoCredentials()
}

func profileFlag(profile string) string {
	if profile == "" {
		return ""
	}
	return " --profile " + sanitize(profile)
}

// isHopLimit reports whether an error is typical of a container on an instance whose metadata
// service has a hop limit of 1. The response with the token does not reach the container: the
// request for it times out. The SDK then asks without a token, which is unauthorized if the instance
// requires one.
//
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-IMDS-new-instances.html
func isHopLimit(err error) bool {
	var operation *smithy.OperationError
	if !errors.As(err, &operation) || operation.Service() != "ec2imds" || !inContainer() {
		return false
	}
	var network net.Error
	return strings.Contains(err.Error(), "StatusCode: 401") || // the SDK does not unwrap this error
		errors.As(err, &network) && network.Timeout() ||
		errors.Is(err, context.DeadlineExceeded)
}

// inContainer reports whether the process runs in a container of Kubernetes, ECS, Docker or Podman.
func inContainer() bool {
	for _, name := range []string{"KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI_V4"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	for _, file := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(file); err == nil {
			return true
		}
	}
	return false
}

// ownCredentials checks the credentials of an integration that signs with the process's own, and
// reports whether there are any.
func (p *probe) ownCredentials(ctx context.Context) bool {
	const skipped = "the proxy's own credentials sign the URLs"
	if p.i.Endpoint == "" && !p.credentials(ctx) {
		p.reportClock()
		p.skip("assume_role", skipped)
		return false
	}
	var err error
	p.session, p.expires, err = p.assumeRole(ctx, p.i)
	if err != nil {
		p.fail("credentials", explainOwnCredentials(err))
		p.skip("assume_role", skipped)
		return false
	}
	if p.i.Endpoint != "" { // its own STS, if there is one, is unknown
		p.ok("credentials", "the access key ID is %s", p.session.AccessKeyID)
	}
	p.reportClock()
	p.skip("assume_role", skipped)
	remaining := p.expires.Sub(p.Clock()).Round(time.Second)
	switch {
	case p.expires.IsZero():
		p.expires = p.Clock().Add(presign.MaxLifetime)
	case remaining < p.i.URLLifetime:
		p.warn("session", explanation{
			fmt.Sprintf("the proxy's own credentials expire in %s, before the URLs that they sign, "+
				"which should live %s", config.Short(remaining), config.Short(p.i.URLLifetime)),
			"Shorten url_lifetime, or use credentials that live longer, or a role.",
		})
	default:
		p.ok("session", "the proxy's own credentials expire in %s", config.Short(remaining))
	}
	return true
}
