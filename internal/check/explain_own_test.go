package check

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOwnCredentials checks that the check names the cause if the proxy's own credentials cannot be
// loaded.
func TestOwnCredentials(t *testing.T) {
	profile := func(text string) func(*testing.T) {
		return func(t *testing.T) {
			t.Setenv("AWS_PROFILE", "work")
			if err := os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	// metadata is an instance metadata service without a token for this caller.
	metadata := func(host string) func(*testing.T) {
		return func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(
				func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(http.StatusUnauthorized)
				}))
			t.Cleanup(server.Close)
			t.Setenv("AWS_EC2_METADATA_DISABLED", "")
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
			t.Setenv("KUBERNETES_SERVICE_HOST", host)
		}
	}
	const source = "[profile s]\naws_access_key_id = AKIA\naws_secret_access_key = s\n"
	for name, c := range map[string]struct {
		set            func(*testing.T)
		reason, remedy string
	}{
		"an unknown profile": {profile("[profile other]\n"), "no profile work", "AWS_PROFILE"},
		"no SSO session": {profile("[profile work]\nsso_start_url = https://x.example/start\n" +
			"sso_region = us-east-1\nsso_account_id = 123456789012\nsso_role_name = r\n"),
			"the SSO session has expired", "aws sso login --profile work"},
		"an MFA prompt": {profile("[profile work]\nrole_arn = arn:aws:iam::123456789012:role/r\n" +
			"source_profile = s\nmfa_serial = arn:aws:iam::123456789012:mfa/ann\n" + source),
			"MFA code", "mfa_serial"},
		"hop limit in a container": {metadata("10.0.0.1"), "hop limit is probably 1",
			"--http-put-response-hop-limit 2"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, name := range []string{
				"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN",
				"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
				"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_PROFILE",
			} {
				t.Setenv(name, "")
			}
			home := t.TempDir()
			t.Setenv("HOME", home)
			t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
			t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			c.set(t)
			w := newWorld()
			w.replace("    access_key_id: "+key+"\n    secret_access_key: "+secret+"\n", "")
			steps, ok := w.check(t)
			if s := steps[1]; ok || s.Name != "credentials" ||
				!strings.Contains(s.Reason, c.reason) || !strings.Contains(s.Remedy, c.remedy) {
				t.Errorf("Run = %v with %+v, want false with credentials, %q, %q",
					ok, s, c.reason, c.remedy)
			}
			for _, s := range steps {
				checkText(t, s)
			}
		})
	}
}

// TestOwnCredentialsSign checks an integration that signs with the proxy's own credentials.
func TestOwnCredentialsSign(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_SESSION_TOKEN", "")
	w := newWorld()
	w.user.Buckets = []string{"photos"}
	w.integration = "  - {name: lab, bucket: photos, region: eu-central-1, own_credentials: true}\n"
	steps, _ := w.check(t)
	verdicts := map[string]Verdict{}
	for _, s := range steps {
		verdicts[s.Name] = s.Verdict
		checkText(t, s)
	}
	for name, want := range map[string]Verdict{
		"credentials": OK, "assume_role": Skipped, "get": OK,
	} {
		if verdicts[name] != want {
			t.Errorf("step %s = %q, want %q, of %+v", name, verdicts[name], want, steps)
		}
	}
}
