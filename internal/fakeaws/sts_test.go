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
	out, err := a.stsClient(userKey, canary, "").AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String(readerARN), RoleSessionName: aws.String("s3redirect@host"), ExternalId: aws.String("ext-1"), DurationSeconds: aws.Int32(1800),
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := noon.Add(30 * time.Minute); !out.Credentials.Expiration.Equal(want) {
		t.Errorf("expires %v, want %v", out.Credentials.Expiration, want)
	}
	token := *out.Credentials.SessionToken
	if len(token) != 1200 || !strings.ContainsAny(token, "+/") || !strings.HasSuffix(token, "=") || !strings.HasPrefix(*out.Credentials.AccessKeyId, "ASIA") {
		t.Errorf("a session with key %s and a token of %d characters", *out.Credentials.AccessKeyId, len(token))
	}
	if got, want := *out.AssumedRoleUser.Arn, "arn:aws:sts::111122223333:assumed-role/reader/s3redirect@host"; got != want {
		t.Errorf("is %s, want %s", got, want)
	}

	a.AddRole(Role{ARN: "arn:aws:iam::111122223333:role/of/a/path", Trusts: []string{userKey}})
	out2, err := a.stsClient(userKey, canary, "").AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::111122223333:role/of/a/path"), RoleSessionName: aws.String("test")})
	if err != nil || *out2.AssumedRoleUser.Arn != "arn:aws:sts::111122223333:assumed-role/path/test" {
		t.Errorf("a role with a path: %v, %v", out2, err)
	}

	me, err := a.stsClient(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, token).GetCallerIdentity(t.Context(), nil)
	if err != nil || *me.Arn != *out.AssumedRoleUser.Arn || *me.Account != "111122223333" {
		t.Errorf("GetCallerIdentity: %+v, %v", me, err)
	}
}

