package viewer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/config"
)

// integrationText completes a configuration with a recipe's viewers section.
const integrationText = `
listen: 127.0.0.1:8080
integrations:
  - name: photos
    bucket: photos
    region: us-east-1
    role_arn: arn:aws:iam::123456789012:role/photos
    external_id: example
    access_key_id: AKIAIOSFODNN7EXAMPLE
    secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
`

// otherECDSA is a key that no provider publishes.
var otherECDSA, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)

// directory is the identity provider with the given issuer, as an [http.RoundTripper]. It answers
// requests for other documents than the issuer's discovery document with its keys.
type directory struct{ issuer string }

func (d directory) RoundTrip(r *http.Request) (*http.Response, error) {
	const discovery = "/.well-known/openid-configuration"
	var document any = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{KeyID: "rsa", Key: testRSA.Public(), Use: "sig"},
		{KeyID: "ec", Key: testECDSA.Public(), Use: "sig"},
	}}
	if strings.HasSuffix(r.URL.Path, discovery) {
		if got, want := r.URL.String(), strings.TrimSuffix(d.issuer, "/")+discovery; got != want {
			return nil, fmt.Errorf("request for %s, want %s", got, want)
		}
		document = map[string]string{"issuer": d.issuer, "jwks_uri": "https://keys.example.com/"}
	}
	text, err := json.Marshal(document)
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{},
		Body:       io.NopCloser(strings.NewReader(string(text))),
		Request:    r,
	}, err
}

// TestProviders checks each case of testdata/providers with the configuration of each recipe that
// the file names.
func TestProviders(t *testing.T) {
	for name, f := range readProviders(t) {
		for _, page := range f.Pages {
			c, err := config.Parse(page, []byte(recipe(t, page)+integrationText),
				func(string) (string, bool) { return "", false })
			if err != nil {
				t.Errorf("%s does not load: %v", page, err)
				continue
			}
			issuer, _ := f.Claims["iss"].(string)
			for _, pc := range f.Cases {
				g := newGate(t, &c.Viewers, directory{issuer})
				now := time.Now()
				v, err := g.Identify(NewRequest(providerRequest(t, f, &pc, now)), now)
				checkProviderCase(t, name+", "+page+", "+pc.Name, f, &pc, &v, err)
			}
		}
	}
}

// checkProviderCase checks the result of [Gate.Identify] for a case.
func checkProviderCase(
	t *testing.T, name string, f *providerFile, c *providerCase, v *Viewer, err error,
) {
	t.Helper()
	if c.Reason != "" {
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("%s: Identify returned %q, error %v, want a refusal for %s",
				name, v.ID, err, c.Reason)
		} else if string(refusal.Reason) != c.Reason {
			t.Errorf("%s: Identify refused for %s, want %s", name, refusal.Reason, c.Reason)
		}
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: the error %v does not wrap ErrUnknown", name, err)
		}
		return
	}
	if err != nil || v.ID != c.ID {
		t.Errorf("%s: Identify returned %q, error %v, want %q", name, v.ID, err, c.ID)
		return
	}
	all := []string{"suspended"}
	for _, other := range f.Cases {
		all = append(all, other.Groups...)
	}
	for _, group := range all {
		in := v.in(map[string]struct{}{group: {}})
		if want := slices.Contains(c.Groups, group); in != want {
			t.Errorf("%s: in group %q = %v, want %v", name, group, in, want)
		}
	}
}

// providerRequest returns a request with the credential of a case.
func providerRequest(
	t *testing.T, f *providerFile, c *providerCase, now time.Time,
) *http.Request {
	t.Helper()
	arrives := f.Arrives
	if c.Arrives != "" {
		arrives = c.Arrives
	}
	where, name, _ := strings.Cut(arrives, " ")
	r := request("192.0.2.1:1")
	if where == "forwarded" {
		r = request(name + ":1")
		fields := maps.Clone(f.Fields)
		maps.Copy(fields, c.Fields)
		for field, values := range fields {
			for _, value := range values {
				r.Header.Add(field, value)
			}
		}
		return r
	}
	token := c.Token
	if token == "" {
		token = providerToken(t, f, c, now)
	}
	switch {
	case len(c.Parts) > 0:
		size := (len(token) + len(c.Parts) - 1) / len(c.Parts)
		for n, part := range c.Parts {
			text := token[n*size : min((n+1)*size, len(token))]
			r.Header.Add("Cookie", part+"="+text)
		}
	case where == "cookie":
		r.Header.Set("Cookie", name+"="+token)
	case where == "header":
		r.Header.Set(name, token)
	default:
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// providerToken returns a case's token.
func providerToken(t *testing.T, f *providerFile, c *providerCase, now time.Time) string {
	t.Helper()
	header := map[string]any{"kid": "rsa"}
	maps.Copy(header, f.Header)
	var key, other crypto.Signer = testRSA, otherRSA
	if f.Header["alg"] == "ES256" {
		header["kid"], key, other = "ec", testECDSA, otherECDSA
	}
	maps.Copy(header, c.Header)
	if c.Key == "other" {
		key = other
	}
	return sign(t, header, patched(t, f.Claims, c.Claims, now), key)
}
