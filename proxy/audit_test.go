package proxy

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

// withAudit gives a world an audit log that writes to out.
func withAudit(out io.Writer) worldOption {
	return func(_ *config.Config, o *Options) {
		o.Audit = NewAuditLog(out, o.Log, o.Metrics.AuditLost)
	}
}

// auditLines closes a world's audit log and returns its decoded lines.
func (w *world) auditLines(out *lockedBuffer) (lines []map[string]any) {
	w.t.Helper()
	w.audit.Close()
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			w.t.Fatalf("decoding %q: %v", line, err)
		}
		lines = append(lines, fields)
	}
	return lines
}

// checkAudit checks a line's fields. It removes the variable ones, which must be there.
func checkAudit(t *testing.T, line map[string]any, want map[string]any) {
	t.Helper()
	for _, name := range []string{"time", "request_id", "remote"} {
		if line[name] == nil || line[name] == "" {
			t.Errorf("got %v, want the field %s", line, name)
		}
		delete(line, name)
	}
	if !maps.Equal(line, want) {
		t.Errorf("got  %v\nwant %v", line, want)
	}
}

// expiryOf returns when a presigned URL expires, as the audit log has it.
func expiryOf(t *testing.T, u *url.URL) string {
	t.Helper()
	signed, err := time.Parse("20060102T150405Z", u.Query().Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	lifetime, err := time.ParseDuration(u.Query().Get("X-Amz-Expires") + "s")
	if err != nil {
		t.Fatal(err)
	}
	return signed.Add(lifetime).Format(time.RFC3339)
}

// Each redirect has a line, hits and misses alike. Responses without a URL have none.
func TestAuditOfRedirects(t *testing.T) {
	var out lockedBuffer
	w := newWorld(t, withAudit(&out), func(c *config.Config, _ *Options) {
		c.Viewers.Rules = []config.Rule{{Anonymous: true, Locators: []string{
			"s3://bucket/*", "s3://team-a/*", "s3://absent/*",
		}}}
	})
	first := w.redirect("GET", "/s3/bucket/a%22b%20%C3%BC")
	w.redirect("GET", "/s3/bucket/a%22b%20%C3%BC")
	head := w.redirect("HEAD", "/s3/bucket/k")
	version := w.redirect("GET", "/s3/team-a/k?versionId=v%2F1&download=x")
	for _, target := range []string{"/s3/scans/denied", "/s3/absent/k", "/s3/", "/", "/presign"} {
		w.ask("GET", target)
	}
	w.ask("OPTIONS", "/s3/bucket/k")
	w.ask("PUT", "/s3/bucket/k")
	got := w.auditLines(&out)
	if len(got) != 4 {
		t.Fatalf("got %d lines, want 4: %v", len(got), got)
	}
	want := map[string]any{
		"viewer": "", "integration": "lab", "method": "GET", "bucket": "bucket", "key": `a"b ü`,
		"expires_at": expiryOf(t, first), "kind": "redirect",
	}
	checkAudit(t, got[0], want)
	checkAudit(t, got[1], want)
	want["method"], want["key"], want["expires_at"] = "HEAD", "k", expiryOf(t, head)
	checkAudit(t, got[2], want)
	want["method"], want["version_id"], want["expires_at"] = "GET", "v/1", expiryOf(t, version)
	want["integration"], want["bucket"] = "shared", "team-a"
	checkAudit(t, got[3], want)
}

// A batch has a line for each locator with a URL.
func TestAuditOfBatches(t *testing.T) {
	var out lockedBuffer
	w := newWorld(t, withAudit(&out))
	r := httptest.NewRequest("POST", "/presign", strings.NewReader(
		`{"locators":["s3://bucket/a","s3://absent/b","s3://scans/c","nonsense"]}`))
	r.RequestURI = "/presign"
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	var response struct{ URLs []presigned }
	if err := json.Unmarshal(rec.Body.Bytes(), &response); err != nil || len(response.URLs) != 4 {
		t.Fatalf("got %d %s (%v), want four results", rec.Code, rec.Body, err)
	}
	got := w.auditLines(&out)
	if len(got) != 2 {
		t.Fatalf("got %d lines, want 2: %v", len(got), got)
	}
	if got[0]["request_id"] != got[1]["request_id"] {
		t.Errorf("got the request IDs %v and %v, want the same", got[0]["request_id"],
			got[1]["request_id"])
	}
	want := map[string]any{
		"viewer": "", "integration": "lab", "method": "GET", "bucket": "bucket", "key": "a",
		"expires_at": response.URLs[0].ExpiresAt.Format(time.RFC3339), "kind": "presign",
	}
	checkAudit(t, got[0], want)
	want["integration"], want["bucket"], want["key"] = "keys", "scans", "c"
	want["expires_at"] = response.URLs[2].ExpiresAt.Format(time.RFC3339)
	checkAudit(t, got[1], want)
}

// A document that is answered in place has a line if the response has a part of it. A judgment has
// one, because a reverse proxy then serves the object from its cache.
func TestAuditWithoutURLs(t *testing.T) {
	var out lockedBuffer
	w, _ := newInPlaceWorld(t, withAudit(&out))
	w.put("bucket", "film.m3u8", "#EXTM3U")
	get := func(header, value string) int {
		r := httptest.NewRequest("GET", "/s3/bucket/film.m3u8", nil)
		r.Header.Set(header, value)
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		return rec.Code
	}
	for _, c := range []struct {
		header, value string
		status        int
	}{
		{"X", "", 200}, {"Range", "bytes=0-2", 206}, {"Range", "bytes=900-", 416},
	} {
		if got := get(c.header, c.value); got != c.status {
			t.Fatalf("%s: %s: got %d, want %d", c.header, c.value, got, c.status)
		}
	}
	if resp := w.ask("GET", "/s3/bucket/absent.m3u8"); resp.StatusCode != 403 {
		t.Fatalf("a missing document: got %d, want 403", resp.StatusCode)
	}
	if resp := w.ask("GET", "/authorize/s3/team-a/k?versionId=1"); resp.StatusCode != 204 {
		t.Fatalf("a judgment: got %d, want 204", resp.StatusCode)
	}
	got := w.auditLines(&out)
	if len(got) != 3 {
		t.Fatalf("got %d lines, want 3: %v", len(got), got)
	}
	want := map[string]any{
		"viewer": "", "integration": "lab", "method": "GET", "bucket": "bucket",
		"key": "film.m3u8", "kind": "in_place",
	}
	checkAudit(t, got[0], want)
	checkAudit(t, got[1], want)
	want["integration"], want["bucket"], want["key"] = "shared", "team-a", "k"
	want["version_id"], want["kind"] = "1", "authorize"
	checkAudit(t, got[2], want)
}

// The line is written before the response, so that no URL leaves without one.
func TestAuditPrecedesTheResponse(t *testing.T) {
	var out lockedBuffer
	w := newWorld(t, withAudit(&out))
	r := httptest.NewRequest("GET", "/s3/bucket/k", nil)
	w.Handler.ServeHTTP(closingWriter{httptest.NewRecorder(), w.audit}, r)
	if got := strings.Count(out.String(), `"kind":"redirect"`); got != 1 {
		t.Errorf("got %q when the response begins, want one line", out.String())
	}
}

// closingWriter closes the audit log when a response begins.
type closingWriter struct {
	http.ResponseWriter
	audit *AuditLog
}

func (w closingWriter) WriteHeader(status int) {
	w.audit.Close()
	w.ResponseWriter.WriteHeader(status)
}

// No field of a request can add a field or a line to the audit log.
func FuzzAuditEscapes(f *testing.F) {
	for _, text := range []string{"a\nb", `","kind":"x`, "\xff", "\u0085", "%zz&versionId=2", ""} {
		f.Add(text, text, text)
	}
	f.Fuzz(func(t *testing.T, key, name, params string) {
		x := loggedExchange()
		x.locator.Key, x.viewer, x.object.Params = key, viewer.As(name), "versionId="+params
		line := string(auditLine(nil, x, &viewer.Gate{}, auditRedirect))
		var got struct{ Key, Viewer, Kind string }
		err := json.Unmarshal([]byte(line), &got)
		if err != nil || strings.Count(line, "\n") != 1 || got.Key != string([]rune(key)) ||
			got.Viewer != string([]rune(name)) || got.Kind != auditRedirect {
			t.Errorf("got %s (%v), want the key %q and the viewer %q", line, err, key, name)
		}
	})
}

func TestAuditDoesNotAllocate(t *testing.T) {
	if raceEnabled || onWire {
		t.Skip("the race detector allocates")
	}
	w := newWorld(t, withAudit(io.Discard))
	w.redirect("GET", "/s3/bucket/warm")
	if n := w.allocationsOnWire(0); n > 0 {
		t.Errorf("a hit with an audit log allocates %v times, want 0", n)
	}
}
