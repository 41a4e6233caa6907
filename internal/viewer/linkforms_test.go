package viewer

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

func TestLinkTokens(t *testing.T) {
	l := newTestLinks(config.LinkKey{ID: "k1", Secret: firstSecret})
	object := locator.Locator{Bucket: "bucket", Key: "folder/x"}
	folder := query(t, l, "s3://bucket/folder/*", time.Hour)
	token := Token(folder)
	other := Token(query(t, l, "s3://bucket/folder/y", time.Hour))
	for what, c := range map[string]struct {
		token, query string
		want         Reason // "" means that the link is valid
	}{
		"unchanged":                {token, "", ""},
		"with parameters":          {token, "download&response-content-type=image/png", ""},
		"no tilde":                 {token[1:], "", ReasonMalformed},
		"two tildes":               {"~" + token, "", ReasonMalformed},
		"padding":                  {token + "=", "", ReasonMalformed},
		"standard base64":          {"~++//", "", ReasonMalformed},
		"an ignored line break":    {token + "\n", "", ReasonMalformed},
		"bits after the last byte": {"~YR", "", ReasonMalformed}, // ~YQ is a
		"cut":                      {Token(folder[:len(folder)-4]), "", ReasonLinkSignature},
		"a link in the query":      {token, folder, ReasonDuplicate},
		"a signature in the query": {token, "sig", ReasonMalformed},
		"an expiry in the query":   {token, "exp=1", ReasonMalformed},
		"a version":                {token, "versionId=x", ReasonLinkTarget},
		"an object's link":         {Token(query(t, l, "s3://bucket/folder/x", time.Hour)), "", ""},
		"another object's link":    {other, "", ReasonLinkSignature},
		"too long":                 {"~" + strings.Repeat("A", 2*maxLinkQuery), "", ReasonTooLarge},
		"too long with the query":  {token, "a=" + strings.Repeat("b", maxLinkQuery), ReasonTooLarge},
		"too many parameters":      {token, strings.Repeat("a&", maxLinkParams), ReasonTooLarge},
	} {
		until, err := l.CheckToken(c.token, c.query, object, now)
		var got Reason
		if refused, ok := err.(*Refusal); ok {
			got = refused.Reason
		}
		if got != c.want || err == nil && !until.Equal(now.Add(time.Hour)) {
			t.Errorf("%s: CheckToken = %v, %v, want the reason %q", what, until, err, c.want)
		}
	}
}

// A query and the token that it is in have the same verdict for every object, and a token has one
// spelling.
func FuzzLinkToken(f *testing.F) {
	l := newTestLinks(config.LinkKey{ID: "k1", Secret: firstSecret})
	folder := query(f, l, "s3://bucket/folder/*", time.Hour)
	f.Add(folder, Token(folder), "folder/x")
	f.Add(query(f, l, "s3://bucket/folder/x", time.Hour), "~", "folder/x")
	f.Add("sig=", Token(folder)+"\n", "folder/x")
	f.Fuzz(func(t *testing.T, query, token, key string) {
		object := locator.Locator{Bucket: "bucket", Key: key}
		_, want := l.Check(query, object, now)
		if _, got := l.CheckToken(Token(query), "", object, now); len(query) <= maxLinkQuery &&
			(got == nil) != (want == nil) {
			t.Errorf("CheckToken(Token(%q)) = %v, want %v as Check", query, got, want)
		}
		if strings.ContainsAny(Token(query), "/.%?#") || len(Token(query)) > 1 && Token(query)[0] != '~' {
			t.Errorf("Token(%q) = %q, want a segment of a path", query, Token(query))
		}
		_, err := l.CheckToken(token, "", object, now)
		if err != nil {
			return
		}
		if !strings.HasPrefix(key, "folder/") {
			t.Errorf("CheckToken(%q, %q) = nil, want an error", token, key)
		}
		if decoded, reason := tokenQuery(token); reason != "" || Token(decoded) != token {
			t.Errorf("tokenQuery(%q) = %q, %q, want the query of this token only", token, decoded, reason)
		}
	})
}

// A link in a cookie gives access to what the same link in the query gives access to.
func FuzzLinkCookie(f *testing.F) {
	l := NewLinks(&config.Links{
		Keys:        []config.LinkKey{{ID: "k1", Secret: firstSecret}},
		MaxLifetime: 24 * time.Hour,
		Cookie:      "s3link",
	})
	folder := query(f, l, "s3://bucket/folder/*", time.Hour)
	f.Add("s3link="+folder, "folder/x")
	f.Add("a=b; s3link="+url.QueryEscape(folder), "folder/x")
	f.Add("s3link=; s3link=\""+folder+"\"; s3link="+folder, "folder/x")
	f.Fuzz(func(t *testing.T, header, key string) {
		object := locator.Locator{Bucket: "bucket", Key: key}
		_, err := l.checkCookie([]string{header}, "", object, now)
		if err == nil && !strings.HasPrefix(key, "folder/") {
			t.Errorf("checkCookie(%q, %q) = nil, want an error", header, key)
		}
	})
}

func TestLinkCookieValue(t *testing.T) {
	for header, want := range map[string]string{
		"":                                "",
		"s3link=x":                        "x",
		"a=b; s3link=x; s3link2=y":        "x",
		`s3link="x"`:                      "x",
		"s3link=x; s3link=x":              "x",
		"s3link=; s3link=x":               "x",
		"s3link=x; s3link=y":              "refused",
		"s3link":                          "",
		"S3link=x":                        "",
		"s3link=exp=1&kid=k&prefix=a%2F&": "exp=1&kid=k&prefix=a%2F&",
		"s3link.0=x":                      "", // parts are for tokens
	} {
		got, refused := linkCookie([]string{header}, "s3link")
		if refused != nil {
			got = "refused"
		}
		if got != want {
			t.Errorf("linkCookie(%q) = %q, want %q", header, got, want)
		}
	}
}

// The cookie of a link ends with the link, and is sent over TLS and for its bucket only.
func TestLinkCookieAttributes(t *testing.T) {
	l := NewLinks(&config.Links{
		Keys:        []config.LinkKey{{ID: "k1", Secret: firstSecret}},
		MaxLifetime: 24 * time.Hour,
		Cookie:      "s3link",
	})
	target, err := ParseTarget("s3://bucket/ü +\"\\/*")
	if err != nil {
		t.Fatal(err)
	}
	until := now.Add(90 * time.Second)
	q, err := l.Query(target, now.Add(500*time.Millisecond), until)
	if err != nil {
		t.Fatal(err)
	}
	got := l.Cookie(target, q, now.Add(500*time.Millisecond), until).String()
	want := "s3link=" + q + "; Path=/s3/bucket/; Max-Age=89; HttpOnly; Secure; SameSite=Lax"
	if got != want {
		t.Errorf("Cookie = %s, want %s", got, want)
	}
}

func TestCheckForm(t *testing.T) {
	without := newTestLinks(config.LinkKey{ID: "k1", Secret: firstSecret})
	with := NewLinks(&config.Links{Cookie: "s3link"})
	for _, c := range []struct {
		links *Links
		form  LinkForm
		want  string // in the error; "" means no error
	}{
		{without, LinkQuery, ""},
		{without, LinkPath, ""},
		{without, LinkCookie, "set viewers.links.cookie"},
		{with, LinkCookie, ""},
		{with, "", "use query, path or cookie"},
		{with, "Path", "use query, path or cookie"},
	} {
		err := c.links.CheckForm(c.form)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("CheckForm(%q) = %v, want %q", c.form, err, c.want)
		}
	}
}
