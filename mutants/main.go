// Command mutants breaks the lines on which safety rests, one at a time, and wants a test to fail for each of them: a line that no
// test misses is a line that anybody may break unseen. It changes nothing in the tree: go test builds with an overlay.
//
//	go run ./mutants [name …]
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is a line, broken.
type mutant struct {
	name     string
	file     string
	old, new string // old is in the file exactly once
	packages []string
}

var mutants = []mutant{
	{"expiry-check", "cache/cache.go", "if ok && !now.Before(value.Deadline()) {", "if ok && value.Deadline().IsZero() {", []string{"./cache"}},
	{"expiry-check-of-urls", "cache/table.go", "if c := &s.cells[n]; now.Before(c.value.Deadline()) {", "if c := &s.cells[n]; !c.value.Deadline().IsZero() {", []string{"./cache"}},
	{"signers-told-apart", "integration/window.go", "Number: signers.Add(1)", "Number: 1", []string{"./proxy"}},
	{"viewer-before-cache", "proxy/proxy.go", "	if err := h.admit(r, query, x); err != nil {\n		return err\n	}\n	x.cors", "	_ = h.admit(r, query, x)\n	x.cors", []string{"./proxy"}},
	{"viewer-in-batch", "proxy/batch.go", "	if err := h.allowed(&x.viewer, x.locator); err != nil {\n		return ends, err\n	}\n", "", []string{"./proxy"}},
	{"host-only-signing", "presign/presign.go", `signedHeaders = "host"`, `signedHeaders = "host;range"`, []string{"./presign"}},
	{"scoped-before-pattern", "integration/integration.go", "if b, ok := s.buckets[name]; ok {", "if b, ok := s.buckets[name]; ok && len(s.patterns) == 0 {", []string{"./integration"}},
	{"scoped-no-fallback", "proxy/proxy.go", "	window, now, err := bucket.Integration.Window(ctx, now)\n	x.now = now\n", "	window, now, err := bucket.Integration.Window(ctx, now)\n	x.now = now\n	if other, ok := h.integrations.Find(\"photos\", now); err != nil && ok {\n		window, _, err = other.Integration.Window(ctx, now)\n	}\n", []string{"./proxy"}},
	{"dot-segments", "locator/locator.go", `if segment == "." || segment == ".." {`, `if segment == ".." && more {`, []string{"./locator"}},
	{"bucket-grammar", "locator/locator.go", "	bucket, key, _ := strings.Cut(rest, \"/\")\n	if err := CheckBucket(bucket); err != nil {\n		return Locator{}, err\n	}\n	if strings.IndexByte", "	bucket, key, _ := strings.Cut(rest, \"/\")\n	if strings.IndexByte", []string{"./locator"}},
	{"current-window-only", "proxy/proxy.go", "x.hit = ok && kept.by == signer.Number; x.hit", "x.hit = ok; x.hit", []string{"./proxy"}},
	{"no-url-outlives-its-session", "integration/window.go", "w.Expires = earlier(w.Start.Add(p.lifetime), s.expires)", "w.Expires = w.Start.Add(p.lifetime)", []string{"./integration"}},
	{"min-remaining", "integration/window.go", "w.fresh = earlier(w.End, w.Expires.Add(-p.minRemaining))", "w.fresh = w.End", []string{"./integration"}},
	{"private-redirects", "proxy/proxy.go", `"private, max-age="`, `"public, max-age="`, []string{"./proxy"}},
	{"method-in-the-key", "proxy/proxy.go", "b := append(x.buf[:0], x.object.Method[0])", "b := append(x.buf[:0], 'G')", []string{"./proxy"}},
	{"version-in-the-key", "proxy/proxy.go", "	b = append(b, x.object.Params...)\n", "", []string{"./proxy"}},
	{"cors-whole-origins", "proxy/cors.go", "	value, ok := c.origins[origins[0]]\n", "	value, ok := []string{origins[0]}, true\n", []string{"./proxy"}},
	{"scripts-not-kept", "proxy/proxy.go", "	if !x.cors {\n", "	{\n", []string{"./proxy"}},
	{"trusted-proxies", "viewer/viewer.go", "if len(users) != 1 || !plausibleName(users[0]) || !g.trusted(peer(r)) {", "if len(users) != 1 || !plausibleName(users[0]) {", []string{"./viewer"}},
	{"token-audience", "viewer/jwt.go", "Issuer: t.config.Issuer, AnyAudience: jwt.Audience{t.config.Audience}, Time: now", "Issuer: t.config.Issuer, Time: now", []string{"./viewer"}},
	{"link-signature", "viewer/links.go", "if n < 0 || !hmac.Equal(", "if n < 0 || false && !hmac.Equal(", []string{"./viewer"}},
	{"header-injection", "proxy/target.go", "case strings.ContainsFunc(value, unicode.IsControl):", "case false && strings.ContainsFunc(value, unicode.IsControl):", []string{"./proxy"}},
	{"external-id", "integration/sts.go", `if in.Integration.ExternalID != "" {`, "if false {", []string{"./integration"}},
	{"session-policy", "integration/sts.go", `if in.SessionPolicy != "" {`, "if false {", []string{"./integration"}},
	{"secrets-do-not-print", "presign/credentials.go", "func (Credentials) String() string { return redacted }", "func (c Credentials) String() string { return c.SecretAccessKey }", []string{"./presign"}},
	{"one-call-for-all", "integration/sessions.go", "if i.fetching == nil && (i.mayFetch(now)", "if (i.mayFetch(now)", []string{"./integration"}},
	{"denials-are-remembered", "integration/fetch.go", "return !now.Before(i.retryAt) ||", "return true ||", []string{"./integration"}},
	{"gone-is-gone", "integration/next.go", "		case !ok:\n", "		case !ok && false:\n", []string{"./integration"}},
	{"purge-outruns-a-call", "integration/fetch.go", "		if i.fetching != f {\n", "		if false {\n", []string{"./integration"}},
	{"one-call-for-the-fleet", "integration/share.go", "	if theirs, err := i.fromFleet(ctx, name, index); err == nil && theirs != nil {\n		return theirs, nil\n	}\n	s, err := i.assumeRole", "	s, err := i.assumeRole", []string{"./integration"}},
	{"shared-values-are-bound", "cache/vault.go", "s.aead.Open(nil, nonce, box, []byte(name))", "s.aead.Open(nil, nonce, box, nil)", []string{"./cache"}},
	{"purged-is-not-shared", "integration/share.go", "revoked := !s.issued.After(i.notBefore)", "revoked := false", []string{"./integration"}},
	{"pages-may-not-purge", "proxy/admin.go", `if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {`, "if true {", []string{"./cmd/s3redirect"}},
}

