// Command mutants breaks the lines on which safety rests, one at a time, and wants a test to fail for each of them: a line that no
// test misses is a line that anybody may break unseen. It changes nothing in the tree: go test builds with an overlay. A line that has
// moved, a mutant that does not build, and a tree whose tests fail without any are errors of their own.
//
//	go run ./test/mutants [name …]
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
	{"signers-told-apart", "internal/integration/window.go", "Number: signers.Add(1)", "Number: 1", []string{"./proxy"}},
	{"viewer-before-cache", "proxy/proxy.go", "	if err := h.admit(r, query, x); err != nil {\n		return err\n	}\n	x.cors", "	_ = h.admit(r, query, x)\n	x.cors", []string{"./proxy"}},
	{"viewer-in-batch", "proxy/batch.go", "	if err := h.allowed(&x.viewer, x.locator); err != nil {\n		return expires, err\n	}\n", "", []string{"./proxy"}},
	{"host-only-signing", "internal/presign/presign.go", `signedHeaders = "host"`, `signedHeaders = "host;range"`, []string{"./internal/presign"}},
	{"scoped-before-pattern", "internal/integration/integration.go", "if b, ok := s.buckets[name]; ok {", "if b, ok := s.buckets[name]; ok && len(s.patterns) == 0 {", []string{"./internal/integration"}},
	{"scoped-no-fallback", "proxy/sign.go", "	r, err := bucket.Resolve(ctx, x.now)\n	x.now = r.Now\n", "	r, err := bucket.Resolve(ctx, x.now)\n	x.now = r.Now\n	if other, ok := h.integrations.Find(\"photos\", x.now); err != nil && ok {\n		place := r.Place\n		r, err = other.Resolve(ctx, x.now)\n		r.Place = place\n	}\n", []string{"./proxy"}},
	{"dot-segments", "internal/locator/locator.go", `if segment == "." || segment == ".." {`, `if segment == ".." && more {`, []string{"./internal/locator"}},
	{"bucket-grammar", "internal/locator/locator.go", "	bucket, key, _ := strings.Cut(rest, \"/\")\n	if err := CheckBucket(bucket); err != nil {\n		return Locator{}, err\n	}\n	if strings.IndexByte", "	bucket, key, _ := strings.Cut(rest, \"/\")\n	if strings.IndexByte", []string{"./internal/locator"}},
	{"current-window-only", "proxy/sign.go", "x.hit = ok && cached.signer == signer.Number; x.hit", "x.hit = ok; x.hit", []string{"./proxy"}},
	{"no-url-outlives-its-session", "internal/integration/window.go", "w.Expires = earlier(w.Start.Add(p.lifetime), s.expires)", "w.Expires = w.Start.Add(p.lifetime)", []string{"./internal/integration"}},
	{"min-remaining", "internal/integration/window.go", "w.fresh = earlier(w.End, w.Expires.Add(-p.minRemaining))", "w.fresh = w.End", []string{"./internal/integration"}},
	{"private-redirects", "proxy/proxy.go", `"private, max-age="`, `"public, max-age="`, []string{"./proxy"}},
	{"method-in-the-key", "proxy/sign.go", "b := append(x.buf[:0], x.object.Method[0])", "b := append(x.buf[:0], 'G')", []string{"./proxy"}},
	{"version-in-the-key", "proxy/sign.go", "	b = append(b, x.object.Params...)\n", "", []string{"./proxy"}},
	{"cors-whole-origins", "proxy/cors.go", "	value, ok := c.origins[origins[0]]\n", "	value, ok := []string{origins[0]}, true\n", []string{"./proxy"}},
	{"scripts-not-kept", "proxy/proxy.go", "	if !x.cors || fromElement(r) {\n", "	{\n", []string{"./proxy"}},
	{"redirects-vary-by-mode", "proxy/proxy.go", `"Origin", "Sec-Fetch-Mode", "Sec-Fetch-Dest"`, `"Origin", "Sec-Fetch-Dest"`, []string{"./proxy"}},
	{"trusted-proxies", "internal/viewer/viewer.go", "!plausibleName(users[0]) || !g.trusted(peer(r)) {", "!plausibleName(users[0]) {", []string{"./internal/viewer"}},
	{"deny-any-slashes", "internal/viewer/viewer.go", "	normalized := normalizeKey(l.Key)\n", "	normalized := l.Key\n", []string{"./internal/viewer"}},
	{"groups-header-required", "internal/viewer/viewer.go", "	if len(groups) != 1 {\n		return Viewer{}, true, errGroups\n	}\n", "	if len(groups) != 1 {\n		return v, true, nil\n	}\n", []string{"./internal/viewer"}},
	{"groups-known", "internal/viewer/jwt.go", "!known && t.needGroups {", "false && !known && t.needGroups {", []string{"./internal/viewer"}},
	{"token-audience", "internal/viewer/jwt.go", "Issuer: t.config.Issuer, AnyAudience: jwt.Audience{t.config.Audience}, Time: now", "Issuer: t.config.Issuer, Time: now", []string{"./internal/viewer"}},
	{"link-signature", "internal/viewer/links.go", "if n < 0 || !hmac.Equal(", "if n < 0 || false && !hmac.Equal(", []string{"./internal/viewer"}},
	{"header-injection", "proxy/target.go", "case strings.ContainsFunc(value, unicode.IsControl):", "case false && strings.ContainsFunc(value, unicode.IsControl):", []string{"./proxy"}},
	{"active-types", "proxy/overrides.go", "&& !isPassive(kind)", "&& false", []string{"./proxy"}},
	{"inline-needs-a-type", "proxy/overrides.go", `if p.ResponseContentType != "" {`, "if true {", []string{"./proxy"}},
	{"lone-surrogates", "proxy/body.go", "if !utf16.IsSurrogate(unit) {", "if true {", []string{"./proxy"}},
	{"budget-of-bodies", "proxy/body.go", "if !b.budget.TryAcquire(int64(n)) {", "if !b.budget.TryAcquire(int64(n)) && false {", []string{"./proxy"}},
	{"http2-write-deadline", "proxy/server.go", "			WriteByteTimeout:              writeTimeout,\n", "", []string{"./proxy"}},
	{"external-id", "internal/integration/sts.go", `if in.Integration.ExternalID != "" {`, "if false {", []string{"./internal/integration"}},
	{"session-policy", "internal/integration/sts.go", `if in.SessionPolicy != "" {`, "if false {", []string{"./internal/integration"}},
	{"secrets-do-not-print", "internal/presign/credentials.go", "func (Credentials) String() string { return redacted }", "func (c Credentials) String() string { return c.SecretAccessKey }", []string{"./internal/presign"}},
	{"one-call-for-all", "internal/integration/keeper.go", "if k.fetching == nil && (k.mayFetchLocked(now)", "if (k.fetching == nil || k.fetching.started.Equal(now)) && (k.mayFetchLocked(now)", []string{"./internal/integration"}},
	{"denials-are-remembered", "internal/integration/fetch.go", "	k.pauseLocked(now, pause)\n", "	k.pauseLocked(now, time.Millisecond+0*pause)\n", []string{"./internal/integration"}},
	{"gone-is-gone", "internal/integration/next.go", "		case !ok:\n", "		case !ok && false:\n", []string{"./internal/integration"}},
	{"purge-outruns-a-call", "internal/integration/fetch.go", "	if k.fetching != f {\n", "	if false {\n", []string{"./internal/integration"}},
	{"one-call-for-the-fleet", "internal/integration/fleet.go", "	if theirs, err := f.lookup(ctx, name, index); err == nil {\n		return theirs, nil\n	}\n	s, err := f.assume", "	s, err := f.assume", []string{"./internal/integration"}},
	{"leases-end", "internal/integration/fleet.go", "		case <-enough.C:\n			return f.assumeForAll(ctx, name, index)\n", "", []string{"./internal/integration"}},
	{"signed-in-the-future", "internal/integration/fleet.go", "	case w.SignedAt.Sub(at) > maxSkew:\n", "	case false:\n", []string{"./internal/integration"}},
	{"too-old-to-share", "internal/integration/fleet.go", " || s.expires.Sub(now) < 2*f.plan.floor ||\n", " ||\n", []string{"./internal/integration"}},
	{"short-sessions-are-replaced", "internal/integration/keeper.go", "!slices.ContainsFunc(k.sessionsLocked(now), asLong)", "!slices.ContainsFunc(k.sessionsLocked(now)[:0], asLong)", []string{"./internal/integration"}},
	{"the-store-is-waited-for", "internal/integration/fleet.go", "return nil, errStoreUnreachable", "return f.assume(ctx, index)", []string{"./internal/integration"}},
	{"the-store-is-not-waited-for-in-vain", "internal/integration/fleet.go", "f.clock().Before(f.plan.start(index).Add(-f.plan.prefetchLead/4))", "f.clock().Before(f.plan.start(index))", []string{"./internal/integration"}},
	{"stored-for-a-session's-life", "internal/integration/fleet.go", "value, s.expires.Sub(f.clock()))", "value, time.Hour)", []string{"./internal/integration"}},
	{"no-nonce-twice", "internal/sessionstore/redis.go", "io.ReadFull(rand.Reader, nonce)", "io.ReadFull(rand.Reader, nonce[:0])", []string{"./internal/sessionstore"}},
	{"leases-are-the-holders", "internal/sessionstore/redis.go", `if redis.call("GET", KEYS[1]) == ARGV[1] then`, "if true then", []string{"./internal/sessionstore"}},
	{"shared-values-are-bound", "internal/sessionstore/redis.go", "s.aead.Open(nil, nonce, box, []byte(name))", "s.aead.Open(nil, nonce, box, nil)", []string{"./internal/sessionstore"}},
	{"console-asks-who", "internal/console/signin.go", "	if !ok {\n		return userSession{}, errSignIn\n", "	if !ok && false {\n		return userSession{}, errSignIn\n", []string{"./internal/console"}},
	{"console-needs-a-token", "internal/console/signin.go", `if err != nil || token == "" {`, "if err != nil {", []string{"./internal/console"}},
	{"console-checks-ask-who", "internal/console/check.go", "if err := c.mayCheck(r); err != nil {", "if err := c.mayCheck(r); false && err != nil {", []string{"./internal/console"}},
	{"console-checks-of-drafts", "internal/console/check.go", "		if _, err := c.mayChange(r); err != nil {\n			return o, err\n		}\n", "", []string{"./internal/console"}},
	{"console-documents-of-drafts", "internal/console/documents.go", "	if _, err := c.mayChange(r); err != nil {\n		return nil, err\n	}\n", "", []string{"./internal/console"}},
	{"console-documents-ask-who", "internal/console/documents.go", "if c.mayCheck(r) != nil || !c.enter() {", "if !c.enter() {", []string{"./internal/console"}},
	{"console-drafts-ask-who", "internal/console/changes.go", "	if err := c.mustBeSignedIn(r); err != nil {\n		return nil, err\n	}\n", "", []string{"./internal/console"}},
	{"console-frames", "internal/console/console.go", "frame-ancestors 'none'; ", "", []string{"./internal/console"}},
	{"console-preview-frames", "internal/console/trial.go", "; frame-ancestors 'self'", "", []string{"./internal/console"}},
	{"console-bodies", "internal/console/console.go", "		r.Body = http.MaxBytesReader(w, r.Body, maxBody)\n", "", []string{"./internal/console"}},
	{"console-check-bodies", "internal/console/check.go", "	r.Body = http.MaxBytesReader(w, r.Body, maxBody)\n", "", []string{"./internal/console"}},
	{"console-sign-in-bodies", "internal/console/signin.go", "	r.Body = http.MaxBytesReader(w, r.Body, maxBody)\n", "", []string{"./internal/console"}},
	{"secrets-are-not-shown", "internal/config/decode.go", "into.Type() == reflect.TypeFor[Secret]() || strings.ContainsFunc", "strings.ContainsFunc", []string{"./internal/config"}},
	{"unknown-keys-are-not-shown", "internal/config/decode.go", `problem := "unknown key (its name`, `problem := name.Value + " unknown key (its name`, []string{"./internal/config"}},
	{"syntax-errors-do-not-quote", "internal/config/load.go", "case slices.Contains(yamlProblems, m[2]):", "case true:", []string{"./internal/config"}},
	{"admin-token", "proxy/admin.go", " && !rejectStranger(w, r, o.AdminToken(), log)", "", []string{"./proxy"}},
	{"console-csrf", "internal/console/signin.go", "[]byte(user.csrf)) != 1 {", "[]byte(user.csrf)) == 2 {", []string{"./internal/console"}},
	{"console-sign-out", "internal/console/sessions.go", "	delete(s.all, sha256.Sum256([]byte(cookie)))\n", "", []string{"./internal/console"}},
	{"console-sessions-end", "internal/console/sessions.go", " && now.Before(u.ends)", "", []string{"./internal/console"}},
	{"console-sessions-end-with-their-token", "internal/console/sessions.go", " && u.token == token", "", []string{"./internal/console"}},
	{"console-token", "internal/console/signin.go", "case !token.Matches(in.Token):", "case false:", []string{"./internal/console"}},
	{"console-own-origin", "internal/console/console.go", "r.Method != http.MethodHead && !sameOrigin(r) {", "r.Method != http.MethodHead && false {", []string{"./internal/console"}},
	{"console-own-name", "internal/console/console.go", "	if !c.ownHost(r.Host) {", "	if false {", []string{"./internal/console"}},
	{"console-changed-meanwhile", "internal/console/changes.go", `if in.Base != "" && in.Base != base {`, "if false {", []string{"./internal/console"}},
	{"console-names-variables-of-the-list", "internal/console/variables.go", "return !slices.Contains(allowed, name)", "return false", []string{"./internal/console"}},
	{"console-names-no-secrets", "internal/console/variables.go", "return slices.Contains(used, name)", "return slices.Contains(used[:0], name)", []string{"./internal/console"}},
	{"console-names-variables-again-elsewhere", "internal/console/variables.go", "(!mayName || !moved)", "(!mayName || moved || !moved)", []string{"./internal/console"}},
	{"console-names-not-its-own-secret", "internal/console/variables.go", ", config.Variables(after[secretKeyKey])...)", ")", []string{"./internal/console"}},
	{"console-shows-no-variables", "internal/console/variables.go", "	if len(no.keys) > 0 {\n		return no\n	}\n	return nil\n", "	return nil\n", []string{"./internal/console"}},
	{"one-of-many-saves", "internal/config/save_unix.go", "syscall.LOCK_EX", "syscall.LOCK_SH", []string{"./internal/config"}},
	{"nothing-is-saved-for-a-client-that-is-gone", "internal/config/save.go", "	if ctx.Err() != nil {\n		return explain(path, context.Cause(ctx))\n	}\n", "", []string{"./internal/config"}},
	{"locks-are-not-waited-for-without-end", "internal/config/save_unix.go", "context.WithTimeoutCause(ctx, LockTimeout,", "context.WithTimeoutCause(ctx, 100*LockTimeout,", []string{"./internal/config", "./internal/console"}},
	{"saved-for-the-same-group", "internal/config/save_unix.go", "err != nil && groupMatters {", "err != nil && groupMatters && false {", []string{"./internal/config"}},
	{"saved-with-its-access-control-list", "internal/config/save_unix.go", "writeACLs(f, lists)", "writeACLs(f, nil)", []string{"./internal/config"}},
	{"saved-without-an-inherited-list", "internal/config/acl_linux.go", "if _, keep := lists[name]; !keep {", "if _, keep := lists[name]; !keep && false {", []string{"./internal/config"}},
	{"console-reads-bodies-to-their-ends", "internal/console/console.go", "if _, err = d.Token(); errors.Is(err, io.EOF) {", "if errors.Is(io.EOF, io.EOF) {", []string{"./internal/console"}},
	{"masked-secrets", "internal/config/mask.go", "found[n] = true", "found[n] = false", []string{"./internal/config", "./internal/console"}},
	{"purged-is-not-shared", "internal/integration/keeper.go", "		!slices.Contains(k.purged, s.credentials.AccessKeyID) &&\n", "", []string{"./internal/integration"}},
	{"purged-before-it-was-seen", "internal/integration/keeper.go", "return s.issued.After(k.notBefore) &&\n", "return true &&\n", []string{"./internal/integration"}},
	{"purged-once-for-all", "internal/integration/keeper.go", "k.notBefore = now.Add(-purgeGrace)", "k.notBefore = now", []string{"./internal/integration"}},
	{"purge-is-one-step", "internal/integration/keeper.go", "	k.mu.Lock()\n	defer k.mu.Unlock()\n	k.removed = k.removed || removed\n	if k.static == nil {\n		for _, s := range k.sessionsLocked(now) {\n			k.purged = append(k.purged, s.credentials.AccessKeyID)\n		}\n		k.purged = slices.Delete(k.purged, 0, max(0, len(k.purged)-maxPurged))\n	}\n	k.pool.sessions.Remove(k.identity)\n", "	k.pool.sessions.Remove(k.identity)\n	k.mu.Lock()\n	defer k.mu.Unlock()\n	k.removed = k.removed || removed\n	if k.static == nil {\n		for _, s := range k.sessionsLocked(now) {\n			k.purged = append(k.purged, s.credentials.AccessKeyID)\n		}\n		k.purged = slices.Delete(k.purged, 0, max(0, len(k.purged)-maxPurged))\n	}\n", []string{"./internal/integration"}},
	{"gone-is-not-asked-for", "internal/integration/keeper.go", "if k.removed && k.static == nil {", "if false {", []string{"./internal/integration"}},
	{"what-worked-is-not-starved", "internal/integration/budget.go", "	if healthy {\n", "	if false {\n", []string{"./internal/integration"}},
	{"one-server-gets-half", "internal/integration/budget.go", "semaphore.NewWeighted(b.calls / 2)", "semaphore.NewWeighted(b.calls)", []string{"./internal/integration"}},
	{"waiters-are-bounded", "internal/integration/budget.go", "own+all <= maxWaiters", "true || own+all <= maxWaiters", []string{"./internal/integration"}},
	{"retry-after-is-honoured", "internal/integration/fetch.go", "if asked := retryAfter(err, now); asked > 0 {", "if asked := retryAfter(err, now); asked < 0 {", []string{"./internal/integration"}},
	{"full-jitter", "internal/integration/fetch.go", "time.Duration(k.random()*float64(pause))", "pause", []string{"./internal/integration"}},
	{"clock-set-back-ends-a-snapshot", "internal/integration/keeper.go", "from = later(from, k.pausedAt.Add(-staleness))", "_ = from", []string{"./internal/integration"}},
	{"identity-has-all-of-the-url", "internal/integration/integration.go", "strconv.FormatBool(c.PathStyle)", "strconv.FormatBool(false)", []string{"./internal/integration"}},
	{"each-asks-its-own-store", "internal/integration/region.go", "key := string(i.keeper.identity[:]) + asked", "key := b.Name", []string{"./internal/integration"}},
	{"true-when-it-goes-out", "proxy/admit.go", "	if x.viewer.ID != \"\" {\n		x.now = h.clock()", "	if false {\n		x.now = h.clock()", []string{"./proxy"}},
	{"whole-or-not-at-all", "internal/config/save.go", "		err = os.Rename(temporary, path)\n", "		err = os.WriteFile(path, text, 0o600)\n", []string{"./internal/config"}},
	{"pages-may-not-purge", "proxy/admin.go", `if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {`, "if true {", []string{"./cmd/s3redirect"}},
}

