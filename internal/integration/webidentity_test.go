package integration

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"s3redirect/internal/config"
)

const testToken = "canary.token.of-the-web-identity"

// viaWebIdentity returns an integration with a web identity, and its file.
func viaWebIdentity(t *testing.T) (i config.Integration, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "token")
	i = role("lab", "bucket")
	i.ExternalID, i.WebIdentityTokenFile, i.SessionDuration = "", file, 12*time.Hour
	return i, file
}

func writeToken(t *testing.T, file, token string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The role is assumed with the current token, without a signature, and without own credentials.
func TestWebIdentity(t *testing.T) {
	ownEnvironment(t)
	i, file := viaWebIdentity(t)
	var form url.Values
	sts := stsOf(roundTripper(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
		if signature := r.Header.Get("Authorization"); signature != "" {
			t.Errorf("the call is signed: %s", signature)
		}
		const action = "AssumeRoleWithWebIdentity"
		return answer(200, "<"+action+"Response><"+action+"Result><Credentials>"+
			"<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"+
			"<SessionToken>t</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>"+
			"</Credentials></"+action+"Result></"+action+"Response>"), nil
	}))
	for _, token := range []string{testToken, "renewed"} {
		writeToken(t, file, token)
		c, expires, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{
			Integration:   &i,
			SessionPolicy: "{}",
		})
		if err != nil || c.AccessKeyID != "ASIA" || c.SessionToken != "t" || expires.Year() != 2030 {
			t.Fatalf("AssumeRole = %s until %v, %v, want ASIA until 2030", c.AccessKeyID, expires, err)
		}
		for key, want := range map[string]string{
			"Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": token,
			"RoleArn": i.RoleARN, "RoleSessionName": i.SessionName, "DurationSeconds": "43200",
			"Policy": "{}",
		} {
			if got := form.Get(key); got != want {
				t.Errorf("STS got %s = %q, want %q", key, got, want)
			}
		}
	}
}

func TestWebIdentityErrors(t *testing.T) {
	ownEnvironment(t)
	fails := func(code string) roundTripper {
		return func(*http.Request) (*http.Response, error) {
			return answer(400, "<ErrorResponse><Error><Code>"+code+"</Code><Message>"+testToken+
				" is bad</Message></Error></ErrorResponse>"), nil
		}
	}
	for _, c := range []struct {
		name, token string
		sts         roundTripper
		want        Result
	}{
		{"rejected", testToken, fails("InvalidIdentityToken"), Denied},
		{"expired", testToken, fails("ExpiredTokenException"), Denied},
		{"provider unreachable", testToken, fails("IDPCommunicationError"), Unavailable},
		{"connection lost", testToken, func(*http.Request) (*http.Response, error) {
			return nil, errReset
		}, Unavailable},
		{"empty", "", nil, OwnCredentials},
		{"too long", strings.Repeat("canary", maxToken), nil, OwnCredentials},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, file := viaWebIdentity(t)
			writeToken(t, file, c.token)
			_, _, err := stsOf(c.sts).AssumeRole(context.Background(),
				&AssumeRoleInput{Integration: &i})
			if got := Classify(err); got != c.want || strings.Contains(err.Error(), "canary") {
				t.Errorf("Classify(%v) = %s, want %s without the token", err, got, c.want)
			}
			var api smithy.APIError
			if errors.As(err, &api) && strings.Contains(api.ErrorMessage(), "canary") {
				t.Errorf("the error's message is %q, want it without the token", api.ErrorMessage())
			}
		})
	}
	i, file := viaWebIdentity(t)
	_, _, err := stsOf(nil).AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
	if Classify(err) != OwnCredentials || !errors.Is(err, os.ErrNotExist) ||
		strings.Contains(err.Error(), file) {
		t.Errorf("missing file: AssumeRole = %v, want ErrNotExist without the name", err)
	}
}