func main() {
	survived := 0
	for _, m := range mutants {
		if len(os.Args) > 1 && !slices.Contains(os.Args[1:], m.name) {
			continue
		}
		killed, err := m.run()
		switch {
		case err != nil:
			fmt.Printf("%-28s cannot be tried: %v\n", m.name, err)
			survived++
		case killed:
			fmt.Printf("%-28s a test fails, as it should\n", m.name)
		default:
			fmt.Printf("%-28s NO TEST FAILS: %s\n", m.name, m.file)
			survived++
		}
	}
	if survived > 0 {
		os.Exit(1)
	}
}

// run tests the tree with the line broken. Killed tells that a test failed.
func (m *mutant) run() (killed bool, err error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return false, err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return false, fmt.Errorf("%s has the line %d times", m.file, n)
	}
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	original, err := filepath.Abs(m.file)
	if err != nil {
		return false, err
	}
	broken, overlay := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
		return false, err
	}
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {original: broken}})
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(overlay, replaced, 0o600); err != nil {
		return false, err
	}
	if out, err := exec.Command("go", append([]string{"build", "-overlay", overlay}, m.packages...)...).CombinedOutput(); err != nil {
		return false, fmt.Errorf("it does not build: %s", bytes.TrimSpace(out))
	}
	out, err := exec.Command("go", append([]string{"test", "-overlay", overlay, "-vet=off", "-count=1", "-timeout=120s", "-failfast"}, m.packages...)...).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("FAIL")) {
		return false, fmt.Errorf("%w: %s", err, out)
	}
	return err != nil, nil
}
