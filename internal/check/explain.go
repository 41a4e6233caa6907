package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/aws/smithy-go"
)

// explanation is what a step found, and what to do about it.
type explanation struct{ reason, remedy string }

// remedyUnavailable is the remedy for a server that answers with a status of 500 or more.
const remedyUnavailable = "Try again later. If the error persists, check the status of the store " +
	"(for AWS: health.aws.amazon.com)."

// explainUnreachable explains why a server could not be reached. Server names it: "STS" or "the
// store".
func explainUnreachable(server, address string, err error) explanation {
	return explainNetwork(server, address, timeout, err)
}

// isClosed reports whether the other side closed a connection.
func isClosed(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// explainNetwork is [explainUnreachable] for requests that are bounded by within.
func explainNetwork(server, address string, within time.Duration, err error) explanation {
	host := address
	if u, parseErr := url.Parse(address); parseErr == nil && u.Host != "" {
		host = u.Host
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return explainDNS(server, dns)
	}
	if e, ok := explainTLS(server, host, err); ok {
		return e
	}
	netErr, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return explanation{
			fmt.Sprintf("%s: connection to %s refused", server, host),
			"Start the server, or correct the host and port of the endpoint.",
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		netErr != nil && netErr.Timeout():
		return explanation{
			fmt.Sprintf("%s: %s did not answer within %s", server, host, within),
			"Look for a firewall, a security group or a missing route; " +
				"in a private network, check the VPC endpoint.",
		}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return explanation{
			fmt.Sprintf("%s: there is no route to %s", server, host),
			"Check the network of this machine or container, and its proxy settings.",
		}
	case isClosed(err):
		return explanation{
			fmt.Sprintf("%s: %s closed the connection", server, host),
			"Look for a firewall or proxy between here and the server, " +
				"or a server that requires TLS (https://).",
		}
	}
	return explanation{
		fmt.Sprintf("%s: the request to %s failed", server, host),
		"Send a request to it from this machine with curl, and fix the error that curl prints.",
	}
}

func explainDNS(server string, err *net.DNSError) explanation {
	cause := "the name server did not answer"
	if err.IsNotFound {
		cause = "unknown host"
	}
	return explanation{
		fmt.Sprintf("%s: cannot resolve %s: %s", server, err.Name, cause),
		"Check the spelling of the endpoint (or region), and the name server that this machine " +
			"or container uses.",
	}
}

// explainTLS explains errors of the TLS handshake. The result is false for other errors.
func explainTLS(server, host string, err error) (explanation, bool) {
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	if plain || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return explanation{
			fmt.Sprintf("%s: %s does not use TLS", server, host),
			"Write the endpoint with http:// (and set insecure: true if it is on another " +
				"machine), or give the server a certificate.",
		}, true
	}
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return explanation{
			fmt.Sprintf("%s: the certificate of %s is for another name", server, host),
			"Write the endpoint with a name in the certificate: " +
				strings.Join(certificateNames(name.Certificate), ", ") + ".",
		}, true
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if ok && invalid.Reason == x509.Expired {
		return explanation{
			fmt.Sprintf("%s: the certificate of %s has expired or is not yet valid", server, host),
			"Renew the certificate, or set this machine's clock.",
		}, true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return explanation{
			fmt.Sprintf("%s: the certificate of %s is signed by an unknown authority",
				server, host),
			"Add the authority to the system's certificates, or name its file in SSL_CERT_FILE " +
				"(in AWS_CA_BUNDLE for the proxy's own AWS calls). Browsers must trust it, too.",
		}, true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return explanation{
			fmt.Sprintf("%s: the certificate of %s is invalid", server, host),
			"Inspect it with: openssl s_client -connect " + host,
		}, true
	}
	return explanation{}, false
}

// certificateNames returns the DNS names and IP addresses that a certificate is valid for.
func certificateNames(c *x509.Certificate) (names []string) {
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{"none"}
	}
	return names
}

// errorResponse is the error response of STS or a store.
type errorResponse struct {
	status  int
	code    string // "" if the response has none
	message string
}

// parseSDKError returns the error response in an SDK error. The result is false if there was no
// response.
func parseSDKError(err error) (r errorResponse, ok bool) {
	var response interface{ HTTPStatusCode() int }
	if !errors.As(err, &response) || response.HTTPStatusCode() == 0 {
		return r, false
	}
	r.status = response.HTTPStatusCode()
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() != "UnknownError" {
		r.code, r.message = api.ErrorCode(), sanitize(api.ErrorMessage())
		if r.message == "UnknownError" { // the SDK's placeholder for a missing message
			r.message = ""
		}
	}
	return r, true
}

