package viewer

import (
	"errors"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

var now = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// forwarded returns a configuration that believes the headers of reverse proxies.
func forwarded() *config.Viewers {
	return &config.Viewers{Forwarded: &config.Forwarded{
		GroupsSeparator: ",",
		UserHeader:      userHeader,
		GroupsHeader:    groupsHeader,
		Proxies:         prefixes("10.0.0.0/8", "fd00::/64"),
	}}
}

func TestForwarded(t *testing.T) {
	g := newGate(t, forwarded(), nil)
	const user, groups, xff = userHeader, groupsHeader, "X-Forwarded-For"
	for _, c := range []struct {
		name, remote string
		header       []string
		want         string // "" means ErrUnknown
	}{
		{"from the proxy", "10.1.2.3:4", []string{user, "ann@example.com"}, "ann@example.com"},
		{"over IPv6", "[fd00::7]:4", []string{user, "ann"}, "ann"},
		{"over IPv4-mapped IPv6", "[::ffff:10.0.0.1]:4", []string{user, "ann"}, "ann"},
		{"without a user", "10.1.2.3:4", nil, ""},
		{"from another address", "192.0.2.1:4", []string{user, "ann"}, ""},
		{"from an address next to the block", "11.0.0.0:4", []string{user, "ann"}, ""},
		{
			"from another address, with the proxy in X-Forwarded-For",
			"192.0.2.1:4",
			[]string{user, "ann", xff, "10.1.2.3"},
			"",
		},
		{
			"from another address, with the proxy in several headers",
			"192.0.2.1:4",
			[]string{
				user, "ann",
				xff, "10.1.2.3, 10.1.2.4",
				xff, "10.9.9.9",
				"X-Real-Ip", "10.1.2.3",
				"Forwarded", "for=10.1.2.3",
			},
			"",
		},
		{"from a socket without an address", "@", []string{user, "ann"}, ""},
		{"twice", "10.1.2.3:4", []string{user, "ann", user, "bob"}, ""},
		{"empty", "10.1.2.3:4", []string{user, ""}, ""},
		{"with a control character", "10.1.2.3:4", []string{user, "ann\x00"}, ""},
		{"with a replacement character", "10.1.2.3:4", []string{user, "ann\ufffd"}, ""},
		{"not UTF-8", "10.1.2.3:4", []string{user, "ann\xff"}, ""},
		{"too long", "10.1.2.3:4", []string{user, strings.Repeat("a", 257)}, ""},
		{"in another header", "10.1.2.3:4", []string{"X-Auth-Request-User", "ann"}, ""},
	} {
		v, err := g.Identify(NewRequest(request(c.remote, append(c.header, groups, "-")...)), now)
		if v.ID != c.want || (c.want == "") != errors.Is(err, ErrUnknown) ||
			c.want != "" && err != nil {
			t.Errorf("%s: Identify = %q, %v, want %q", c.name, v.ID, err, c.want)
		}
	}
	v, err := g.Identify(NewRequest(request("10.0.0.1:1", user, "ann", groups, "lab, staff,")), now)
	if err != nil {
		t.Errorf("two groups: Identify = %v, want nil", err)
	}
	for group, want := range map[string]bool{
		"staff": true, "lab": true, "": false, "sta": false, "lab, staff": false,
	} {
		if got := v.in(setOf([]string{group})); got != want {
			t.Errorf("two groups: in(%q) = %v, want %v", group, got, want)
		}
	}
	twice := request("10.0.0.1:1", user, "ann", groups, "lab", groups, "admin")
	if v, err := g.Identify(NewRequest(twice), now); !errors.Is(err, ErrUnknown) {
		t.Errorf("two groups headers: Identify = %+v, %v, want %v", v, err, ErrUnknown)
	}
	withoutGroups := forwarded()
	withoutGroups.Forwarded.GroupsHeader = ""
	r := request("10.0.0.1:1", user, "ann", groups, "admin", "", "admin")
	v, err = newGate(t, withoutGroups, nil).Identify(NewRequest(r), now)
	if err != nil || v.in(setOf([]string{"admin"})) {
		t.Errorf("groups header that is not configured: Identify = %+v, %v, want no groups", v, err)
	}
}

func TestAnonymous(t *testing.T) {
	g := newGate(t, &config.Viewers{Anonymous: true}, nil)
	r := request("192.0.2.1:4", "Authorization", "Basic YTpi", userHeader, "ann")
	v, err := g.Identify(NewRequest(r), now)
	if err != nil || v.ID != "" {
		t.Errorf("Identify = %+v, %v, want an anonymous viewer", v, err)
	}
	if got := g.Allow(&v, object(t, "s3://bucket/key")); !got.Allowed {
		t.Errorf("Allow without rules = %+v, want allowed", got)
	}
}

func TestRules(t *testing.T) {
	c := forwarded()
	c.Anonymous = true
	c.Rules = []config.Rule{
		{Groups: []string{"suspended"}, Locators: []string{"s3://*/*"}, Deny: true},
		{
			Users:    []string{"ann"},
			Locators: []string{"s3://photos/private/ann's.jpg", "s3://team-*/reports/2026*"},
		},
		{Known: true, Locators: []string{
			"s3://photos/users/{user}/*",
			"s3://mail/{user}.mbox",
			"s3://logs/by-{user}-of-{user}/x",
		}},
		{Anonymous: true, Known: true, Locators: []string{"s3://photos/public/*"}},
		{Groups: []string{"lab"}, Locators: []string{"s3://scans/*"}},
	}
	g := newGate(t, c, nil)
	for _, test := range []struct {
		viewer  Viewer
		locator string
		rule    int // the rule that decides; 0 if none
		allowed bool
	}{
		{As("ann"), "s3://photos/private/ann's.jpg", 2, true},
		{As("ann"), "s3://photos/private/ann's.jpg.bak", 0, false},
		{As("ann"), "s3://photos/private/", 0, false},
		{As("Ann"), "s3://photos/private/ann's.jpg", 0, false},
		{As("bob"), "s3://photos/private/ann's.jpg", 0, false},
		{Viewer{}, "s3://photos/private/ann's.jpg", 0, false},
		{As("ann"), "s3://team-a/reports/2026", 2, true},
		{As("ann"), "s3://team-a/reports/2026-05/x", 2, true},
		{As("ann"), "s3://team-a/reports/2025", 0, false},
		{As("ann"), "s3://steam-a/reports/2026", 0, false},
		{As("bob"), "s3://photos/users/bob/x.jpg", 3, true},
		{As("bob"), "s3://photos/users/bob/", 3, true},
		{As("bob"), "s3://photos/users/bob", 0, false},
		{As("bob"), "s3://photos/users/bobby/x.jpg", 0, false},
		{As("bob"), "s3://photos/users/ann/x.jpg", 0, false},
		{As("bob"), "s3://photos/users/BOB/x.jpg", 0, false},
		{Viewer{}, "s3://photos/users//x.jpg", 0, false},
		{As("bob/private"), "s3://photos/users/bob/private/x.jpg", 0, false},
		{As("*"), "s3://photos/users/ann/x.jpg", 0, false},
		{As("{user}"), "s3://photos/users/ann/x.jpg", 0, false},
		{As("{user}"), "s3://photos/users/{user}/x.jpg", 3, true},
		{As("bob"), "s3://mail/bob.mbox", 3, true},
		{As("bob"), "s3://mail/bob.mbox/x", 0, false},
		{As("bob"), "s3://mail/xbob.mbox", 0, false},
		{As("bob"), "s3://logs/by-bob-of-bob/x", 3, true},
		{As("bob"), "s3://logs/by-bob-of-ann/x", 0, false},
		{As("ü"), "s3://photos/users/ü/x", 3, true},
		{As("u\u0308"), "s3://photos/users/ü/x", 0, false}, // looks the same, but has other bytes
		{Viewer{}, "s3://photos/public/x", 4, true},
		{As("bob"), "s3://photos/public/x", 4, true},
		{Viewer{}, "s3://photos/publicity/x", 0, false},
		{As("eve", "lab"), "s3://scans/x", 5, true},
		{As("eve", "laboratory"), "s3://scans/x", 0, false},
		{As("eve", "lab", "suspended"), "s3://scans/x", 1, false},
		{As("ann", "suspended"), "s3://photos/private/ann's.jpg", 1, false},
		{Viewer{ID: "eve", groupList: "staff, lab", separator: ','}, "s3://scans/x", 5, true},
		{Viewer{link: true}, "s3://scans/x", 0, true},
	} {
		got := g.Allow(&test.viewer, object(t, test.locator))
		if got.Allowed != test.allowed || got.Rule != test.rule {
			t.Errorf("Allow(%q %q, %s) = %+v, want %v by rule %d", test.viewer.ID,
				test.viewer.groups, test.locator, got, test.allowed, test.rule)
		}
	}
}

// A viewer may make a link to a folder if the viewer may read everything in it.
func TestAllowTarget(t *testing.T) {
	c := forwarded()
	c.Rules = []config.Rule{
		denied("s3://photos/a/secret/*", "s3://photos/users/{user}/diary"),
		allowed("s3://photos/a/*", "s3://photos/users/{user}/*", "s3://photos/one"),
	}
	g := newGate(t, c, nil)
	ann := As("ann")
	for text, want := range map[string]bool{
		"s3://photos/a/b/*":            true,
		"s3://photos/a/*":              false,
		"s3://photos/a/secret/*":       false,
		"s3://photos/a/secret/x/*":     false,
		"s3://photos/a/secrets/*":      true,
		"s3://photos/*":                false,
		"s3://photos/users/ann/*":      false,
		"s3://photos/users/ann/trip/*": true,
		"s3://photos/users/bob/*":      false,
		"s3://photos/one":              true,
		"s3://photos/one/*":            false,
		"s3://photos/a/secret/x":       false,
		"s3://other/*":                 false,
	} {
		target, err := ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.AllowTarget(&ann, target); got != want {
			t.Errorf("AllowTarget(%s) = %v, want %v", text, got, want)
		}
	}
}

func TestRateLimit(t *testing.T) {
	c := forwarded()
	c.Anonymous, c.RateLimit = true, &config.RateLimit{PerSecond: 10, Burst: 20}
	g := newGate(t, c, nil)
	at := now
	left := func(v Viewer, remote string, header ...string) (n int) {
		t.Helper()
		for ; n < 100; n++ {
			err := g.Limit(&v, NewRequest(request(remote, header...)), 1, at)
			var exceeded *LimitError
			if errors.As(err, &exceeded) {
				if wait := exceeded.RetryAfter; wait <= 0 || wait > 100*time.Millisecond {
					t.Errorf("RetryAfter = %v at ten requests a second, want at most 100ms", wait)
				}
				return n
			}
		}
		return n
	}
	if n := left(As("ann"), "192.0.2.1:1"); n != 20 {
		t.Errorf("ann: %d requests allowed, want 20", n)
	}
	if n := left(As("ann"), "192.0.2.99:1"); n != 0 {
		t.Errorf("ann at another address: %d more requests allowed, want 0", n)
	}
	if n := left(As("bob"), "192.0.2.1:1"); n != 20 {
		t.Errorf("bob at ann's address: %d requests allowed, want 20", n)
	}
	if n := left(Viewer{}, "192.0.2.1:1"); n != 20 {
		t.Errorf("anonymous: %d requests allowed, want 20", n)
	}
	if n := left(Viewer{}, "192.0.2.1:2", "X-Forwarded-For", "1.2.3.4"); n != 0 {
		t.Errorf("with a forged X-Forwarded-For: %d more requests allowed, want 0", n)
	}
	at = at.Add(time.Second)
	if n := left(As("ann"), "192.0.2.1:1"); n != 10 {
		t.Errorf("ann a second later: %d requests allowed, want 10", n)
	}
}

func TestVaryAndChallenge(t *testing.T) {
	jwt := config.JWT{Issuer: "https://id.example.com", Audience: []string{"a"}}
	withCookie := jwt
	withCookie.Cookie = "session"
	withHeader := jwt
	withHeader.Header = "Cf-Access-Jwt-Assertion"
	both := forwarded()
	both.JWT = []config.JWT{withCookie}
	alone := forwarded()
	alone.Forwarded.GroupsHeader = ""
	for name, c := range map[string]struct {
		viewers         *config.Viewers
		vary, challenge string
	}{
		"anonymous": {&config.Viewers{Anonymous: true}, "", ""},
		"forwarded": {
			forwarded(),
			"Authorization|Cookie|X-Auth-Request-Email|X-Auth-Request-Groups",
			"",
		},
		"forwarded without groups": {alone, "Authorization|Cookie|X-Auth-Request-Email", ""},
		"forwarded, jwt in a cookie": {
			both,
			"Authorization|Cookie|X-Auth-Request-Email|X-Auth-Request-Groups",
			"Bearer",
		},
		"jwt": {&config.Viewers{JWT: []config.JWT{jwt}}, "Authorization", "Bearer"},
		"jwt in a cookie": {
			&config.Viewers{JWT: []config.JWT{withCookie}},
			"Authorization|Cookie",
			"Bearer",
		},
		"jwt in a header": {
			&config.Viewers{JWT: []config.JWT{withHeader, withCookie}},
			"Authorization|Cookie|Cf-Access-Jwt-Assertion",
			"Bearer",
		},
	} {
		g := newGate(t, c.viewers, nil)
		if got := strings.Join(g.Vary(), "|"); got != c.vary {
			t.Errorf("%s: Vary() = %s, want %s", name, got, c.vary)
		}
		if got := strings.Join(g.Challenge(nil), "|"); got != c.challenge {
			t.Errorf("%s: Challenge() = %s, want %s", name, got, c.challenge)
		}
	}
}

func TestAdmissionDoesNotAllocate(t *testing.T) {
	c := forwarded()
	c.RateLimit = &config.RateLimit{PerSecond: 1 << 30, Burst: 1 << 30}
	c.Rules = []config.Rule{
		{Groups: []string{"suspended"}, Locators: []string{"s3://*/*"}, Deny: true},
		{Known: true, Locators: []string{"s3://team-*/x/*", "s3://photos/users/{user}/*"}},
	}
	g := newGate(t, c, nil)
	r := NewRequest(request("10.1.2.3:4",
		userHeader, "ann@example.com", groupsHeader, "a, b, c"))
	l := object(t, "s3://photos/users/ann@example.com/folder/photo.jpg")
	admit := func() {
		v, err := g.Identify(r, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Allow(&v, l); !got.Allowed {
			t.Fatalf("Allow = %+v, want allowed", got)
		}
		if err := g.Limit(&v, r, 1, now); err != nil {
			t.Fatal(err)
		}
	}
	admit()
	if n := testing.AllocsPerRun(1000, admit); n > 0 && !raceEnabled {
		t.Errorf("Identify, Allow and Limit allocate %v times, want 0", n)
	}
}

// FuzzRules checks that {user} matches exactly the viewer's own folder.
func FuzzRules(f *testing.F) {
	f.Add("ann", "users/ann/x")
	f.Add("a/b", "users/a/b/x")
	f.Add(`\a`, `users/\a/x`)
	f.Add("", "users//x")
	rules := rulesOf(allowed("s3://bucket/users/{user}/*"))
	f.Fuzz(func(t *testing.T, user, key string) {
		if locator.CheckKey(key) != nil {
			return
		}
		v := As(user)
		got := rules.Decide(&v, locator.Locator{Bucket: "bucket", Key: key}).Allowed
		segments := strings.Split(key, "/")
		want := user != "" && !strings.Contains(user, `\`) &&
			len(segments) > 2 && segments[0] == "users" && segments[1] == user
		if got != want {
			t.Errorf("Decide(%q, %q) = %v, want %v", user, key, got, want)
		}
	})
}
