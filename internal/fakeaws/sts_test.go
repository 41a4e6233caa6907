package fakeaws

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func TestAssumeRole(t *testing.T) {
	a := newAccount(t)
	a.sleep(300 * time.Millisecond)
	in := assumeReader()
	in.RoleSessionName = aws.String("s3redirect@host")
	in.DurationSeconds = aws.Int32(1800)
	out, err := a.stsClient(userKey, canary, "").AssumeRole(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	c := out.Credentials
	if want := noon.Add(30 * time.Minute); !c.Expiration.Equal(want) {
		t.Errorf("Expiration = %v, want %v", c.Expiration, want)
	}
	token := *c.SessionToken
	if len(token) != 1200 || !strings.ContainsAny(token, "+/") || !strings.HasSuffix(token, "=") {
		t.Errorf("token of %d characters, want 1200 of base64 that end in =", len(token))
	}
	if !strings.HasPrefix(*c.AccessKeyId, "ASIA") {
		t.Errorf("AccessKeyId = %s, want ASIA…", *c.AccessKeyId)
	}
	const sessionARN = "arn:aws:sts::111122223333:assumed-role/reader/s3redirect@host"
	if got := *out.AssumedRoleUser.Arn; got != sessionARN {
		t.Errorf("AssumedRoleUser.Arn = %s, want %s", got, sessionARN)
	}

	client := a.stsClient(*c.AccessKeyId, *c.SecretAccessKey, token)
	identity, err := client.GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *identity.Arn != sessionARN || *identity.Account != "111122223333" {
		t.Errorf("GetCallerIdentity() = %s of account %s, want %s of account 111122223333",
			*identity.Arn, *identity.Account, sessionARN)
	}
}

func TestSessionARNOmitsRolePath(t *testing.T) {
	a := newAccount(t)
	const roleARN = "arn:aws:iam::111122223333:role/of/a/path"
	a.AddRole(Role{ARN: roleARN, Trusts: []string{userKey}})
	in := assumeReader()
	in.RoleArn = aws.String(roleARN)
	out, err := a.stsClient(userKey, canary, "").AssumeRole(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	const want = "arn:aws:sts::111122223333:assumed-role/path/test"
	if got := *out.AssumedRoleUser.Arn; got != want {
		t.Errorf("AssumedRoleUser.Arn = %s, want %s", got, want)
	}
}

func TestAssumeRoleRefuses(t *testing.T) {
	const otherARN = "arn:aws:iam::111122223333:role/other" // trusts another user
	role := func(arn string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String(arn) }
	}
	externalID := func(id *string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.ExternalId = id }
	}
	sessionName := func(name string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String(name) }
	}
	seconds := func(n int32) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(n) }
	}
	policy := func(text string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.Policy = aws.String(text) }
	}
	const (
		denied    = "403 AccessDenied"
		invalid   = "400 ValidationError"
		malformed = "400 MalformedPolicyDocument"
	)
	tests := []struct {
		name   string
		change func(in *sts.AssumeRoleInput)
		key    string
		secret string
		drift  time.Duration // of the client's clock
		want   string        // status and code
	}{
		{name: "unknown key", key: "AKIANOBODY", want: "403 InvalidClientTokenId"},
		{name: "wrong secret", secret: "wrong", want: "403 SignatureDoesNotMatch"},
		{name: "16 minutes behind", drift: -16 * time.Minute, want: "403 SignatureDoesNotMatch"},
		{name: "16 minutes ahead", drift: 16 * time.Minute, want: "403 SignatureDoesNotMatch"},
		{name: "missing role", change: role(readerARN + "s"), want: denied},
		{name: "role that trusts another user", change: role(otherARN), want: denied},
		{name: "wrong external ID", change: externalID(aws.String("ext-2")), want: denied},
		{name: "no external ID", change: externalID(nil), want: denied},
		{name: "external ID with a space", change: externalID(aws.String("ext 1")), want: invalid},
		{name: "external ID of one character", change: externalID(aws.String("e")), want: invalid},
		{name: "not an ARN", change: role("reader, please, it is me"), want: invalid},
		{name: "ARN of a user", change: role("arn:aws:iam::111122223333:user/x"), want: invalid},
		{name: "session name with a space", change: sessionName("a b"), want: invalid},
		{name: "session name of 65 characters", change: sessionName(strings.Repeat("a", 65)),
			want: invalid},
		{name: "duration too short", change: seconds(899), want: invalid},
		{name: "duration too long", change: seconds(3601), want: invalid},
		{name: "policy too long",
			change: policy(allow("arn:aws:s3:::" + strings.Repeat("x", 2000) + "/*")),
			want:   invalid},
		{
			name:   "policy with a character above U+00FF",
			change: policy(allow("arn:aws:s3:::photos/\u65e5/*")),
			want:   invalid,
		},
		{name: "policy that is not JSON", change: policy("{"), want: malformed},
		{name: "policy without statements", change: policy(`{"Version":"2012-10-17"}`),
			want: malformed},
		{name: "policy without a version",
			change: policy(strings.Replace(allow("*"), "2012-10-17", "", 1)), want: malformed},
		{
			name: "policy with a principal",
			change: policy(strings.Replace(allow("*"),
				`"Effect"`, `"Principal":"*","Effect"`, 1)),
			want: malformed,
		},
		{name: "policy whose resource is not an ARN", change: policy(allow("photos/*")),
			want: malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			a.AddRole(Role{ARN: otherARN, Trusts: []string{"AKIAOTHER"}})
			in := assumeReader()
			if tt.change != nil {
				tt.change(in)
			}
			key, secret := userKey, canary
			if tt.key != "" {
				key = tt.key
			}
			if tt.secret != "" {
				secret = tt.secret
			}
			a.drift = tt.drift
			_, err := a.stsClient(key, secret, "").AssumeRole(t.Context(), in)
			checkSTSError(t, err, tt.want)
			if n := a.Calls().Sessions; n != 0 {
				t.Errorf("%d sessions were issued, want none", n)
			}
		})
	}
}

