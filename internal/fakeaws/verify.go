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

// Signatures are verified by having the AWS SDK make them again: an implementation that shares nothing with the proxy's own.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

const (
	algorithm       = "AWS4-HMAC-SHA256"
	timeFormat      = "20060102T150405Z"
	unsignedPayload = "UNSIGNED-PAYLOAD"
	maxSkew         = 15 * time.Minute
)

// caller is whose access key a request is signed with: a user's, or a session's. Both are copies.
type caller struct {
	credentials aws.Credentials
	arn         string
	user        User
	session     *session // nil: a user
}

// Why an access key is nobody's. Each endpoint has its own codes for them.
var (
	errUnknownKey   = errors.New("unknown access key")
	errWrongToken   = errors.New("wrong session token")
	errExpiredToken = errors.New("expired session token")
)

// caller finds who has an access key and shows the token that belongs to it.
func (c *Cloud) caller(accessKeyID, token string) (*caller, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u, ok := c.users[accessKeyID]; ok {
		if token != "" {
			return nil, errWrongToken
		}
		return &caller{
			credentials: aws.Credentials{AccessKeyID: u.AccessKeyID, SecretAccessKey: u.SecretAccessKey},
			arn:         u.ARN,
			user:        u,
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
	held := *s
	return &caller{
		credentials: aws.Credentials{AccessKeyID: s.accessKeyID, SecretAccessKey: s.secret, SessionToken: s.token},
		arn:         s.arn(),
		session:     &held,
	}, nil
}

// scope is a credential: an access key ID and the credential scope.
type scope struct {
	accessKeyID, date, region, service string
}

func parseCredential(s string) (scope, bool) {
	p := strings.Split(s, "/")
	if len(p) != 5 || p[0] == "" || p[4] != "aws4_request" {
		return scope{}, false
	}
	return scope{accessKeyID: p[0], date: p[1], region: p[2], service: p[3]}, true
}

// headerSignature is what an Authorization header says.
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

// verifyHeader tells whether the request was signed with the credentials, in its Authorization header.
func verifyHeader(r *http.Request, a headerSignature, cred aws.Credentials, payloadHash string, at time.Time) bool {
	again, ok := toSign(r, a.signedHeaders, r.URL.EscapedPath(), r.URL.RawQuery)
	if !ok {
		return false
	}
	err := v4.NewSigner().SignHTTP(context.Background(), cred, again, payloadHash, a.service, a.region, at)
	if err != nil {
		return false
	}
	want, ok := parseAuthorization(again.Header.Get("Authorization"))
	return ok && want.signature == a.signature && slices.Equal(want.signedHeaders, a.signedHeaders)
}

// verifyQuery tells whether the URL is the very one that a presigner makes with the credentials: not only is its signature
// the same, but every parameter, so that none can be added, repeated or spelled otherwise.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
func verifyQuery(r *http.Request, q url.Values, s scope, cred aws.Credentials, at time.Time) bool {
	unsigned := maps.Clone(q)
	delete(unsigned, "X-Amz-Signature")
	// S3 signs the path decoded and encoded again in its own way, whatever way it was sent.
	path := httpbinding.EscapePath(decodedPath(r.URL), false)
	again, ok := toSign(r, strings.Split(q.Get("X-Amz-SignedHeaders"), ";"), path, unsigned.Encode())
	if !ok {
		return false
	}
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), cred, again, unsignedPayload, s.service, s.region, at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping, o.DisableHeaderHoisting = true, true })
	if err != nil {
		return false
	}
	_, query, _ := strings.Cut(signed, "?")
	want, err := url.ParseQuery(query)
	return err == nil && maps.EqualFunc(q, want, func(a, b []string) bool { return slices.Equal(a, b) })
}

// toSign is the request as its sender signed it, with none but the signed headers. It fails if one of these was not sent.
func toSign(r *http.Request, signedHeaders []string, path, query string) (*http.Request, bool) {
	again := &http.Request{
		Method: r.Method,
		Host:   r.Host,
		URL:    &url.URL{Host: r.Host, Opaque: "//" + r.Host + path, RawQuery: query},
		Header: http.Header{},
	}
	for _, name := range signedHeaders {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			values := r.Header.Values(name)
			if len(values) == 0 {
				return nil, false
			}
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	return again, slices.Contains(signedHeaders, "host")
}

// hostRegion is the region that an endpoint's host names, as in s3.eu-west-1.amazonaws.com; "" where it names none.
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

// arn is the session as a principal: the role's path is not part of it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
func (s *session) arn() string {
	account, role, _ := strings.Cut(s.roleARN, ":role/")
	return strings.Replace(account, ":iam:", ":sts:", 1) + ":assumed-role/" + role[strings.LastIndex(role, "/")+1:] + "/" + s.name
}