// String returns the code and the message, or the status if there is no code.
func (r errorResponse) String() string {
	switch {
	case r.code == "":
		return fmt.Sprintf("status %d", r.status)
	case r.message == "" || r.message == r.code:
		return r.code
	}
	return r.code + " (" + strings.TrimSuffix(r.message, ".") + ")"
}

// mentions reports whether the message contains one of the phrases, which must be in lower case.
func (r errorResponse) mentions(phrases ...string) bool {
	message := strings.ToLower(r.message)
	for _, p := range phrases {
		if strings.Contains(message, p) {
			return true
		}
	}
	return false
}

// action returns the action that the message of a denial names, such as s3:GetObject, or otherwise.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (r errorResponse) action(otherwise string) string {
	if m := deniedAction.FindStringSubmatch(r.message); m != nil {
		return m[1]
	}
	return otherwise
}

var deniedAction = regexp.MustCompile(
	`(?:to perform: |allows the )([a-z0-9-]+:[A-Z][A-Za-z]+)\b`)

// maxMessage bounds the text that is used of a server's message, in characters. AWS names the
// policy that denies an action at the end of a message, after two ARNs.
const maxMessage = 1000

// sanitize returns a server's text without control characters, which could move a terminal's
// cursor, shortened to [maxMessage].
func sanitize(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return ' '
		}
		return c
	}, s)
	if runes := []rune(s); len(runes) > maxMessage {
		s = string(runes[:maxMessage]) + "…"
	}
	return strings.TrimSpace(s)
}

const remedyClock = "Set the clock; see the step clock."

// roleSession is the owner of the session's credentials, for [explainCredentials].
const roleSession = "the session"

// explainCredentials explains error responses of STS or S3 that are about the credentials. Owner
// names the credentials. The result is false for other errors.
func explainCredentials(r errorResponse, owner string) (explanation, bool) {
	switch r.code {
	case "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure":
		return explainUnknownKey(r, owner), true
	case "SignatureDoesNotMatch", "IncompleteSignature":
		if !r.mentions("expired", "not yet current") {
			return explainSignature(r, owner), true
		}
		fallthrough
	case "RequestTimeTooSkewed", "RequestExpired":
		return explanation{
			fmt.Sprintf("%s: the time of the signature was rejected: %s", owner, r),
			remedyClock,
		}, true
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return explanation{
			fmt.Sprintf("%s: the session has expired: %s", owner, r),
			"Renew it, or better, run with a role whose credentials are renewed automatically " +
				"(instance, container, web identity).",
		}, true
	case "InvalidToken":
		return explanation{
			fmt.Sprintf("%s: the session token was rejected: %s", owner, r),
			"Check that the token is complete and belongs to this store. An opt-in region must " +
				"be enabled in the role's account, and requires sessions of a regional STS " +
				"endpoint.",
		}, true
	case "RegionDisabledException":
		return explanation{
			fmt.Sprintf("STS is not active in the region: %s", r),
			"Activate STS for the region in the account settings of IAM, or enable the region; or " +
				"set sts_region to a region that is enabled.",
		}, true
	}
	return explanation{}, false
}

func explainUnknownKey(r errorResponse, owner string) explanation {
	if owner == roleSession {
		return explanation{
			fmt.Sprintf("the store does not know the session that STS returned: %s", r),
			"Check that endpoint and sts_endpoint belong to the same store (sessions of AWS STS " +
				"are valid only at AWS), and that the role still exists.",
		}
	}
	return explanation{
		fmt.Sprintf("%s: unknown access key ID: %s", owner, r),
		"Check that the key is active, complete, and of this partition or store; " +
			"if not, create another.",
	}
}

func explainSignature(r errorResponse, owner string) explanation {
	if owner == roleSession {
		return explanation{
			fmt.Sprintf("the store computed another signature than the proxy: %s", r),
			"Check the reverse proxy in front of the store: it must not change the Host header, " +
				"the path or the query.",
		}
	}
	return explanation{
		fmt.Sprintf("%s: the secret access key does not match the access key ID: %s", owner, r),
		"Copy the secret access key again, without spaces or quotes. If it is lost, create a new " +
			"key: AWS shows the secret only once.",
	}
}