// checkSTSError checks that the SDK parsed an error response with the status and code in want, and
// that the error contains no secret.
func checkSTSError(t *testing.T, err error, want string) {
	t.Helper()
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		t.Fatalf("err = %v, want %s", err, want)
	}
	if got := fmt.Sprintf("%d %s", response.HTTPStatusCode(), api.ErrorCode()); got != want {
		t.Fatalf("got %s (%v), want %s", got, err, want)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("error contains a secret: %v", err)
	}
}

// TestSTSRefusesRequests sends requests that an SDK would not send.
func TestSTSRefusesRequests(t *testing.T) {
	const (
		call     = "Action=GetCallerIdentity&Version=2011-06-15"
		mismatch = "403 SignatureDoesNotMatch"
	)
	without := func(header string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Del(header) }
	}
	with := func(header, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(header, value) }
	}
	body := func(text string) func(*http.Request) {
		return func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(text)) }
	}
	host := func(name string) func(*http.Request) {
		return func(r *http.Request) { r.Host = name }
	}
	tests := []struct {
		name   string
		method string
		body   string
		change func(r *http.Request)
		want   string // status and code
	}{
		{"GET", "GET", "", nil, "405 InvalidAction"},
		{"no signature", "POST", call, without("Authorization"), "403 MissingAuthenticationToken"},
		{"another scheme", "POST", call, with("Authorization", "Bearer x"), "400 IncompleteSignature"},
		{"no date", "POST", call, without("X-Amz-Date"), "400 IncompleteSignature"},
		{"another body", "POST", call, body(call + "+"), mismatch},
		{"another content type", "POST", call,
			with("Content-Type", "application/x-www-form-urlencoded; x"), mismatch},
		{"not a form", "POST", call, with("Content-Type", "application/json"), "400 ValidationError"},
		{"another version", "POST", "Action=GetCallerIdentity&Version=2011-06-16", nil,
			"400 InvalidAction"},
		{"another action", "POST", "Action=GetFederationToken&Version=2011-06-15", nil,
			"400 InvalidAction"},
		{"endpoint of another region", "POST", call, host("sts.us-east-1.amazonaws.com"), mismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			r, err := http.NewRequestWithContext(t.Context(), tt.method, a.sts.URL,
				strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.ContentLength = -1 // not signed, so that a test can change the body
			if err := v4.NewSigner().SignHTTP(t.Context(), userCredentials, r,
				hexSHA256(tt.body), "sts", west, noon); err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(r)
			}
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			code := response{body: string(body)}.code()
			if got := fmt.Sprintf("%d %s", resp.StatusCode, code); got != tt.want {
				t.Errorf("got %s: %s; want %s", got, body, tt.want)
			}
			a.checkNoSecrets(nil, string(body))
		})
	}
}

