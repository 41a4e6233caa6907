package fakeaws

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/httpbinding"
)

// Signatures are verified by signing again with the AWS SDK, whose implementation shares no code
// with the proxy's signer.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

const (
	algorithm       = "AWS4-HMAC-SHA256"
	timeFormat      = "20060102T150405Z"
	unsignedPayload = "UNSIGNED-PAYLOAD"
	maxSkew         = 15 * time.Minute
)

// principal is the user or session that signed a request. user and session are copies.
type principal struct {
	credentials aws.Credentials
	arn         string
	user        User
	session     *session // nil for a user
}

// Errors of [Cloud.principal]. S3 and STS have different codes for them.
var (
	errUnknownKey   = errors.New("unknown access key")
	errWrongToken   = errors.New("wrong session token")
	errExpiredToken = errors.New("expired session token")
)

// principal returns the user or session with an access key and session token.
func (c *Cloud) principal(accessKeyID, token string) (*principal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u, ok := c.users[accessKeyID]; ok {
		if token != "" {
			return nil, errWrongToken
		}
		return &principal{
			credentials: aws.Credentials{
				AccessKeyID:     u.AccessKeyID,
				SecretAccessKey: u.SecretAccessKey,
			},
			arn:  u.ARN,
			user: u,
		}, nil
	}
	s := c.sessions[accessKeyID]
	switch {
	case s == nil:
		return nil, errUnknownKey
	case token != s.token:
		return nil, errWrongToken
	case !c.clock().Before(s.expires):
		return nil, errExpiredToken
	}
	snapshot := *s
	return &principal{
		credentials: aws.Credentials{
			AccessKeyID:     s.accessKeyID,
			SecretAccessKey: s.secret,
			SessionToken:    s.token,
		},
		arn:     s.arn(),
		session: &snapshot,
	}, nil
}

// scope is the value of a Credential parameter: an access key ID and the credential scope.
type scope struct {
	accessKeyID, date, region, service string
}

// parseCredential parses KEY/DATE/REGION/SERVICE/aws4_request.
func parseCredential(s string) (scope, bool) {
	p := strings.Split(s, "/")
	if len(p) != 5 || p[0] == "" || p[4] != "aws4_request" {
		return scope{}, false
	}
	return scope{accessKeyID: p[0], date: p[1], region: p[2], service: p[3]}, true
}

// headerSignature is a parsed Authorization header.
type headerSignature struct {
	scope
	signedHeaders []string
	signature     string
}

func parseAuthorization(header string) (a headerSignature, ok bool) {
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return a, false
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	if a.scope, ok = parseCredential(fields["Credential"]); !ok {
		return a, false
	}
	a.signedHeaders = strings.Split(fields["SignedHeaders"], ";")
	a.signature = fields["Signature"]
	return a, fields["SignedHeaders"] != "" && a.signature != ""
}

// verifyHeader reports whether the Authorization header's signature was made with cred.
func verifyHeader(
	r *http.Request, a headerSignature, cred aws.Credentials, payloadHash string, at time.Time,
) bool {
	unsigned, ok := unsignedRequest(r, a.signedHeaders, r.URL.EscapedPath(), r.URL.RawQuery)
	if !ok {
		return false
	}
	err := v4.NewSigner().SignHTTP(context.Background(), cred, unsigned, payloadHash,
		a.service, a.region, at)
	if err != nil {
		return false
	}
	want, ok := parseAuthorization(unsigned.Header.Get("Authorization"))
	return ok && want.signature == a.signature && slices.Equal(want.signedHeaders, a.signedHeaders)
}

// verifyQuery reports whether the URL equals the one that the SDK presigns with cred. It compares
// all parameters, not only the signature, so that none can be added, repeated or respelled.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
func verifyQuery(r *http.Request, q url.Values, s scope, cred aws.Credentials, at time.Time) bool {
	query := maps.Clone(q)
	delete(query, "X-Amz-Signature")
	// S3 decodes the path and signs its own encoding of it, however the path was sent.
	path := httpbinding.EscapePath(decodedPath(r.URL), false)
	signedHeaders := strings.Split(q.Get("X-Amz-SignedHeaders"), ";")
	unsigned, ok := unsignedRequest(r, signedHeaders, path, query.Encode())
	if !ok {
		return false
	}
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), cred, unsigned,
		unsignedPayload, s.service, s.region, at, func(o *v4.SignerOptions) {
			o.DisableURIPathEscaping = true
			o.DisableHeaderHoisting = true
		})
	if err != nil {
		return false
	}
	_, signedQuery, _ := strings.Cut(signed, "?")
	want, err := url.ParseQuery(signedQuery)
	return err == nil && maps.EqualFunc(q, want, slices.Equal)
}

// unsignedRequest returns the request as it was before it was signed, with only the signed headers.
// It reports false if one of them is missing, or if the host is not signed.
func unsignedRequest(
	r *http.Request, signedHeaders []string, path, query string,
) (*http.Request, bool) {
	unsigned := &http.Request{
		Method: r.Method,
		Host:   r.Host,
		URL:    &url.URL{Host: r.Host, Opaque: "//" + r.Host + path, RawQuery: query},
		Header: http.Header{},
	}
	for _, name := range signedHeaders {
		switch name {
		case "host":
		case "content-length":
			unsigned.ContentLength = r.ContentLength
		default:
			values := r.Header.Values(name)
			if len(values) == 0 {
				return nil, false
			}
			unsigned.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	return unsigned, slices.Contains(signedHeaders, "host")
}

// hostRegion returns the region in an endpoint's host, such as s3.eu-west-1.amazonaws.com, or "" if
// there is none.
// https://docs.aws.amazon.com/general/latest/gr/s3.html
func hostRegion(service, host string) string {
	host, _, _ = strings.Cut(host, ":")
	rest, isAWS := strings.CutSuffix(strings.TrimSuffix(host, ".cn"), ".amazonaws.com")
	i := strings.LastIndex("."+rest, "."+service)
	if !isAWS || i < 0 {
		return ""
	}
	name := strings.TrimLeft(strings.TrimPrefix(rest[i:], service), ".-")
	name = strings.TrimPrefix(strings.TrimPrefix(name, "fips."), "dualstack.")
	if strings.Count(name, "-") < 2 || strings.Contains(name, ".") {
		return ""
	}
	return name
}

// arn returns the ARN of the session as a principal. It does not include the role's path.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
func (s *session) arn() string {
	account, role, _ := strings.Cut(s.roleARN, ":role/")
	name := role[strings.LastIndex(role, "/")+1:]
	return strings.Replace(account, ":iam:", ":sts:", 1) + ":assumed-role/" + name + "/" + s.name
}
