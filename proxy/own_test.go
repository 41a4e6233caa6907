package proxy

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"s3redirect/internal/config"
)

// TestOwnCredentialsProblem checks the problem of a proxy without credentials.
func TestOwnCredentialsProblem(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_PROFILE":                 "canary-profile",
		"AWS_CONFIG_FILE":             filepath.Join(t.TempDir(), "config"),
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "credentials"),
		"AWS_EC2_METADATA_DISABLED":   "true",
		"AWS_ACCESS_KEY_ID":           "",
	} {
		t.Setenv(name, value)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Config, _ *Options) {
			for n := range c.Integrations {
				c.Integrations[n].AccessKeyID, c.Integrations[n].SecretAccessKey = "", ""
			}
		})
		defer w.set.Close()
		resp := w.ask("GET", "/s3/bucket/key")
		p := problemIn(t, resp)
		if p.Status != 502 || p.Code != "own_credentials" ||
			!strings.Contains(p.Detail, "operator must fix the proxy's own credentials") ||
			strings.Contains(p.Detail, "canary") {
			t.Errorf("got %+v, want 502 own_credentials, without the cause", p)
		}
		if !strings.Contains(w.log.String(), "canary-profile") {
			t.Errorf("log: got %s, want the name of the profile", w.log)
		}
	})
}
