package proxy

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
)

// canaries is what must never be seen in a presigned URL's company: what it is made of.
func canaries(u *url.URL) []string {
	q := u.Query()
	return []string{testSecret, url.QueryEscape(testSecret), q.Get("X-Amz-Signature"), q.Get("X-Amz-Security-Token"),
		url.QueryEscape(q.Get("X-Amz-Security-Token")), q.Get("X-Amz-Credential"), strings.Split(q.Get("X-Amz-Credential"), "/")[0]}
}

// No key, token or signature gets into a log, a metric or a problem, whatever goes wrong.
func TestSecretsStayInLocations(t *testing.T) {
	var lines lockedBuffer
	w := newWorld(t, func(_ *config.Config, o *Options) {
		o.AccessLog = NewAccessLog(&lines, "json", o.Log, o.Metrics.AccessLogLost)
	})
	var secrets []string
	var said strings.Builder
	ask := func(method, target string) {
		resp := w.ask(method, target)
		if location := resp.Header.Get("Location"); location != "" {
			u, err := url.Parse(location)
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, canaries(u)...)
			resp.Header.Del("Location")
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(body)
		if err := resp.Header.Write(&said); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range []string{"/s3/bucket/k", "/s3/scans/k", "/s3/team-a/k?versionId=v&download=x", "/s3/team-a/../k", "/s3/nobodys/k", "/s3/team-a/k?versionId=%zz"} {
		ask("GET", target)
		ask("HEAD", target)
	}
	for _, fault := range []*fakeaws.Fault{{Status: 403, Code: "AccessDenied", Message: "no"}, {Status: 500, Code: "InternalFailure", Message: "no"}} {
		cold := newWorld(t)
		cold.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error { return fault })
		resp := cold.ask("GET", "/s3/photos/k")
		if resp.StatusCode < 500 {
			t.Fatalf("%d", resp.StatusCode)
		}
		said.WriteString(cold.log.String())
	}
	// A presigned URL that somebody asks for again, as a path or a query.
	for _, s := range secrets {
		ask("GET", "/s3/bucket/k?X-Amz-Signature="+url.QueryEscape(s))
		ask("GET", "/s3/bucket/k?response-expires=%0a"+url.QueryEscape(s))
		ask("GET", "/"+url.PathEscape(s))
	}
	// A bug: what panics holds a secret.
	set := w.integrations
	w.integrations = nil
	ask("GET", "/s3/bucket/k")
	w.integrations = set
	for _, v := range []any{testSecret, &url.Error{Op: "Get", URL: testSecret, Err: http.ErrServerClosed}, struct{ S string }{testSecret}} {
		func() {
			defer func() { w.handlePanic(discard{http.Header{}}, &exchange{}, recover()) }()
			panic(v)
		}()
	}
	if !strings.Contains(w.log.String(), "nil pointer dereference") || !strings.Contains(w.log.String(), `"panic":"a string"`) {
		t.Error("the panics were not logged")
	}
	resp, err := http.Get(scrape(t, w))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	said.Write(metrics)
	w.accessLog.Close()
	said.WriteString(w.log.String() + lines.String())
	if len(secrets) < 20 || !strings.Contains(said.String(), "s3redirect_requests_total") || !strings.Contains(said.String(), `"key":"k"`) {
		t.Fatalf("%d secrets, %d bytes said: the test did not test", len(secrets), said.Len())
	}
	for _, s := range secrets {
		if s != "" && strings.Contains(said.String(), s) {
			at := strings.Index(said.String(), s)
			t.Fatalf("%.12s… is said: …%s…", s, said.String()[max(0, at-200):at])
		}
	}
}
