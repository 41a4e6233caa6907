package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/chromedp/chromedp"
)

// TestCORSPolicyAllowsCrossOriginReads applies the output of "policy cors" to a bucket in radosgw.
// Only then may a page of another origin than the proxy's read an object in Chromium.
func TestCORSPolicyAllowsCrossOriginReads(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	g := radosgw(t)
	bucket := g.createBucket(t, "cors-document")
	g.put(t, bucket, "text.txt", []byte("0123456789"))
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<!DOCTYPE html><title>A page</title>")
	}))
	t.Cleanup(pages.Close)
	origin := strings.Replace(pages.URL, "127.0.0.1", "app.localhost", 1)
	text := `
public_url: http://media.localhost
cors: {allowed_origins: ["` + origin + `"]}
integrations:
  - name: keys
    bucket: cors-document
` + withKeys
	p := startProxy(t, text, g.env()...)
	dir := writeConfig(t, text)
	env := append(g.env(), "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0")

	tab := browser(t)
	if _, err := chromedp.Run(tab, chromedp.Navigate(origin)); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		t.Helper()
		script := fmt.Sprintf(`fetch(%q, {headers: {Range: "bytes=2-4"}}).then(
			async r => [
				r.status,
				r.headers.get("Content-Range"),
				r.headers.get("ETag") != null,
				await r.text(),
			].join(" "),
			() => "refused")`, p.url("/s3/cors-document/text.txt"))
		got, err := chromedp.Run(tab, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	wantCheck := func(when string, want int, text string) {
		t.Helper()
		code, out := command(t, dir, env, "check", "--config", "config.yaml",
			"--sample", "s3://cors-document/text.txt")
		if code != want || !strings.Contains(out, text) {
			t.Errorf("check %s: exit code %d, want %d and %q in the output:\n%s",
				when, code, want, text, out)
		}
	}
	if got := read(); got != "refused" {
		t.Errorf("fetch without CORS rules = %q, want %q", got, "refused")
	}
	wantCheck("without CORS rules", 1, "failed   cors")

	var out, notes strings.Builder
	cmd := exec.CommandContext(t.Context(), built(t), "policy", "cors", "--config", "config.yaml",
		"--integration", "keys")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &notes
	if err := cmd.Run(); err != nil {
		t.Fatalf("policy cors: %v:\n%s", err, notes.String())
	}
	var rules []struct {
		AllowedHeaders, AllowedMethods, AllowedOrigins, ExposeHeaders []string
		MaxAgeSeconds                                                 int32
	}
	if err := json.Unmarshal([]byte(out.String()), &rules); err != nil {
		t.Fatal(err)
	}
	var configured types.CORSConfiguration
	for _, r := range rules {
		configured.CORSRules = append(configured.CORSRules, types.CORSRule{
			AllowedHeaders: r.AllowedHeaders,
			AllowedMethods: r.AllowedMethods,
			AllowedOrigins: r.AllowedOrigins,
			ExposeHeaders:  r.ExposeHeaders,
			MaxAgeSeconds:  aws.Int32(r.MaxAgeSeconds),
		})
	}
	put := &s3.PutBucketCorsInput{Bucket: &bucket, CORSConfiguration: &configured}
	if _, err := g.client(g.owner).PutBucketCors(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	const want = "206 bytes 2-4/10 true 234"
	if got := read(); got != want {
		t.Errorf("fetch with CORS rules = %q, want %q", got, want)
	}
	wantCheck("with CORS rules", 0, "also in ranges")
}
