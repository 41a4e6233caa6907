package viewer

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

const linkSecret = "canary-of-a-link-with-32-bytes!!"

// refusalGate returns a gate that accepts all kinds of credentials, and a function that returns the
// refusals it has reported since the last call.
func refusalGate(
	t *testing.T, change func(c *config.Viewers),
) (g *Gate, reported func() []*Refusal) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "htpasswd")
	text := "ann:" + bcryptOf(t, "right") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := suspended(jwtViewers())
	c.JWT[0].RequiredClaims = map[string]string{"tenant": "one"}
	c.JWT[0].Header = "X-Token"
	c.Forwarded = forwarded().Forwarded
	c.Basic = &config.Basic{HtpasswdFile: file}
	c.Links = &config.Links{
		Keys:        []config.LinkKey{{ID: "k1", Secret: linkSecret}},
		MaxLifetime: time.Hour,
	}
	if change != nil {
		change(c)
	}
	var all []*Refusal
	g, err := New(c, Options{
		Clock:     time.Now,
		Log:       slog.New(slog.DiscardHandler),
		Transport: newProvider(),
		Refused:   func(_ *Request, r *Refusal) { all = append(all, r) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g, func() []*Refusal {
		last := all
		all = nil
		return last
	}
}

// refusalCase is a request with a credential that is refused, or a link's query.
type refusalCase struct {
	name    string
	request func(t *testing.T) *http.Request
	link    func(t *testing.T, l *Links) string
	inPath  bool // the link is in the path, too
	method  Method
	reason  Reason
}

func withClaims(changes map[string]any) func(t *testing.T) *http.Request {
	return func(t *testing.T) *http.Request {
		changes["tenant"] = tenant(changes)
		return withToken(sign(t, rs256(nil), claims(changes), testRSA))
	}
}

// tenant returns the required claim, unless changes has it.
func tenant(changes map[string]any) any {
	if value, ok := changes["tenant"]; ok {
		return value
	}
	return "one"
}

// from returns a function that returns a request with header lines.
func from(remote string, header ...string) func(t *testing.T) *http.Request {
	return func(*testing.T) *http.Request { return request(remote, header...) }
}

func linkTo(target string, lives time.Duration, change func(query string) string) func(
	t *testing.T, l *Links) string {
	return func(t *testing.T, l *Links) string { return change(query(t, l, target, lives)) }
}

func same(query string) string { return query }

type claim = map[string]any

var refusalCases = []refusalCase{
	{name: "expired", request: withClaims(claim{"exp": 1}), method: MethodJWT, reason: ReasonExpired},
	{
		name: "not yet valid", request: withClaims(claim{"nbf": 1 << 40}),
		method: MethodJWT, reason: ReasonNotYetValid,
	},
	{
		name: "another audience", request: withClaims(claim{"aud": "mail"}),
		method: MethodJWT, reason: ReasonAudience,
	},
	{
		name: "another issuer", request: withClaims(claim{"iss": "https://other.example.com"}),
		method: MethodJWT, reason: ReasonIssuer,
	},
	{
		name: "another algorithm", method: MethodJWT, reason: ReasonAlgorithm,
		request: func(t *testing.T) *http.Request {
			return withToken(sign(t, map[string]any{"alg": "none"}, claims(nil), nil))
		},
	},
	{
		name: "an unknown key", method: MethodJWT, reason: ReasonKeyUnknown,
		request: func(t *testing.T) *http.Request {
			return withToken(sign(t, rs256(claim{"kid": "unknown"}), claims(nil), testRSA))
		},
	},
	{
		name: "another key", method: MethodJWT, reason: ReasonSignature,
		request: func(t *testing.T) *http.Request {
			return withToken(sign(t, rs256(nil), claims(nil), otherRSA))
		},
	},
	{
		name: "no user", request: withClaims(claim{"email": nil}),
		method: MethodJWT, reason: ReasonClaimMissing,
	},
	{
		name: "another tenant", request: withClaims(claim{"tenant": "two"}),
		method: MethodJWT, reason: ReasonClaimWrong,
	},
	{
		name: "no groups", request: withClaims(claim{"groups": nil}),
		method: MethodJWT, reason: ReasonGroups,
	},
	{
		name: "a logout token", method: MethodJWT, reason: ReasonTokenType,
		request: func(t *testing.T) *http.Request {
			return withToken(sign(t, rs256(claim{"typ": "logout+jwt"}), claims(nil), testRSA))
		},
	},
	{
		name: "not a token", request: from("192.0.2.1:1", "X-Token", "canary"),
		method: MethodJWT, reason: ReasonMalformed,
	},
	{
		name: "an encrypted cookie", request: from("192.0.2.1:1", "Cookie", "session=a.b.c.d.canary"),
		method: MethodJWT, reason: ReasonOpaqueCookie,
	},
	{
		name:    "a cookie without its second part",
		request: from("192.0.2.1:1", "Cookie", "session.0=a; session.2=canary"),
		method:  MethodJWT, reason: ReasonCookieChunks,
	},
	{
		name:    "a large token",
		request: from("192.0.2.1:1", "Authorization", "Bearer "+strings.Repeat("canary", 4000)),
		method:  MethodJWT, reason: ReasonTooLarge,
	},
	{
		name: "two tokens", request: from("192.0.2.1:1", "X-Token", "a", "X-Token", "canary"),
		method: MethodJWT, reason: ReasonDuplicate,
	},
	{
		name: "two cookies", request: from("192.0.2.1:1", "Cookie", "session=a; session=canary"),
		method: MethodJWT, reason: ReasonDuplicate,
	},

	{
		name: "another password", request: from("192.0.2.1:1", "Authorization", basic("ann", "canary")),
		method: MethodBasic, reason: ReasonPassword,
	},
	{
		name: "not base64", request: from("192.0.2.1:1", "Authorization", "Basic canary!"),
		method: MethodBasic, reason: ReasonMalformed,
	},
	{
		name:    "a long password",
		request: from("192.0.2.1:1", "Authorization", basic("ann", strings.Repeat("canary", 20))),
		method:  MethodBasic, reason: ReasonTooLarge,
	},
	{
		name: "two passwords", method: MethodBasic, reason: ReasonDuplicate,
		request: from("192.0.2.1:1", "Authorization", basic("ann", "right"), "Authorization", "canary"),
	},

	{
		name: "a header from another peer", request: from("192.0.2.1:1", userHeader, "canary"),
		method: MethodForwarded, reason: ReasonUntrustedPeer,
	},
	{
		name: "two headers", request: from("10.1.2.3:1", userHeader, "ann", userHeader, "canary"),
		method: MethodForwarded, reason: ReasonDuplicate,
	},
	{
		name: "a header that is no name", request: from("10.1.2.3:1", userHeader, "canary\xff"),
		method: MethodForwarded, reason: ReasonMalformed,
	},
	{
		name: "no groups header", request: from("10.1.2.3:1", userHeader, "canary"),
		method: MethodForwarded, reason: ReasonGroups,
	},

	{
		name: "an old link", method: MethodLink, reason: ReasonLinkExpired,
		link: linkTo("s3://bucket/k", time.Hour, same),
	},
	{
		name: "a link to another object", method: MethodLink, reason: ReasonLinkSignature,
		link: linkTo("s3://bucket/other", time.Minute, same),
	},
	{
		name: "a link to another folder", method: MethodLink, reason: ReasonLinkTarget,
		link: linkTo("s3://bucket/folder/*", time.Minute, same),
	},
	{
		name: "a link with a version", method: MethodLink, reason: ReasonLinkTarget,
		link: linkTo("s3://bucket/k", time.Minute, func(q string) string { return q + "&versionId=1" }),
	},
	{
		name: "a link by another key", method: MethodLink, reason: ReasonKeyUnknown,
		link: linkTo("s3://bucket/k", time.Minute, func(q string) string {
			return strings.Replace(q, "kid=k1", "kid=k2", 1)
		}),
	},
	{
		name: "half a link", method: MethodLink, reason: ReasonMalformed,
		link: linkTo("s3://bucket/k", time.Minute, func(q string) string {
			return q[strings.Index(q, "&")+1:]
		}),
	},
	{
		name: "a long link", method: MethodLink, reason: ReasonTooLarge,
		link: linkTo("s3://bucket/k", time.Minute, func(q string) string {
			return q + "&x=" + strings.Repeat("x", maxLinkQuery)
		}),
	},
	{
		name: "a link in the path and in the query", method: MethodLink, reason: ReasonDuplicate,
		link: linkTo("s3://bucket/k", time.Minute, same), inPath: true,
	},
}

// Each refusal is reported once, with its reason, and has a cause and a remedy. Neither contains
// the credential. docs/sign-in explains each reason.
func TestRefusals(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "sign-in", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	g, reported := refusalGate(t, nil)
	tried := map[Method]map[Reason]bool{}
	for _, c := range refusalCases {
		now := time.Now()
		var err error
		if c.link != nil {
			query := c.link(t, g.links)
			if c.reason == ReasonLinkExpired {
				now = now.Add(2 * time.Hour)
			}
			token := ""
			if c.inPath {
				token = Token(query)
			}
			_, err = g.FromLink(NewRequest(request("192.0.2.1:1")), token, query,
				locator.Locator{Bucket: "bucket", Key: "k"}, now)
		} else {
			_, err = g.Identify(NewRequest(c.request(t)), now)
		}
		r, ok := errors.AsType[*Refusal](err)
		if !ok || r.Method != c.method || r.Reason != c.reason || !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: got %v, want a refusal: %s: %s", c.name, err, c.method, c.reason)
			continue
		}
		if all := reported(); len(all) != 1 || *all[0] != *r {
			t.Errorf("%s: %d refusals were reported, want the one that was returned", c.name, len(all))
		}
		text := r.Error() + r.Cause() + r.Remedy()
		if r.Cause() == "" || r.Remedy() == "" || strings.Contains(text, "canary") {
			t.Errorf("%s: cause %q and remedy %q, want both, without the credential", c.name, r.Cause(),
				r.Remedy())
		}
		if !strings.Contains(string(page), "`"+string(r.Reason)+"`") {
			t.Errorf("%s: docs/sign-in does not explain the reason %s", c.name, r.Reason)
		}
		if tried[r.Method] == nil {
			tried[r.Method] = map[Reason]bool{}
		}
		tried[r.Method][r.Reason] = true
	}
	for method, reasons := range explanations {
		for reason := range reasons {
			if !tried[method][reason] {
				t.Errorf("no case has the reason %s: %s", method, reason)
			}
		}
	}
}

// A bad credential that is ignored for an anonymous client is reported, too. One beside a valid
// credential is not.
func TestIgnoredRefusals(t *testing.T) {
	anonymous := func(c *config.Viewers) { c.Anonymous = true }
	for _, c := range []struct {
		name    string
		request *http.Request
		id      string
		want    Reason
	}{
		{"no credential", request("192.0.2.1:1"), "", ""},
		{"another cookie", request("192.0.2.1:1", "Cookie", "a=b"), "", ""},
		{"an empty cookie", request("192.0.2.1:1", "Cookie", "session="), "", ""},
		{"a bad cookie", request("192.0.2.1:1", "Cookie", "session=x"), "", ReasonOpaqueCookie},
		{"an untrusted header", request("192.0.2.1:1", userHeader, "x"), "", ReasonUntrustedPeer},
		{"no user in the header", request("10.1.2.3:1", userHeader, "-"), "", ""},
		{
			"a bad cookie and an untrusted header",
			request("192.0.2.1:1", userHeader, "x", "Cookie", "session=x"), "", ReasonOpaqueCookie,
		},
		{
			"an untrusted header and a password",
			request("192.0.2.1:1", userHeader, "x", "Authorization", basic("ann", "right")), "ann", "",
		},
		{
			"a bad cookie and a password",
			request("192.0.2.1:1", "Cookie", "session=x", "Authorization", basic("ann", "right")),
			"ann", "",
		},
		{
			"Authorization for another server",
			request("192.0.2.1:1", "Authorization", "Digest x"), "", "",
		},
	} {
		g, reported := refusalGate(t, anonymous)
		v, err := g.Identify(NewRequest(c.request), time.Now())
		if err != nil || v.ID != c.id {
			t.Errorf("%s: Identify = %q, %v, want %q", c.name, v.ID, err, c.id)
		}
		all := reported()
		if c.want == "" && len(all) > 0 || c.want != "" && (len(all) != 1 || all[0].Reason != c.want) {
			t.Errorf("%s: reported %v, want %q", c.name, all, c.want)
		}
		unknown, isRefusal := errors.AsType[*Refusal](v.Unknown())
		if isRefusal != (c.want != "") || isRefusal && unknown.Reason != c.want {
			t.Errorf("%s: Unknown = %v, want %q", c.name, v.Unknown(), c.want)
		}
	}
}

// Without anonymous clients, a header that is not believed takes nothing from the rate limit, and a
// bad token takes one.
func TestIsGuess(t *testing.T) {
	for _, c := range []struct {
		name    string
		request *http.Request
		want    bool
	}{
		{"no credential", request("192.0.2.1:1"), false},
		{"an untrusted header", request("192.0.2.1:1", userHeader, "x"), false},
		{"two cookies", request("192.0.2.1:1", "Cookie", "session=a; session=b"), false},
		{"an opaque cookie", request("192.0.2.1:1", "Cookie", "session=x"), true},
		{"a bad token", withToken("x"), true},
	} {
		g, _ := refusalGate(t, func(c *config.Viewers) {
			c.RateLimit = &config.RateLimit{PerSecond: 1, Burst: 1}
		})
		now := time.Now()
		_, _ = g.Identify(NewRequest(c.request), now)
		err := g.Limit(&Viewer{}, NewRequest(request("192.0.2.1:1")), 1, now)
		if limited := err != nil; limited != c.want {
			t.Errorf("%s: took a token: %v, want %v", c.name, limited, c.want)
		}
	}
}

// What a refusal has from a credential is short and printable.
func TestStated(t *testing.T) {
	for text, want := range map[string]string{
		"https://id.example.com":       "https://id.example.com",
		"a\x00b\nc\x1b[31md":           "abc[31md",
		"\u202egnp":                    "gnp",
		"\xff\xfe":                     "",
		strings.Repeat("x", 300):       strings.Repeat("x", 200),
		strings.Repeat("ü", 150):       strings.Repeat("ü", 100),
		"x" + strings.Repeat("ü", 150): "x" + strings.Repeat("ü", 99),
	} {
		if got := stated(text); got != want {
			t.Errorf("stated(%.40q) = %q, want %q", text, got, want)
		}
	}
}
