package app

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"s3redirect/proxy"
)

func TestPurgeByNameAndLocator(t *testing.T) {
	a := newTestApp(t)
	_, media := a.get(mediaObject)
	a.get(teamObject)
	purge := func(name, locator, want string, urls int) {
		t.Helper()
		got, err := a.Purge(name, locator)
		if err != nil || strings.Join(got.Integrations, " ") != want || got.URLs != urls {
			t.Errorf("Purge(%q, %q) = %+v, %v, want %s and %d URLs",
				name, locator, got, err, want, urls)
		}
	}
	purge("", "s3://team-notes/*", "teams", 1)
	a.wantURL("another integration", mediaObject, media)
	calls := a.cloud.Calls().AssumeRole
	purge("media", "", "media", 1)
	if _, got := a.get(mediaObject); got == media {
		t.Error("the URL did not change after the purge")
	}
	if got := a.cloud.Calls().AssumeRole - calls; got != 1 {
		t.Errorf("AssumeRole calls after the purge = %d, want 1", got)
	}
	purge("", "", "media teams", 1)
	for _, c := range []struct{ name, locator string }{
		{"nobody", ""},
		{"", "s3://nobodys/x"},
		{"media", "s3://demo-media/x"},
		{"", "demo-media"},
	} {
		if got, err := a.Purge(c.name, c.locator); err == nil {
			t.Errorf("Purge(%q, %q) = %+v, want an error", c.name, c.locator, got)
		}
	}
}

// serveAdmin opens the listeners of an app and returns the URL of the administrators' listener.
func serveAdmin(t *testing.T, a *testApp) (url string) {
	t.Helper()
	s, err := proxy.Listen(proxy.ServerOptions{
		Listen:      []string{"127.0.0.1:0"},
		AdminListen: []string{"127.0.0.1:0"},
		Viewers:     a,
		Operator:    a,
		Metrics:     a.metrics,
		Log:         a.App.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.AdminAddr.String()
}

// do sends a request with a header, such as "Origin: https://a.example", and returns the response's
// status and body.
func do(t *testing.T, method, url, header string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestAdministration(t *testing.T) {
	a := newTestApp(t)
	admin := serveAdmin(t, a)
	const forPages = "web pages cannot use this path"
	for _, c := range []struct {
		method, target, header string
		status                 int
		body                   string // a part of it
	}{
		{"POST", "/-/reload", "", 200, "reloaded"},
		{"GET", "/-/reload", "", 405, ""},
		{"POST", "/-/reload", "Origin: https://evil.example", 403, forPages},
		{"POST", "/-/purge", "Sec-Fetch-Site: cross-site", 403, forPages},
		{"POST", "/-/purge?integration=media", "", 200, `{"integrations":["media"],"urls":0}`},
		{"POST", "/-/purge?integration=none", "", 404, "no integration has that name"},
		{"POST", "/-/purge?locator=x", "", 400, "locator"},
		{"POST", "/-/purge", "", 200, `"media","teams"`},
	} {
		status, body := do(t, c.method, admin+c.target, c.header)
		if status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s %s with %q: status %d, body %s, want %d, %s",
				c.method, c.target, c.header, status, body, c.status, c.body)
		}
	}
	a.write("bad: true\n")
	if status, body := do(t, "POST", admin+"/-/reload", ""); status != 422 {
		t.Errorf("reload of a bad file: status %d, want 422: %s", status, body)
	}
}

// TestReloadChangesTheAdminToken checks that a reload is authorized with the token of the current
// configuration, not with that of the file.
func TestReloadChangesTheAdminToken(t *testing.T) {
	const (
		first  = "first-canary-0123456789abcdef0123456789"
		second = "second-canary-0123456789abcdef0123456789"
	)
	a := newTestApp(t)
	admin := serveAdmin(t, a)
	reload := func(authorization string, want int) {
		t.Helper()
		status, _ := do(t, "POST", admin+"/-/reload", "Authorization: "+authorization)
		if status != want {
			t.Errorf("reload with %q: status %d, want %d", authorization, status, want)
		}
	}
	a.write("admin: {token: " + first + "}\n" + a.text)
	reload("", http.StatusOK)
	reload("", http.StatusUnauthorized)
	a.write("admin: {token: " + second + "}\n" + a.text)
	reload("Bearer "+second, http.StatusUnauthorized)
	reload("Bearer "+first, http.StatusOK)
	reload("Bearer "+first, http.StatusUnauthorized)
	a.write(a.text)
	reload("Bearer "+second, http.StatusOK)
	reload("", http.StatusOK)
	if a.logCount("canary") > 0 || a.logCount("administrators' request rejected") == 0 {
		t.Errorf("the log is %s, want rejections without the tokens", a.log)
	}
}