func TestAssumeRoleRefuses(t *testing.T) {
	long := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::` + strings.Repeat("x", 2000) + `/*"}]}`
	tests := []struct {
		name   string
		change func(in *sts.AssumeRoleInput)
		key    string
		secret string
		drift  time.Duration // of the caller's clock
		status int
		code   string
	}{
		{name: "unknown key", key: "AKIANOBODY", status: 403, code: "InvalidClientTokenId"},
		{name: "wrong secret", secret: "wrong", status: 403, code: "SignatureDoesNotMatch"},
		{name: "16 minutes behind", drift: -16 * time.Minute, status: 403, code: "SignatureDoesNotMatch"},
		{name: "16 minutes ahead", drift: 16 * time.Minute, status: 403, code: "SignatureDoesNotMatch"},
		{name: "no such role", change: func(in *sts.AssumeRoleInput) { *in.RoleArn += "s" }, status: 403, code: "AccessDenied"},
		{name: "a role that trusts another", change: func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam::111122223333:role/other") }, status: 403, code: "AccessDenied"},
		{name: "wrong external ID", change: func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("ext-2") }, status: 403, code: "AccessDenied"},
		{name: "no external ID", change: func(in *sts.AssumeRoleInput) { in.ExternalId = nil }, status: 403, code: "AccessDenied"},
		{name: "an external ID with a space", change: func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("ext 1") }, status: 400, code: "ValidationError"},
		{name: "an external ID of one character", change: func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("e") }, status: 400, code: "ValidationError"},
		{name: "no ARN", change: func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("reader, please, it is me") }, status: 400, code: "ValidationError"},
		{name: "a user's ARN", change: func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam::111122223333:user/x") }, status: 400, code: "ValidationError"},
		{name: "a session name with a space", change: func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a b") }, status: 400, code: "ValidationError"},
		{name: "a session name of 65", change: func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String(strings.Repeat("a", 65)) }, status: 400, code: "ValidationError"},
		{name: "too short", change: func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(899) }, status: 400, code: "ValidationError"},
		{name: "too long", change: func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) }, status: 400, code: "ValidationError"},
		{name: "a policy too long", change: func(in *sts.AssumeRoleInput) { in.Policy = &long }, status: 400, code: "ValidationError"},
		{name: "a policy that is no JSON", change: func(in *sts.AssumeRoleInput) { in.Policy = aws.String("{") }, status: 400, code: "MalformedPolicyDocument"},
		{name: "a policy without statements", change: func(in *sts.AssumeRoleInput) { in.Policy = aws.String(`{"Version":"2012-10-17"}`) }, status: 400, code: "MalformedPolicyDocument"},
		{name: "a policy without a version", change: func(in *sts.AssumeRoleInput) {
			in.Policy = aws.String(strings.Replace(allow("*"), "2012-10-17", "", 1))
		}, status: 400, code: "MalformedPolicyDocument"},
		{name: "a policy with a principal", change: func(in *sts.AssumeRoleInput) {
			in.Policy = aws.String(strings.Replace(allow("*"), `"Effect"`, `"Principal":"*","Effect"`, 1))
		}, status: 400, code: "MalformedPolicyDocument"},
		{name: "a policy on no ARN", change: func(in *sts.AssumeRoleInput) { in.Policy = aws.String(allow("photos/*")) }, status: 400, code: "MalformedPolicyDocument"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			a.AddRole(Role{ARN: "arn:aws:iam::111122223333:role/other", Trusts: []string{"AKIAOTHER"}})
			in := &sts.AssumeRoleInput{RoleArn: aws.String(readerARN), RoleSessionName: aws.String("test"), ExternalId: aws.String("ext-1")}
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
			wantSTS(t, err, tt.status, tt.code)
			if a.Calls().Sessions != 0 {
				t.Error("a session was issued")
			}
		})
	}
}

// wantSTS sees that the SDK understood a refusal, and that it holds no secret.
func wantSTS(t *testing.T, err error, status int, code string) {
	t.Helper()
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) || api.ErrorCode() != code || response.HTTPStatusCode() != status {
		t.Fatalf("%v, want %d %s", err, status, code)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("a secret is in %v", err)
	}
}

// TestSTSRefusesRequests holds what an SDK would not send.
func TestSTSRefusesRequests(t *testing.T) {
	const call = "Action=GetCallerIdentity&Version=2011-06-15"
	signed := v4.NewSigner()
	tests := []struct {
		name   string
		method string
		body   string
		change func(r *http.Request)
		status int
		code   string
	}{
		{"a GET", "GET", "", nil, 405, "InvalidAction"},
		{"no signature", "POST", call, func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingAuthenticationToken"},
		{"another scheme", "POST", call, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 400, "IncompleteSignature"},
		{"no date", "POST", call, func(r *http.Request) { r.Header.Del("X-Amz-Date") }, 400, "IncompleteSignature"},
		{"another body", "POST", call, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(call + "+")) }, 403, "SignatureDoesNotMatch"},
		{"another content type", "POST", call, func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded; x") }, 403, "SignatureDoesNotMatch"},
		{"no form", "POST", call, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400, "ValidationError"},
		{"another version", "POST", "Action=GetCallerIdentity&Version=2011-06-16", nil, 400, "InvalidAction"},
		{"another action", "POST", "Action=GetFederationToken&Version=2011-06-15", nil, 400, "InvalidAction"},
		{"another region's endpoint", "POST", call, func(r *http.Request) { r.Host = "sts.us-east-1.amazonaws.com" }, 403, "SignatureDoesNotMatch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			r, err := http.NewRequestWithContext(t.Context(), tt.method, a.sts.URL, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.ContentLength = -1 // not signed, so that a test can change the body
			if err := signed.SignHTTP(t.Context(), aws.Credentials{AccessKeyID: userKey, SecretAccessKey: canary}, r, hexSHA256(tt.body), "sts", west, noon); err != nil {
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
			body, _ := io.ReadAll(resp.Body)
			if got := (answer{body: string(body)}).code(); resp.StatusCode != tt.status || got != tt.code {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, body, tt.status, tt.code)
			}
			a.noSecrets(nil, string(body))
		})
	}
}

func TestChaining(t *testing.T) {
	a := newAccount(t)
	const far = "arn:aws:iam::999988887777:role/far"
	a.AddRole(Role{ARN: far, Trusts: []string{readerARN}, Buckets: []string{"photos"}, MaxDuration: 12 * time.Hour})
	c := a.session("")
	client := a.stsClient(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	in := &sts.AssumeRoleInput{RoleArn: aws.String(far), RoleSessionName: aws.String("chained")}
	if _, err := client.AssumeRole(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in.DurationSeconds = aws.Int32(3601)
	_, err := client.AssumeRole(t.Context(), in)
	wantSTS(t, err, 400, "ValidationError")

	in.DurationSeconds = nil
	_, err = a.stsClient(c.AccessKeyID, c.SecretAccessKey, "another token").AssumeRole(t.Context(), in)
	wantSTS(t, err, 403, "InvalidClientTokenId")
	a.sleep(time.Hour)
	_, err = client.AssumeRole(t.Context(), in)
	wantSTS(t, err, 403, "ExpiredToken")
}

func TestIntercept(t *testing.T) {
	a := newAccount(t)
	in := &sts.AssumeRoleInput{RoleArn: aws.String(readerARN), RoleSessionName: aws.String("test"), ExternalId: aws.String("ext-1")}
	client := a.stsClient(userKey, canary, "")

	a.Intercept(func(*AssumeRoleCall) error {
		return fmt.Errorf("busy: %w", &Fault{Status: 400, Code: "Throttling", Message: "Rate exceeded"})
	})
	_, err := client.AssumeRole(t.Context(), in)
	wantSTS(t, err, 400, "Throttling")

	a.Intercept(func(*AssumeRoleCall) error { return errors.New(canary) })
	_, err = client.AssumeRole(t.Context(), in)
	wantSTS(t, err, 500, "InternalFailure")

	a.Intercept(func(c *AssumeRoleCall) error { c.Expires = noon.Add(3*time.Second + 1); return nil })
	out, err := client.AssumeRole(t.Context(), in)
	if err != nil || !out.Credentials.Expiration.Equal(noon.Add(3*time.Second)) {
		t.Errorf("a shortened session: %v, %v", out, err)
	}

	held, release := make(chan struct{}), make(chan struct{})
	a.Intercept(func(c *AssumeRoleCall) error { close(held); <-release; return nil })
	done := make(chan error)
	go func() {
		_, err := client.AssumeRole(t.Context(), in)
		done <- err
	}()
	<-held
	a.Intercept(nil)
	if got := a.Calls(); got.AssumeRole != 4 || got.Sessions != 1 {
		t.Errorf("counted %+v while a call is held", got)
	}
	a.session("") // another is not held up
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestExpiredSessionsAreForgotten(t *testing.T) {
	a := newAccount(t)
	a.session("")
	a.sleep(26 * time.Hour)
	a.session("")
	if len(a.sessions) != 1 {
		t.Errorf("%d sessions are kept", len(a.sessions))
	}
}
