package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// tenantsConfig has two tenants, one of them with a nested one, in one bucket. Each reads with a
// session of its own, of the same role.
func tenantsConfig(bucket string, c *candidate) string {
	var b strings.Builder
	b.WriteString("\nintegrations:\n")
	for _, tenant := range [][2]string{
		{"a", "prefix: tenant-a/\n    blocked_prefixes: [tenant-a/raw/]"},
		{"nested", "prefix: tenant-a/nested/"},
		{"b", "prefix: \"tenant b \u00fc/\"\n    list_bucket: true"},
	} {
		fmt.Fprintf(&b, "  - name: %s\n    bucket: %s\n    %s%s", tenant[0], bucket, tenant[1],
			c.settings)
	}
	return b.String()
}

// TestTenants reads the objects of tenants in one bucket through the proxy. The session that signs a
// URL of one tenant, taken from the STS and used by hand, opens no object of another.
func TestTenants(t *testing.T) {
	t.Parallel()
	eachNarrowing(t, func(t *testing.T, _ string, c *candidate) {
		const bucket = "tenants"
		c.createBucket(t, bucket)
		objects := map[string]string{ // the integrations that serve them; "" means none
			"tenant-a/x":          "a",
			"tenant-a/deep/er/x":  "a",
			"tenant-a/nested/x":   "nested",
			"tenant-a/nested-2/x": "a",
			"tenant b ü/x y":      "b",
			"tenant-ab/x":         "",
			"tenant-a":            "",
			"x":                   "",
		}
		for key := range objects {
			c.put(t, bucket, key, []byte("content of "+key))
		}
		c.put(t, bucket, "tenant-a/raw/x", []byte("raw"))
		between := c.sts(t)
		config := strings.ReplaceAll(tenantsConfig(bucket, c), "sts_endpoint: ${ENDPOINT}",
			"sts_endpoint: "+between.url)
		p := startProxy(t, config, c.env...)
		signers := map[string]string{} // the integrations by the access key IDs of their sessions
		for key, integration := range objects {
			a := fetch(t, http.MethodGet, p.url(path(bucket, key)))
			if integration == "" {
				if a.status != http.StatusNotFound || !strings.Contains(string(a.body), "bucket_not_permitted") {
					t.Errorf("GET %s = %d %s, want 404 bucket_not_permitted", key, a.status, a.body)
				}
				continue
			}
			if a.status != http.StatusFound {
				t.Errorf("GET %s = %d %s, want 302", key, a.status, a.body)
				continue
			}
			credential := a.query().Get("X-Amz-Credential")
			id, _, _ := strings.Cut(credential, "/")
			if other, used := signers[id]; used && other != integration {
				t.Errorf("%s is signed by the session of %s, want one of %s", key, other, integration)
			}
			signers[id] = integration
			got := fetch(t, http.MethodGet, a.header.Get("Location"))
			if got.status != http.StatusOK || string(got.body) != "content of "+key {
				t.Errorf("%s leads to %d %q, want its content", key, got.status, got.body)
			}
		}
		blocked := fetch(t, http.MethodGet, p.url(path(bucket, "tenant-a/raw/x")))
		if blocked.status != http.StatusForbidden || !strings.Contains(string(blocked.body), "viewer_denied") {
			t.Errorf("GET of a blocked key = %d %s, want 403 viewer_denied", blocked.status, blocked.body)
		}
		checkSessionsOfTenants(t, c, between, bucket, objects, signers)
	})
}

// checkSessionsOfTenants uses the proxy's sessions by hand. That of tenant-a/ can read what is nested
// under it, because its policy names the whole prefix.
func checkSessionsOfTenants(
	t *testing.T, c *candidate, between *sts, bucket string, objects, signers map[string]string,
) {
	t.Helper()
	between.mu.Lock()
	defer between.mu.Unlock()
	used := map[string]bool{}
	for _, keys := range between.sessions { // some may be those of the next window
		owner, ok := signers[keys.AccessKeyID]
		if !ok {
			continue
		}
		used[owner] = true
		for key, integration := range objects {
			want := http.StatusForbidden
			if owner == integration || owner == "a" && integration == "nested" {
				want = http.StatusOK
			}
			if got := c.status(t, keys, http.MethodGet, bucket, key); got != want {
				t.Errorf("the session of %s opens %s with %d, want %d", owner, key, got, want)
			}
		}
		if got := c.status(t, keys, http.MethodGet, bucket, "tenant-a/raw/x"); got != http.StatusForbidden {
			t.Errorf("a session opens a blocked key with %d, want 403", got)
		}
	}
	if len(used) != 3 {
		t.Errorf("the sessions of %v were tried, want those of 3 tenants", used)
	}
	for n, form := range between.asked {
		var policy struct{ Statement []any }
		if err := json.Unmarshal([]byte(form.Get("Policy")), &policy); err != nil || policy.Statement == nil {
			t.Errorf("AssumeRole call %d has the session policy %s, %v", n+1, form.Get("Policy"), err)
		}
	}
}

// TestCheckOfTenants runs check on the tenants. The stores limit their sessions.
func TestCheckOfTenants(t *testing.T) {
	t.Parallel()
	eachNarrowing(t, func(t *testing.T, _ string, c *candidate) {
		const bucket = "tenants-checked"
		c.createBucket(t, bucket)
		c.put(t, bucket, "tenant-a/x", []byte("content"))
		dir := writeConfig(t, tenantsConfig(bucket, c))
		env := append([]string{"LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0"}, c.env...)
		_, output := command(t, dir, env, "check", "--config", "config.yaml", "--integration", "a",
			"--sample", "s3://"+bucket+"/tenant-a/x", "--json")
		var result struct {
			Steps []struct{ Step, Verdict, Reason string }
		}
		if err := json.Unmarshal([]byte(output), &result); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		verdict := ""
		for _, s := range result.Steps {
			if s.Step == "scope" {
				verdict = s.Verdict + ": " + s.Reason
			}
		}
		if verdict != "ok: a session for another prefix cannot read the sample" {
			t.Errorf("scope is %q, want ok; check printed\n%s", verdict, output)
		}
		_, output = command(t, dir, env, "presign", "--config", "config.yaml",
			"s3://"+bucket+"/tenant-c/x")
		if !strings.Contains(output, "no integration serves this key of bucket "+bucket) {
			t.Errorf("presign of a key under no prefix prints %s", output)
		}
	})
}
