package viewer

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCookieToken(t *testing.T) {
	for _, c := range []struct {
		headers []string
		want    string
		reason  Reason
	}{
		{nil, "", ""},
		{[]string{"session=abc"}, "abc", ""},
		{[]string{"a=b; session=abc; c=d"}, "abc", ""},
		{[]string{"a=b;session=abc"}, "abc", ""},
		{[]string{`session="abc"`}, "abc", ""},
		{[]string{"session=a=b=="}, "a=b==", ""},
		{[]string{"a=b", "session=abc"}, "abc", ""},
		{[]string{"xsession=no; session2=no; session =no; Session=no"}, "", ""},
		{[]string{"session=abc; session=abc"}, "abc", ""},
		{[]string{"session=abc; session=xyz"}, "", ReasonDuplicate},
		{[]string{"session=abc", "session=xyz"}, "", ReasonDuplicate},
		{[]string{"session"}, "", ""},
		{[]string{";;; =; session=;"}, "", ""},

		{[]string{"session.0=a; session.1=b"}, "ab", ""},
		{[]string{"session_1=b; session_0=a"}, "ab", ""},
		{[]string{"session.1=b", "session.0=a", "session.2=c"}, "abc", ""},
		{[]string{chunks("session.", 12)}, "0;1;2;3;4;5;6;7;8;9;10;11;", ""},
		{[]string{"session=abc; session.0=x"}, "abc", ""},
		{[]string{"session=; session.0=x"}, "x", ""},
		{[]string{"session.0=a; session.0=a"}, "a", ""},
		{[]string{"session.0=a; session.1="}, "a", ""},
		{[]string{"session.0=a; session.2=c"}, "", ReasonCookieChunks},
		{[]string{"session.1=b"}, "", ReasonCookieChunks},
		{[]string{"session.0=a; session.0=b"}, "", ReasonCookieChunks},
		{[]string{"session.0=a; session_1=b"}, "", ReasonCookieChunks},
		{[]string{"session.0=a; session_0=a"}, "", ReasonCookieChunks},
		{[]string{"session.00=a; session.01=b; session.x=c; session.=d; session.-1=e"}, "", ""},
		{[]string{"session.100=a; session.0=b"}, "b", ""},
		{
			[]string{"session.0=" + strings.Repeat("a", maxToken) + "; session.1=b"},
			"", ReasonTooLarge,
		},
	} {
		got, refused := cookieToken(c.headers, "session")
		got = strings.ReplaceAll(got, ",", ";")
		reason := Reason("")
		if refused != nil {
			reason = refused.Reason
		}
		if got != c.want || reason != c.reason {
			t.Errorf("cookieToken(%.60q) = %.60q, refused for %q, want %q, %q", c.headers, got, reason,
				c.want, c.reason)
		}
	}
}

// chunks returns the first n chunks of a cookie. Each is its number and a comma.
func chunks(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s%d=%d,; ", prefix, i, i)
	}
	return b.String()
}

// Cookie headers as large as net/http accepts take a bounded amount of memory, whatever they hold.
func TestCookiesOf64Kilobytes(t *testing.T) {
	c := jwtViewers()
	c.Anonymous = true
	g := newGate(t, c, newProvider())
	for name, cookie := range map[string]string{
		"many cookies": "a=b; ",
		"many chunks":  "session.7=x; ",
		"chunk names":  "session.; ",
		"separators":   ";",
		"equals signs": "=",
		"a large one":  "session=" + strings.Repeat("x", 60_000) + "; ",
		"dots":         "session=" + strings.Repeat(".", 60_000) + "; ",
	} {
		header := strings.Repeat(cookie, 64<<10/len(cookie))
		r := NewRequest(request("192.0.2.1:1", "Cookie", header))
		now := time.Now()
		if n := testing.AllocsPerRun(10, func() {
			if v, err := g.Identify(r, now); err != nil || v.ID != "" {
				t.Fatalf("%s: Identify = %q, %v, want an anonymous viewer", name, v.ID, err)
			}
		}); n > 4 && !raceEnabled {
			t.Errorf("%s: Identify allocates %v times, want at most 4", name, n)
		}
	}
}
