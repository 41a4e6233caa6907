package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ownEnvironment leaves the process without credentials and shared files.
func ownEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_CA_BUNDLE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "credentials"))
}

// setOwnKey sets the process's own access key in the environment.
func setOwnKey(t *testing.T, id string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", id)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
}

// writeOwnKey writes the process's own access key to the shared credentials file.
func writeOwnKey(t *testing.T, id string) {
	t.Helper()
	text := "[default]\naws_access_key_id = " + id + "\naws_secret_access_key = " + testSecret + "\n"
	if err := os.WriteFile(
		os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// keyedSTS is an STS that records the access keys of its callers. It rejects those in rejected with
// an error code, and answers the others with a session.
type keyedSTS struct {
	rejected map[string]string
	keys     []string
}

func (k *keyedSTS) RoundTrip(r *http.Request) (*http.Response, error) {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(credential, "/")
	k.keys = append(k.keys, key)
	if code := k.rejected[key]; code != "" {
		return answer(403, "<ErrorResponse><Error><Code>"+code+"</Code></Error></ErrorResponse>"),
			nil
	}
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	return answer(200, "<AssumeRoleResponse><AssumeRoleResult><Credentials>"+
		"<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"+
		"<SessionToken>t</SessionToken><Expiration>"+expires+"</Expiration>"+
		"</Credentials></AssumeRoleResult></AssumeRoleResponse>"), nil
}

// assume assumes a role with the process's own credentials.
func assume(sts *AWSSTS) error {
	i := role("lab", "bucket")
	_, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
	return err
}

func TestOwnCredentialsAreLoadedAgain(t *testing.T) {
	const first, second = "AKIAFIRST", "AKIASECOND"
	for name, c := range map[string]struct {
		set    func(t *testing.T, id string)
		rotate func(t *testing.T, sts *AWSSTS)
		want   []string
	}{
		"nothing changed": {setOwnKey, func(*testing.T, *AWSSTS) {}, []string{first, first}},
		"the shared file changed": {writeOwnKey, func(t *testing.T, _ *AWSSTS) {
			writeOwnKey(t, second)
		}, []string{first, second}},
		"the shared file is broken": {writeOwnKey, func(t *testing.T, _ *AWSSTS) {
			writeOwnKey(t, "")
		}, []string{first, first}},
		"a reload": {setOwnKey, func(t *testing.T, sts *AWSSTS) {
			setOwnKey(t, second)
			sts.Reload()
		}, []string{first, second}},
	} {
		t.Run(name, func(t *testing.T) {
			ownEnvironment(t)
			c.set(t, first)
			server := &keyedSTS{}
			sts := stsOf(server)
			if err := assume(sts); err != nil {
				t.Fatal(err)
			}
			c.rotate(t, sts)
			if err := assume(sts); err != nil || !slices.Equal(server.keys, c.want) {
				t.Errorf("AssumeRole = %v with the keys %v, want nil with %v", err, server.keys, c.want)
			}
		})
	}
}

// TestRejectedOwnCredentials checks that own credentials that STS rejects are loaded again, and
// that the call is repeated once, with other credentials only.
func TestRejectedOwnCredentials(t *testing.T) {
	const first, second = "AKIAFIRST", "AKIASECOND"
	for _, c := range []struct {
		code    string
		rotated bool
		also    string // the code that rejects the second key
		want    []string
		ok      bool
	}{
		{"InvalidClientTokenId", true, "", []string{first, second}, true},
		{"ExpiredToken", true, "", []string{first, second}, true},
		{"ExpiredTokenException", true, "", []string{first, second}, true},
		{"SignatureDoesNotMatch", true, "", []string{first, second}, true},
		{"InvalidClientTokenId", true, "InvalidClientTokenId", []string{first, second}, false},
		{"InvalidClientTokenId", false, "", []string{first}, false},
		{"AccessDenied", true, "", []string{first}, false},
	} {
		t.Run(c.code, func(t *testing.T) {
			ownEnvironment(t)
			setOwnKey(t, first)
			server := &keyedSTS{}
			sts := stsOf(server)
			if err := assume(sts); err != nil {
				t.Fatal(err)
			}
			server.keys = nil
			server.rejected = map[string]string{first: c.code, second: c.also}
			if c.rotated {
				setOwnKey(t, second)
			}
			if err := assume(sts); (err == nil) != c.ok || !slices.Equal(server.keys, c.want) {
				t.Errorf("AssumeRole = %v with the keys %v, want success %v with %v",
					err, server.keys, c.ok, c.want)
			}
		})
	}
}

// The keys of an integration are not replaced by the process's own.
func TestRejectedKeysOfAnIntegration(t *testing.T) {
	ownEnvironment(t)
	setOwnKey(t, "AKIAOWN")
	server := &keyedSTS{rejected: map[string]string{testKey: "InvalidClientTokenId"}}
	i := viaSTS("lab", "bucket")
	_, _, err := stsOf(server).AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
	if want := []string{testKey}; Classify(err) != Denied || !slices.Equal(server.keys, want) {
		t.Errorf("AssumeRole = %v with the keys %v, want a denial with %v", err, server.keys, want)
	}
}

// TestOwnCredentialsThatCannotBeLoaded checks which failures the operator must fix. STS is not
// called.
func TestOwnCredentialsThatCannotBeLoaded(t *testing.T) {
	profile := func(text string) func(*testing.T) {
		return func(t *testing.T) {
			t.Setenv("AWS_PROFILE", "work")
			if err := os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	endpoint := func(status int) func(*testing.T) {
		return func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(
				func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			t.Cleanup(server.Close)
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL)
			t.Setenv("AWS_MAX_ATTEMPTS", "1")
		}
	}
	const source = "[profile s]\naws_access_key_id = AKIA\naws_secret_access_key = s\n"
	for name, c := range map[string]struct {
		set  func(*testing.T)
		want Result
	}{
		"none":               {func(*testing.T) {}, OwnCredentials},
		"an unknown profile": {profile("[profile other]\n"), OwnCredentials},
		"no SSO session": {profile("[profile work]\nsso_start_url = https://x.example/start\n" +
			"sso_region = us-east-1\nsso_account_id = 123456789012\nsso_role_name = r\n"),
			OwnCredentials},
		"an MFA prompt": {profile("[profile work]\nrole_arn = arn:aws:iam::123456789012:role/r\n" +
			"source_profile = s\nmfa_serial = arn:aws:iam::123456789012:mfa/ann\n" + source),
			OwnCredentials},
		"a container's endpoint that refuses": {endpoint(403), OwnCredentials},
		"a container's endpoint that fails":   {endpoint(500), Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			ownEnvironment(t)
			t.Setenv("HOME", t.TempDir())
			c.set(t)
			server := &keyedSTS{}
			err := assume(stsOf(server))
			if got := Classify(err); got != c.want || !errors.Is(err, ErrOwnCredentials) {
				t.Errorf("Classify(%v) = %s, want %s with ErrOwnCredentials", err, got, c.want)
			}
			if len(server.keys) > 0 {
				t.Errorf("STS was called %d times, want 0", len(server.keys))
			}
		})
	}
}

// Credentials can also become unavailable after they were loaded, when they must be refreshed.
func TestOwnCredentialsThatCannotBeRefreshed(t *testing.T) {
	ownEnvironment(t)
	served := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if served++; served > 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		soon := time.Now().Add(time.Second).UTC().Format(time.RFC3339) // within the refresh window
		fmt.Fprintf(w, `{"AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": "t", `+
			`"Expiration": %q}`, soon)
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL)
	if err := assume(stsOf(&keyedSTS{})); Classify(err) != OwnCredentials {
		t.Errorf("Classify(%v) = %s, want %s", err, Classify(err), OwnCredentials)
	}
}
