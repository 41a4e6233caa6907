package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3redirect/internal/check"
)

// varnishWith starts Varnish with a file of VCL and more arguments.
func varnishWith(t *testing.T, host, vcl string, args ...string) *front {
	t.Helper()
	need(t, "varnishd")
	dir := t.TempDir()
	path := filepath.Join(dir, "default.vcl")
	if err := os.WriteFile(path, []byte(vcl), 0o600); err != nil {
		t.Fatal(err)
	}
	// Without -j none, Varnish would read the file as a user who has no access to it.
	return startFront(t, dir, host, append([]string{
		"varnishd", "-j", "none", "-F", "-n", filepath.Join(dir, "work"), "-a", host, "-f", path,
		"-s", "malloc,64m",
	}, args...)...)
}

// behindShippedVarnish starts Varnish as shipped.
func behindShippedVarnish(t *testing.T, p *proxy) *front {
	t.Helper()
	host, port, _ := strings.Cut(p.host, ":")
	dir := shipped(t, "varnish", `"127.0.0.1"`, `"`+host+`"`, `"8080"`, `"`+port+`"`)
	vcl := readFile(t, filepath.Join(dir, "default.vcl"))
	var limits []string
	for _, limit := range []string{"http_resp_hdr_len=16k", "http_resp_size=64k"} {
		if !strings.Contains(vcl, "-p "+limit) {
			t.Fatalf("deploy/varnish/default.vcl does not name -p %s", limit)
		}
		limits = append(limits, "-p", limit)
	}
	return varnishWith(t, freeAddress(t), vcl, limits...)
}

// plainVarnish starts Varnish with a backend and more VCL.
func plainVarnish(t *testing.T, p *proxy, more string) *front {
	t.Helper()
	host, port, _ := strings.Cut(p.host, ":")
	return varnishWith(t, freeAddress(t), fmt.Sprintf(
		"vcl 4.1; backend default { .host = %q; .port = %q; } %s", host, port, more))
}

// fronted is a proxy whose bucket, fronted, has an object, with what check needs to try it.
type fronted struct {
	*proxy
	config string
	env    []string
}

func startFronted(t *testing.T) *fronted {
	t.Helper()
	s := minio(t)
	config := `
integrations:
  - name: role
    bucket: fronted
` + withRole
	s.createBucket(t, "fronted")
	s.put(t, "fronted", "folder/a.png", []byte("12345"))
	return &fronted{startProxy(t, config, s.env()...), config, s.env()}
}

// steps returns the steps of check that concern a front.
func (f *fronted) steps(t *testing.T, front *front) (steps []check.Step) {
	t.Helper()
	dir := writeConfig(t, "public_url: http://"+front.host+"\n"+f.config)
	env := append([]string{"LISTEN=127.0.0.1:1", "ADMIN_LISTEN=127.0.0.1:2"}, f.env...)
	_, out := command(t, dir, env, "check", "--config", "config.yaml", "--json",
		"--sample", "s3://fronted/folder/a.png")
	if strings.Contains(out, "X-Amz-") {
		t.Errorf("check prints a part of a signed URL: %s", out)
	}
	var result struct{ Steps []check.Step }
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("check --json: %v in %s", err, out)
	}
	for _, s := range result.Steps {
		if s.Name == "front" {
			steps = append(steps, s)
		}
	}
	return steps
}

// The shipped fronts pass all steps.
func TestCheckThroughShippedFronts(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "haproxy", "caddy", "varnishd", "apache2")
	p := startFronted(t)
	for name, f := range map[string]*front{
		"nginx":   behindShippedNginx(t, p.proxy, "proxy_cache cache; proxy_cache_valid 302 1h;"),
		"haproxy": behindShippedHAProxy(t, p.proxy),
		"caddy":   behindShippedCaddy(t, "Caddyfile", p.proxy),
		"varnish": behindShippedVarnish(t, p.proxy),
		"apache":  behindShippedApache(t, p.proxy, ""),
		"none":    {host: p.host},
	} {
		steps := p.steps(t, f)
		if len(steps) != 6 {
			t.Errorf("%s: %d steps front, want 6", name, len(steps))
		}
		for _, s := range steps {
			if s.Verdict != check.OK {
				t.Errorf("%s: got %s: %s → %s, want ok", name, s.Verdict, s.Reason, s.Remedy)
			}
		}
	}
}

// Each fault of a front is found, with a remedy that names the setting.
func TestCheckThroughFaultyFronts(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "varnishd")
	p := startFronted(t)
	location := func(directives string) *front {
		host := freeAddress(t)
		return nginxWith(t, host, fmt.Sprintf(
			"server { listen %s; location /s3/ { %s } }", host,
			strings.ReplaceAll(directives, "PROXY", "http://"+p.host)))
	}
	const buffers = " proxy_buffer_size 16k; proxy_buffers 4 16k; proxy_busy_buffers_size 16k; "
	for _, c := range []struct {
		name    string
		front   *front
		verdict check.Verdict
		reason  string
		remedy  string
	}{
		{"nginx with 4 kB", location("proxy_pass PROXY;"), check.Warning,
			"answers 502 if the Location is long", "proxy_buffer_size 16k"},
		{"nginx with a cache", location("proxy_pass PROXY; proxy_cache cache;" + buffers), check.Failed,
			"turns HEAD into GET", "proxy_cache_convert_head off"},
		{"nginx with a path", location("proxy_pass PROXY/s3/;" + buffers), check.Warning,
			"changes or rejects paths with", "proxy_pass without a URI part"},
		{"nginx with expires", location("proxy_pass PROXY; expires 12h;" + buffers), check.Failed,
			"lengthens max-age", "no expires"},
		{"nginx that caches for all",
			location("proxy_pass PROXY; proxy_cache cache; proxy_ignore_headers Cache-Control Vary; " +
				"proxy_cache_valid 302 1h; proxy_cache_key $uri; proxy_cache_convert_head off;" + buffers),
			check.Warning, "redirects scripts", "Sec-Fetch-Mode"},
		{"varnish", plainVarnish(t, p.proxy, ""), check.Failed, "turns HEAD into GET", "return (pass)"},
		{"varnish with a longer max-age", plainVarnish(t, p.proxy, `sub vcl_recv { return (pass); }
sub vcl_deliver { set resp.http.Cache-Control = "private, max-age=86400"; }`), check.Failed,
			"lengthens max-age", "resp.http.Cache-Control"},
	} {
		found := false
		steps := p.steps(t, c.front)
		for _, s := range steps {
			found = found || s.Verdict == c.verdict && strings.Contains(s.Reason, c.reason) &&
				strings.Contains(s.Remedy, c.remedy)
		}
		if !found {
			t.Errorf("%s: got %+v, want one %s with %q and %q", c.name, steps, c.verdict, c.reason, c.remedy)
		}
	}
}

// Varnish as shipped passes every odd key on byte for byte.
func TestOddKeysBehindVarnish(t *testing.T) {
	t.Parallel()
	need(t, "varnishd")
	g, p := startOddKeys(t, "odd-varnish")
	f := behindShippedVarnish(t, p)
	checkKeys(t, &g.store, f.asProxy(), "odd-varnish", oddKeys)
	checkBatch(t, f.asProxy(), "odd-varnish")
}
