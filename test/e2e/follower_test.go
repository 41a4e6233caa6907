package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// hijacked takes over a request's connection, writes text to it, and resets it.
func hijacked(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).SetLinger(0) // the client of a lingering connection sees its end instead
		_ = c.Close()
	}
}

// echoed answers with a status and with the signed URL in the header and in the body, as stores do.
func echoed(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://"+r.Host+r.RequestURI)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<Error>"+r.RequestURI+"</Error>")
	}
}

// storeFaults are ways in which a store can fail, with the status and the code of the problem that
// the client gets. A status of 0 is a response that the client cannot read to its end.
var storeFaults = map[string]struct {
	answer http.HandlerFunc
	status int
	code   string
}{
	"resets": {hijacked(""), http.StatusServiceUnavailable, "s3_unavailable"},
	// nginx passes on bytes without a status line as HTTP/0.9, which clients reject.
	"talks rubbish": {hijacked("rubbish\r\n\r\n"), 0, ""},
	"breaks off in the header": {
		hijacked("HTTP/1.1 200 OK\r\nContent-"), http.StatusServiceUnavailable, "s3_unavailable",
	},
	"has a huge header": {
		hijacked("HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 70_000) + "\r\n\r\n"),
		http.StatusServiceUnavailable, "s3_unavailable",
	},
	"breaks off in the body": {
		hijacked("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), 0, "",
	},
	"fails":       {echoed(500), http.StatusServiceUnavailable, "s3_unavailable"},
	"throttles":   {echoed(429), http.StatusServiceUnavailable, "s3_unavailable"},
	"is busy":     {echoed(503), http.StatusServiceUnavailable, "s3_unavailable"},
	"denies":      {echoed(http.StatusForbidden), http.StatusForbidden, "object_denied"},
	"has nothing": {echoed(http.StatusNotFound), http.StatusNotFound, "object_not_found"},
	"redirects":   {echoed(http.StatusTemporaryRedirect), http.StatusBadGateway, "store_error"},
	"moved":       {echoed(http.StatusMovedPermanently), http.StatusBadGateway, "store_error"},
	"rejects":     {echoed(http.StatusBadRequest), http.StatusBadGateway, "store_error"},
}

// TestFollowersLogNoSignature checks that nginx writes no presigned URL to its error log, not even
// at the level debug, nor to the follower's log or its cache, however the store fails, and that the
// client gets none either.
func TestFollowersLogNoSignature(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	for _, name := range []string{"follow.conf", "follow-all.conf"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := watch(t, minio(t))
			bucket := "signed-" + strings.TrimSuffix(name, ".conf")
			s.createBucket(t, bucket)
			s.put(t, bucket, "a.m3u8", []byte(playlist))
			p, f := startFollower(t, name, bucket, s.env()...)
			target := "/s3/" + bucket + "/a.m3u8"
			f.get(t, "ann", target).wantBody(t, "a playlist", http.StatusOK, playlist)
			n := 0
			for what, fault := range storeFaults {
				s.set(fault.answer, nil)
				n++
				checkFault(t, f, fmt.Sprintf("%s?download=%d", target, n), what, fault.status, fault.code)
			}
			// The client gives up while nginx waits for the store.
			reached, ctx := make(chan bool), t.Context()
			s.set(func(_ http.ResponseWriter, r *http.Request) {
				reached <- true
				select {
				case <-r.Context().Done(): // nginx has closed the connection
				case <-ctx.Done():
				}
			}, nil)
			abandoned, cancel := context.WithCancel(ctx)
			go func() { <-reached; cancel() }()
			req, err := http.NewRequestWithContext(
				abandoned, http.MethodGet, "http://"+f.host+target+"?download=slow", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth("ann", "secret-of-ann")
			if _, err := client.Do(req); !errors.Is(err, context.Canceled) {
				t.Errorf("the abandoned request: error %v, want it canceled", err)
			}
			signature := (&answer{header: http.Header{
				"Location": {fetch(t, http.MethodGet, p.url(target), as("ann")).header.Get("Location")},
			}}).query().Get("X-Amz-Signature")

			_, down := startFollower(t, name, bucket, append(s.env(), "ENDPOINT=http://"+freeAddress(t))...)
			checkFault(t, down, target, "down", http.StatusServiceUnavailable, "s3_unavailable")
			awaitThat(t, "the follower's log has all requests", func() bool {
				return strings.Count(readFile(t, f.log), "\n") >= len(storeFaults)+2
			})
			wantNoSignature(t, f, signature)
			wantNoSignature(t, down, signature)
		})
	}
}

// startFollower starts a proxy and a follower in front of it.
func startFollower(t *testing.T, name, bucket string, env ...string) (*proxy, *follower) {
	t.Helper()
	p := followed(t, bucket, env...)
	// With a cache, nginx waits for the store even if its client has gone.
	const timeout = "proxy_connect_timeout 5s;"
	return p, behindFollower(t, p, name, timeout, timeout+" proxy_read_timeout 2s;")
}

// checkFault checks what a client gets if the store fails.
func checkFault(t *testing.T, f *follower, target, what string, status int, code string) {
	t.Helper()
	a, err := try(t, http.MethodGet, "http://"+f.host+target, as("ann"))
	if status == 0 {
		if err == nil {
			t.Errorf("the store %s: got %d %q, want no whole response", what, a.status, a.body)
		}
		return
	}
	if err != nil {
		t.Fatalf("the store %s: %v", what, err)
	}
	if err := a.checkProblem(status, code); err != nil {
		t.Errorf("the store %s: %v", what, err)
	}
	retry := a.header.Get("Retry-After")
	if (status == http.StatusServiceUnavailable) != (retry != "") {
		t.Errorf("the store %s: got %d with Retry-After %q, want it with 503 only", what, status, retry)
	}
	if text := fmt.Sprint(a.header, string(a.body)); strings.Contains(text, "X-Amz-") {
		t.Errorf("the store %s: the client gets the signed URL: %s", what, text)
	}
}

// wantNoSignature checks all that nginx has written.
func wantNoSignature(t *testing.T, f *follower, signature string) {
	t.Helper()
	written := map[string]string{"the error log": f.output()}
	err := filepath.WalkDir(filepath.Dir(f.log), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		written[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(written["the error log"], "[debug]") {
		t.Error("the error log has no debug messages, so it proves nothing")
	}
	if signature == "" || written[f.log] == "" {
		t.Errorf("the signature is %q and the follower's log %q, want neither empty",
			signature, written[f.log])
	}
	for name, text := range written {
		for _, secret := range []string{signature, "X-Amz-Signature", "X-Amz-Credential"} {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s has %q: …%.300q", name, secret, text[max(0, at-200):])
			}
		}
	}
}

// resolver answers every question for an address with 127.0.0.1 (RFC 1035, section 4), and returns
// its own address.
func resolver(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			r := append([]byte(nil), b[:n]...)
			copy(r[2:], "\x81\x80") // a response without an error
			copy(r[6:], "\x00\x01") // with one answer
			// The name of the question, type A, class IN, 60 s, four bytes.
			r = append(r, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
			_, _ = c.WriteTo(r, from)
		}
	}()
	return c.LocalAddr().String()
}

// TestFollowersTrustTheStore checks that nginx sends a presigned URL only to a server with a
// certificate for the store's name, and follows no other redirect than s3redirect's.
func TestFollowersTrustTheStore(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	var asked, elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		elsewhere.Add(1)
	}))
	t.Cleanup(other.Close)
	var host string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.TLS.ServerName != "example.com" || r.Host != host {
			t.Errorf("the store was asked for %q as %q, want %q", r.TLS.ServerName, r.Host, host)
		}
		header := w.Header()
		for _, name := range []string{
			"Set-Cookie", "Location", "X-Accel-Redirect", "Refresh", "Clear-Site-Data", "Link",
			"Service-Worker-Allowed", "Access-Control-Allow-Origin", "Content-Security-Policy",
			"X-Content-Type-Options", "Cache-Control", "Vary", "X-Accel-Expires", "Expires",
			"Strict-Transport-Security", "Cross-Origin-Opener-Policy", "Alt-Svc", "NEL",
		} {
			header.Set(name, "/_s3redirect/authorize")
		}
		header["Content-Type"] = []string{"Text/JavaScript;charset=utf-8", "text/html"}
		header.Set("X-Accel-Limit-Rate", "1")
		header.Set("Etag", `"1"`)
		_, _ = io.WriteString(w, "alert(1)")
	}))
	t.Cleanup(s.Close)
	port := portOf(s.URL)
	host = "example.com:" + port
	trusted, dns := newAuthority(t).certificate, resolver(t)
	for _, c := range []struct {
		name, endpoint, authorities string
		status                      int
	}{
		{"the store", "https://example.com:" + port, trusted, http.StatusOK},
		{"another name", "https://other.test:" + port, trusted, http.StatusServiceUnavailable},
		{"another authority", "https://example.com:" + port, newIssuer(t).file, 503},
	} {
		for _, file := range []string{"follow.conf", "follow-all.conf"} {
			what := c.name + ", " + file
			p := followed(t, "bucket", "ENDPOINT="+c.endpoint, "ACCESS_KEY=key", "SECRET_KEY=secret")
			f := behindFollower(t, p, file, "127.0.0.53", dns,
				"/etc/ssl/certs/ca-certificates.crt", c.authorities)
			before := asked.Load()
			a := f.asProxy().raw(t, http.MethodGet, "/s3/bucket/open/a.m3u8 HTTP/1.1\r\n"+
				"Location: "+other.URL+"\r\nX-Accel-Redirect: "+other.URL+"\r\nX-Ignored: x")
			if a.status != c.status || (asked.Load() > before) != (c.status == http.StatusOK) {
				t.Errorf("%s: got %d, and the store %d requests, want %d", what, a.status,
					asked.Load()-before, c.status)
			}
			if c.status != http.StatusOK {
				continue
			}
			checkUntouched(t, what, a, "application/vnd.apple.mpegurl")
			if file == "follow-all.conf" {
				checkUntouched(t, what, f.get(t, "", "/s3/bucket/open/a.js"), "application/octet-stream")
			}
			f.asProxy().raw(t, http.MethodGet, other.URL+"/s3/bucket/open/a.m3u8")
		}
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("another server got %d requests, want none", n)
	}
}

// checkUntouched checks that the store's header has no effect on nginx or the client.
func checkUntouched(t *testing.T, what string, a *answer, contentType string) {
	t.Helper()
	a.wantBody(t, what, http.StatusOK, "alert(1)")
	a.header.Set("Vary", a.header.Get("Vary")+", Authorization")
	a.checkServed(t, what)
	if got := strings.Join(a.header["Content-Type"], "|"); got != contentType {
		t.Errorf("%s: Content-Type = %q, want %q", what, got, contentType)
	}
	for name, values := range a.header {
		if strings.Contains(strings.Join(values, "|"), "_s3redirect") {
			t.Errorf("%s: the client gets the store's %s", what, name)
		}
	}
}
