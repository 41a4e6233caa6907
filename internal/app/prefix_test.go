package app

import (
	"net/url"
	"strings"
	"testing"

	"s3redirect/internal/console"
	"s3redirect/internal/locator"
)

// prefixConfig returns the text of a configuration with integrations for prefixes of the bucket
// films, given as name, prefix and blocked prefixes. Their access keys are AKIA-NAME.
func prefixConfig(integrations ...[3]string) string {
	var b strings.Builder
	b.WriteString("listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\n" +
		"viewers: {anonymous: true}\nlog: {level: warn, format: text}\nintegrations:\n")
	for _, i := range integrations {
		b.WriteString("  - {name: " + i[0] + ", bucket: films, endpoint: \"http://s3.localhost\"" +
			", access_key_id: AKIA-" + i[0] + ", secret_access_key: s")
		if i[1] != "" {
			b.WriteString(", prefix: " + i[1])
		}
		if i[2] != "" {
			b.WriteString(", blocked_prefixes: [" + i[2] + "]")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// wantKey requests a target and compares the access key that signed its URL.
func (a *testApp) wantKey(when, target, want string) {
	a.t.Helper()
	status, location := a.get(target)
	u, err := url.Parse(location)
	if err != nil {
		a.t.Fatal(err)
	}
	key, _, _ := strings.Cut(u.Query().Get("X-Amz-Credential"), "/")
	if status != 302 || key != want {
		a.t.Errorf("%s: GET %s: status %d, signed with %q, want 302, %s", when, target, status, key, want)
	}
}

// A reload that moves a prefix to another integration drops the URLs that the previous one signed.
func TestReloadMovesPrefix(t *testing.T) {
	a := newTestApp(t)
	const target = "/s3/films/tenant-a/x"
	for _, step := range []struct {
		when string
		text string
		want string
	}{
		{"at first", prefixConfig([3]string{"a", "tenant-a/", ""}, [3]string{"b", "tenant-b/", ""}), "AKIA-a"},
		{"swapped", prefixConfig([3]string{"a", "tenant-b/", ""}, [3]string{"b", "tenant-a/", ""}), "AKIA-b"},
		{"swapped back", prefixConfig([3]string{"a", "tenant-a/", ""}, [3]string{"b", "tenant-b/", ""}), "AKIA-a"},
		{"for the whole bucket", prefixConfig([3]string{"a", "", ""}, [3]string{"b", "tenant-b/", ""}), "AKIA-a"},
		{"within the whole bucket", prefixConfig([3]string{"a", "", ""}, [3]string{"b", "tenant-a/", ""}), "AKIA-b"},
		{"without it", prefixConfig([3]string{"a", "", ""}), "AKIA-a"},
	} {
		a.reload(step.text)
		a.wantKey(step.when, target, step.want)
		a.wantKey(step.when+", again", target, step.want)
	}
	a.reload(prefixConfig([3]string{"a", "", "tenant-a/"}))
	a.wantStatus("blocked", target, 403)
	a.reload(prefixConfig([3]string{"b", "tenant-b/", ""}))
	a.wantStatus("under no prefix", target, 404)
}

func TestPurgeByLocatorOfPrefix(t *testing.T) {
	a := newTestApp(t)
	a.reload(prefixConfig([3]string{"a", "tenant-a/", ""}, [3]string{"ab", "tenant-a/b/", ""},
		[3]string{"whole", "", ""}, [3]string{"b", "tenant-b/", ""}))
	for text, want := range map[string]string{
		"s3://films/tenant-a/x":     "a",
		"s3://films/tenant-a/b/x":   "ab",
		"s3://films/x":              "whole",
		"s3://films/x/*":            "whole",
		"s3://films/tenant-a":       "whole",
		"s3://films/tenant-a/b":     "a",
		"s3://films/tenant-a/*":     "a ab",
		"s3://films/tenant-a/b/c/*": "ab",
		"s3://films/*":              "whole a ab b",
		"s3://films//tenant-a/x":    "", // no integration serves it
	} {
		got, err := a.Purge("", text)
		if strings.Join(got.Integrations, " ") != want || (err == nil) != (want != "") {
			t.Errorf("Purge(%q) = %+v, %v, want %s", text, got, err, want)
		}
	}
}

// The console's trial names the integration that serves the key, and why viewers may not read it.
func TestTrialKnowsPrefixes(t *testing.T) {
	a := newTestApp(t)
	a.reload(prefixConfig([3]string{"a", "tenant-a/", "tenant-a/raw/"}, [3]string{"b", "tenant-b/", ""}))
	for key, want := range map[string]struct{ integration, why string }{
		"tenant-a/x":       {"a", "which integration a serves"},
		"tenant-b/x":       {"b", "which integration b serves"},
		"tenant-c/x":       {"", "denied: no integration serves s3://films/tenant-c/x"},
		"/tenant-a/x":      {"", "denied: no integration serves s3://films//tenant-a/x"},
		"tenant-a/raw/x":   {"", "denied by blocked_prefixes of integration a: no viewer may read"},
		"/tenant-a//raw/x": {"", "denied by blocked_prefixes of integration a: no viewer may read"},
	} {
		got := a.Try(locator.Locator{Bucket: "films", Key: key}, console.Asker{})
		if got.Integration != want.integration || got.Allowed != (want.integration != "") ||
			!strings.Contains(got.Why, want.why) || (got.Origin != "") != got.Allowed {
			t.Errorf("%s: got %+v, want integration %q and %q", key, got, want.integration, want.why)
		}
	}
}