// only names the tests that are tried, where the others take their time or never end with the line broken. All are tried elsewhere.
var only = map[string]string{
	"one-call-for-all":               "TestColdRequestsShareOneCall",
	"denials-are-remembered":         "TestDenialIsRememberedForSeconds|TestPauses",
	"gone-is-gone":                   "TestNext",
	"purge-outruns-a-call":           "TestPurge",
	"purge-is-one-step":              "TestPurge",
	"gone-is-not-asked-for":          "TestWhatIsGone|TestNext",
	"retry-after-is-honoured":        "TestPauses",
	"full-jitter":                    "TestPauses",
	"clock-set-back-ends-a-snapshot": "TestClock",
	"identity-has-all-of-the-url":    "TestNext",
	"each-asks-its-own-store":        "TestNext",
	"true-when-it-goes-out":          "TestResponsesAreCurrent",
	"pages-may-not-purge":            "TestAdministration",
}

func main() {
	chosen := slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return len(os.Args) > 1 && !slices.Contains(os.Args[1:], m.name) })
	if len(chosen) < len(os.Args)-1 {
		fmt.Fprintln(os.Stderr, "not all of these are names of mutants:", os.Args[1:])
		os.Exit(2)
	}
	// Where a test fails anyway, each mutant would seem to be killed.
	var packages []string
	for _, m := range chosen {
		packages = append(packages, m.packages...)
	}
	slices.Sort(packages)
	if out, err := goTest(slices.Compact(packages)...); err != nil {
		fmt.Fprintf(os.Stderr, "without any mutant: %v\n%s", err, out)
		os.Exit(1)
	}
	survived := 0
	for _, m := range chosen {
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
	text, err := m.text()
	if err != nil {
		return false, err
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
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
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
	args := []string{"-overlay", overlay}
	if tests := only[m.name]; tests != "" {
		args = append(args, "-run", tests)
	}
	out, err := goTest(append(args, m.packages...)...)
	// A test that did not build, or that ran out of time, says nothing.
	failed := bytes.Contains(out, []byte("--- FAIL: ")) || bytes.Contains(out, []byte("panic: "))
	if err != nil && (!failed || bytes.Contains(out, []byte("panic: test timed out"))) {
		return false, fmt.Errorf("%w: %s", err, out)
	}
	return err != nil, nil
}

// text is the mutant's file with the line broken.
func (m *mutant) text() (string, error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 || m.old == m.new {
		return "", fmt.Errorf("%s has the line %d times", m.file, n)
	}
	return strings.Replace(string(text), m.old, m.new, 1), nil
}

func goTest(args ...string) ([]byte, error) {
	return exec.Command("go", append([]string{"test", "-vet=off", "-count=1", "-timeout=300s", "-failfast"}, args...)...).CombinedOutput()
}
