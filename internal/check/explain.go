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
	"strings"
	"syscall"

	"github.com/aws/smithy-go"
)

// explanation is a cause in words, and what to do about it.
type explanation struct{ reason, remedy string }

// unreachable explains why a server could not be asked. What is the server's role here: "STS", or "the store".
func unreachable(what, address string, err error) explanation {
	host := address
	if u, parseErr := url.Parse(address); parseErr == nil && u.Host != "" {
		host = u.Host
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		why := "the name server did not say where it is"
		if dns.IsNotFound {
			why = "there is no such host"
		}
		return explanation{fmt.Sprintf("%s: %s is not found: %s", what, dns.Name, why), "Look at the spelling of the endpoint (or region), and at the name server that this machine or container asks."}
	}
	if e, ok := untrusted(what, host, err); ok {
		return e
	}
	timedOut, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return explanation{fmt.Sprintf("%s: nothing listens at %s", what, host), "Start it, or mend the endpoint's host and port."}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), timedOut != nil && timedOut.Timeout():
		return explanation{fmt.Sprintf("%s: %s did not answer within %s", what, host, timeout), "Look for a firewall, a security group or a missing route; in a private network, for the VPC endpoint."}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return explanation{fmt.Sprintf("%s: there is no route to %s", what, host), "Look at the network of this machine or container, and at its proxy settings."}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return explanation{fmt.Sprintf("%s: %s broke the connection", what, host), "Look at what stands between: a firewall, a proxy, or a server that wants TLS (https://)."}
	}
	return explanation{fmt.Sprintf("%s: %s could not be asked", what, host), "Try it from this machine with curl, and mend what that says."}
}

// untrusted explains TLS's objections.
func untrusted(what, host string, err error) (explanation, bool) {
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return explanation{fmt.Sprintf("%s: %s does not speak TLS", what, host), "Write the endpoint with http:// (and insecure: true, if it is not this machine), or give the server a certificate."}, true
	}
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return explanation{fmt.Sprintf("%s: the certificate of %s is for other names", what, host), fmt.Sprintf("Write the endpoint with a name that the certificate has: %s.", strings.Join(certificateNames(name.Certificate), ", "))}, true
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return explanation{fmt.Sprintf("%s: the certificate of %s is not valid now", what, host), "Renew the certificate, or set this machine's clock."}, true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return explanation{fmt.Sprintf("%s: nobody whom this machine trusts has signed the certificate of %s", what, host),
			"Add its authority to the system's certificates, or name its file in SSL_CERT_FILE (for the process's own AWS calls AWS_CA_BUNDLE). Browsers must trust it too."}, true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return explanation{fmt.Sprintf("%s: the certificate of %s does not hold", what, host), "Look at it with: openssl s_client -connect " + host}, true
	}
	return explanation{}, false
}

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

// refusal is an answer that STS or a store gave instead of what was asked for.
type refusal struct {
	status  int
	code    string // "" where there is none
	message string
}

// refused takes an SDK error apart. It is false where there was no answer.
func refused(err error) (r refusal, ok bool) {
	var answer interface{ HTTPStatusCode() int }
	if !errors.As(err, &answer) || answer.HTTPStatusCode() == 0 {
		return r, false
	}
	r.status = answer.HTTPStatusCode()
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() != "UnknownError" {
		r.code, r.message = api.ErrorCode(), oneLine(api.ErrorMessage())
		if r.message == "UnknownError" { // the SDK's word for none
			r.message = ""
		}
	}
	return r, true
}

func (r refusal) String() string {
	switch {
	case r.code == "":
		return fmt.Sprintf("status %d", r.status)
	case r.message == "" || r.message == r.code:
		return r.code
	}
	return r.code + " (" + strings.TrimSuffix(r.message, ".") + ")"
}

// says tells whether the message has any of some words, whatever their case.
func (r refusal) says(words ...string) bool {
	for _, w := range words {
		if strings.Contains(strings.ToLower(r.message), w) {
			return true
		}
	}
	return false
}

// oneLine is a server's text, without what could move a terminal's cursor, and bounded.
func oneLine(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return ' '
		}
		return c
	}, s)
	if runes := []rune(s); len(runes) > 300 {
		s = string(runes[:300]) + "…"
	}
	return strings.TrimSpace(s)
}

const mendClock = "Set the clock: see the step clock."

// aSession is whose credentials those are that STS has just made.
const aSession = "the session"

// badCredentials explains refusals that are about the caller's own credentials, of STS or of S3. The second is false where it
// is about something else.
func badCredentials(r refusal, whose string) (explanation, bool) {
	switch r.code {
	case "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure":
		if whose == aSession {
			return explanation{fmt.Sprintf("the store does not know the session that STS has made: %s", r), "Look whether endpoint and sts_endpoint are of the same store (sessions of AWS's STS are good at AWS alone), and whether the role is still there."}, true
		}
		return explanation{fmt.Sprintf("%s: the access key ID is not known: %s", whose, r), "Look whether the key is active, complete, and of this partition or store; if not, make another."}, true
	case "SignatureDoesNotMatch", "IncompleteSignature":
		switch {
		case r.says("expired", "not yet current"):
			return explanation{fmt.Sprintf("%s: the signature's time is refused: %s", whose, r), mendClock}, true
		case whose == aSession:
			return explanation{fmt.Sprintf("the store's signature of the request is another than ours, though STS has just made the key: %s", r), "Look at what stands before the store: it must leave the Host header, the path and the query as they are."}, true
		}
		return explanation{fmt.Sprintf("%s: the secret access key does not go with the access key ID: %s", whose, r), "Write the secret access key again, without blanks or quotes; if it is lost, make a new key, as it is shown only then."}, true
	case "RequestTimeTooSkewed", "RequestExpired":
		return explanation{fmt.Sprintf("%s: the signature's time is refused: %s", whose, r), mendClock}, true
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return explanation{fmt.Sprintf("%s: the session has expired: %s", whose, r), "Renew it; better, run as a role that renews itself (instance, container, web identity) instead of with a copied session."}, true
	case "InvalidToken":
		return explanation{fmt.Sprintf("%s: the session token is refused: %s", whose, r), "Look whether the token is whole and of this store. If the region is one that an account must opt into, it must be enabled in the role's account, and sessions must come from a regional STS."}, true
	case "RegionDisabledException":
		return explanation{fmt.Sprintf("STS is not active in the region: %s", r), "Activate the region's STS in the account settings of IAM, or enable the region."}, true
	}
	return explanation{}, false
}
