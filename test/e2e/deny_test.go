package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"s3redirect/internal/locator"
)

// slashVariants returns request targets whose keys are in the folder secret of the bucket open, if
// the store merges slashes.
func slashVariants() (targets []string) {
	slashes := []string{"/", "//", "///", "%2F", "%2f%2F", "/%2F", "%2F/", "%5C", "%5c%5C", `\`, `/\`, "%5C/"}
	for _, leading := range append([]string{""}, slashes...) {
		for _, between := range slashes {
			targets = append(targets,
				"/s3/open/"+leading+"secret"+between+"x",
				"/s3/open/"+leading+"secret"+between+"deep"+between+"y",
				"/s3/open/"+leading+"%73ecret"+between)
		}
		targets = append(targets,
			"/s3/open/"+leading+"secret__XLDIR__",
			"/s3/open/"+leading+"secret/deep__XLDIR__")
	}
	return targets
}

// controlVariants returns request targets whose keys are in the folder secret of the bucket open, if
// the store drops control characters.
func controlVariants() (targets []string) {
	for _, c := range []string{"%01", "%09", "%0A", "%0D", "%1B", "%7F", "%C2%85"} {
		targets = append(targets, "/s3/open/"+c+"secret/x", "/s3/open/sec"+c+"ret/x",
			"/s3/open/secret"+c+"/x", "/s3/open/secret"+c)
	}
	return targets
}

// secrets are the objects that no viewer may read, by key.
var secrets = map[string]string{
	"secret/x":      "the secret x",
	"secret/deep/y": "the secret y",
	"secret/":       "the secret folder",
	"secret/deep/":  "the secret folder deep",
}

// public is the key of an object that every viewer may read.
const public = "public/x"

// TestDenyRulesHoldForPathVariants checks that no redirect leads to a denied object, whether the
// store merges slashes or keeps every key. Without the rule, some of the same targets reach one.
func TestDenyRulesHoldForPathVariants(t *testing.T) {
	t.Parallel()
	// reached is the minimum number of slash variants that reach a denied object without the rule.
	// MinIO drops leading slashes. radosgw keeps every key, so only those variants reach an object
	// that decode to its key. versitygw drops and merges slashes, and refuses content for a folder.
	// SeaweedFS also reads backslashes as slashes.
	type variants struct {
		store     func(*testing.T) *store
		reached   int
		noFolders bool
	}
	stores := map[string]variants{
		"minio":     {minio, 60, false},
		"radosgw":   {func(t *testing.T) *store { return &radosgw(t).store }, 6, false},
		"versitygw": {versitygw, 100, true},
	}
	if _, err := find("weed"); err == nil {
		stores["seaweedfs"] = variants{seaweedfs, 100, false}
	}
	for name, c := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.store(t)
			s.createBucket(t, "open")
			for key, text := range secrets {
				if c.noFolders && strings.HasSuffix(key, "/") {
					continue
				}
				s.put(t, "open", key, []byte(text))
			}
			s.put(t, "open", public, []byte("public"))
			const integration = `
integrations:
  - name: keys
    permitted_buckets: ["open*", shut]
` + withKeys
			const viewers = "\nviewers:\n  anonymous: true\n"
			with := startProxy(t, integration+viewers+`
  rules:
    - {anonymous: true, locators: ["s3://open/secret/*"], deny: true}
    - {anonymous: true, locators: ["s3://*/*"]}
`, s.env()...)
			without := startProxy(t, integration+viewers, s.env()...)
			all := slices.Concat(tricks(), slashVariants(), controlVariants())
			if len(all) < 1000 {
				t.Fatalf("there are %d targets, want at least 1000", len(all))
			}
			for _, target := range all {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					if key := with.reaches(t, method, target); key != "" {
						t.Errorf("%s %s reaches the denied %s", method, target, key)
					}
				}
			}
			reached := 0
			for _, target := range slashVariants() {
				if a := with.raw(t, http.MethodGet, target); a.status != http.StatusForbidden {
					t.Errorf("%s: status %d, want 403", target, a.status)
				}
				if without.reaches(t, http.MethodGet, target) != "" {
					reached++
				}
			}
			if reached < c.reached {
				t.Errorf("without the rule, %d slash variants reach a denied object, want at least %d",
					reached, c.reached)
			}
			a := fetch(t, http.MethodGet, with.location(t, http.MethodGet, path("open", public)))
			if got := string(a.body); got != "public" {
				t.Errorf("body of %s = %q, want %q", public, got, "public")
			}
		})
	}
}

// reaches returns the key of the denied object that the redirect of a request leads to, or "".
func (p *proxy) reaches(t *testing.T, method, target string) string {
	t.Helper()
	location := p.raw(t, method, target).header.Get("Location")
	if location == "" {
		return ""
	}
	a := fetch(t, method, location)
	for key, text := range secrets {
		same := string(a.body) == text || method == http.MethodHead && a.length == int64(len(text))
		if a.status == http.StatusOK && same {
			return key
		}
	}
	return ""
}

// TestDenyRulesHoldForPostedKeys checks that POST /presign and POST /link apply the same rules:
// neither gives out a denied object under a variant of its key.
func TestDenyRulesHoldForPostedKeys(t *testing.T) {
	t.Parallel()
	s := minio(t)
	s.createBucket(t, "open")
	const user = "X-User: ann"
	p := startProxy(t, "\nintegrations:\n  - name: keys\n    bucket: open\n"+withKeys+`
viewers:
  forwarded: {user_header: X-User, trusted_proxies: [127.0.0.1]}
  links: {keys: [{id: k1, secret: canary-of-a-link-with-32-bytes!!}]}
  rules:
    - {known: true, locators: ["s3://open/secret/*"], deny: true}
    - {known: true, locators: ["s3://open/*"]}
`, s.env()...)
	keys := []string{public, "secrets//x"}
	for _, target := range slashVariants() {
		key, err := url.PathUnescape(strings.TrimPrefix(target, "/s3/open/"))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	for key, a := range presignAll(t, p, "open", keys, user) {
		want := "viewer_denied"
		if key == public || key == "secrets//x" {
			want = ""
		}
		if a.Error != want || (a.URL == "") == (want == "") {
			t.Errorf("POST /presign %q: error %q, URL %q, want error %q", key, a.Error, a.URL, want)
		}
	}
	for n, key := range keys {
		want := http.StatusForbidden
		if n < 2 {
			want = http.StatusOK
		}
		for _, text := range []string{key, strings.TrimSuffix(key, "/") + "/*"} {
			if text == public+"/*" || strings.HasSuffix(text, "__XLDIR__/*") {
				continue // names a folder without secret objects
			}
			if got := p.link(t, locator.Locator{Bucket: "open", Key: text}, user); got != want {
				t.Errorf("POST /link %q: status %d, want %d", text, got, want)
			}
		}
	}
	for _, text := range []string{"*", "/*", "//*", `\/*`} {
		if got := p.link(t, locator.Locator{Bucket: "open", Key: text}, user); got != http.StatusForbidden {
			t.Errorf("POST /link %q: status %d, want %d", text, got, http.StatusForbidden)
		}
	}
}

// link sends POST /link with the header lines and returns the status.
func (p *proxy) link(t *testing.T, l locator.Locator, header ...string) int {
	t.Helper()
	body, err := json.Marshal(map[string]string{"locator": l.String()})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url("/link"), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range append(header, "Content-Type: application/json") {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	a, err := readAnswer(client.Do(req))
	if err != nil {
		t.Fatal(err)
	}
	return a.status
}
