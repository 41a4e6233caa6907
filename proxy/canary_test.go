package proxy

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/wire"
)

// canaries returns the secret parts of a presigned URL, which must appear nowhere else.
func canaries(u *url.URL) []string {
	q := u.Query()
	token, credential := q.Get("X-Amz-Security-Token"), q.Get("X-Amz-Credential")
	return []string{
		testSecret,
		url.QueryEscape(testSecret),
		q.Get("X-Amz-Signature"),
		token,
		url.QueryEscape(token),
		credential,
		strings.Split(credential, "/")[0],
	}
}

// No access key, token or signature appears in a log, a metric or a problem, even after errors and
// panics.
func TestSecretsAppearOnlyInLocations(t *testing.T) {
	for _, format := range []string{"json", "text", "combined"} {
		t.Run(format, func(t *testing.T) { checkSecrets(t, format) })
	}
}

// checkSecrets is TestSecretsAppearOnlyInLocations for a format of the access log.
func checkSecrets(t *testing.T, format string) {
	var lines lockedBuffer
	w := newWorld(t, withAudit(&lines), func(_ *config.Config, o *Options) {
		o.AccessLog = NewAccessLog(&lines, format, o.Log, o.Metrics.AccessLogLost)
	})
	var secrets []string
	var output strings.Builder
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
		output.Write(body)
		if err := resp.Header.Write(&output); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range []string{
		"/s3/bucket/k", "/s3/scans/k", "/s3/team-a/k?versionId=v&download=x", "/s3/team-a/../k",
		"/s3/nobodys/k", "/s3/team-a/k?versionId=%zz",
	} {
		ask("GET", target)
		ask("HEAD", target)
	}
	for _, fault := range []*fakeaws.Fault{
		{Status: 403, Code: "AccessDenied", Message: "no"},
		{Status: 500, Code: "InternalFailure", Message: "no"},
	} {
		cold := newWorld(t)
		cold.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error { return fault })
		resp := cold.ask("GET", "/s3/photos/k")
		if resp.StatusCode < 500 {
			t.Fatalf("STS fails with %d: status %d, want 502 or 503", fault.Status, resp.StatusCode)
		}
		output.WriteString(cold.log.String())
	}
	// Request parts of presigned URLs, as paths and as queries.
	for _, s := range secrets {
		ask("GET", "/s3/bucket/k?X-Amz-Signature="+url.QueryEscape(s))
		ask("GET", "/s3/bucket/k?response-expires=%0a"+url.QueryEscape(s))
		ask("GET", "/"+url.PathEscape(s))
	}
	// Panics whose values hold secrets.
	set := w.integrations
	w.integrations = nil
	ask("GET", "/s3/bucket/k")
	w.integrations = set
	for _, v := range []any{
		testSecret,
		&url.Error{Op: "Get", URL: testSecret, Err: http.ErrServerClosed},
		struct{ S string }{testSecret},
	} {
		func() {
			defer func() { wire.LogPanic(w.Handler.log, recover()) }()
			panic(v)
		}()
	}
	if !strings.Contains(w.log.String(), "nil pointer dereference") ||
		!strings.Contains(w.log.String(), `"panic":"a string"`) {
		t.Errorf("log: got %s, want both panics", w.log)
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
	output.Write(metrics)
	w.accessLog.Close()
	w.audit.Close()
	output.WriteString(w.log.String() + lines.String())
	if len(secrets) < 20 || !strings.Contains(output.String(), "s3redirect_requests_total") ||
		!strings.Contains(output.String(), `"key":"k"`) {
		t.Fatalf(
			"got %d secrets and %d bytes of output, want 20 secrets, metrics and an access log",
			len(secrets), output.Len(),
		)
	}
	for _, s := range secrets {
		if s != "" && strings.Contains(output.String(), s) {
			at := strings.Index(output.String(), s)
			before := output.String()[max(0, at-200):at]
			t.Fatalf("the secret %.12s… appears after: …%s", s, before)
		}
	}
}