func TestRoleChaining(t *testing.T) {
	a := newAccount(t)
	const farARN = "arn:aws:iam::999988887777:role/far"
	a.AddRole(Role{
		ARN:         farARN,
		Trusts:      []string{readerARN},
		Buckets:     []string{"photos"},
		MaxDuration: 12 * time.Hour,
	})
	c := a.session("")
	client := a.stsClient(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	in := &sts.AssumeRoleInput{
		RoleArn:         aws.String(farARN),
		RoleSessionName: aws.String("chained"),
	}
	if _, err := client.AssumeRole(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in.DurationSeconds = aws.Int32(3601)
	_, err := client.AssumeRole(t.Context(), in)
	checkSTSError(t, err, "400 ValidationError")

	in.DurationSeconds = nil
	_, err = a.stsClient(c.AccessKeyID, c.SecretAccessKey, "another token").
		AssumeRole(t.Context(), in)
	checkSTSError(t, err, "403 InvalidClientTokenId")
	a.sleep(time.Hour)
	_, err = client.AssumeRole(t.Context(), in)
	checkSTSError(t, err, "403 ExpiredToken")
}

func TestIntercept(t *testing.T) {
	a := newAccount(t)
	client := a.stsClient(userKey, canary, "")

	a.Intercept(func(*AssumeRoleCall) error {
		return fmt.Errorf("busy: %w", &Fault{400, "Throttling", "Rate exceeded"})
	})
	_, err := client.AssumeRole(t.Context(), assumeReader())
	checkSTSError(t, err, "400 Throttling")

	a.Intercept(func(*AssumeRoleCall) error { return errors.New(canary) })
	_, err = client.AssumeRole(t.Context(), assumeReader())
	checkSTSError(t, err, "500 InternalFailure")

	a.Intercept(func(c *AssumeRoleCall) error {
		c.Expires = noon.Add(3*time.Second + 1)
		return nil
	})
	out, err := client.AssumeRole(t.Context(), assumeReader())
	if err != nil {
		t.Fatal(err)
	}
	if want := noon.Add(3 * time.Second); !out.Credentials.Expiration.Equal(want) {
		t.Errorf("Expiration = %v, want %v", out.Credentials.Expiration, want)
	}

	blocked, release := make(chan struct{}), make(chan struct{})
	a.Intercept(func(*AssumeRoleCall) error {
		close(blocked)
		<-release
		return nil
	})
	done := make(chan error)
	go func() {
		_, err := client.AssumeRole(t.Context(), assumeReader())
		done <- err
	}()
	<-blocked
	a.Intercept(nil)
	if got := a.Calls(); got.AssumeRole != 4 || got.Sessions != 1 {
		t.Errorf("while a call is blocked: %d calls and %d sessions, want 4 and 1",
			got.AssumeRole, got.Sessions)
	}
	a.session("") // a blocked call does not block others
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestExpiredSessionsAreDeleted(t *testing.T) {
	a := newAccount(t)
	a.session("")
	a.sleep(26 * time.Hour)
	a.session("")
	if len(a.sessions) != 1 {
		t.Errorf("%d sessions are stored, want 1", len(a.sessions))
	}
}
