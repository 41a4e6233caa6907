package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/policy"
)

const (
	testKey    = "AKIATESTTESTTESTTEST"
	testSecret = "test/secret"
)

// viaSTS is role with an STS of its own, asked with static keys.
func viaSTS(name, bucket string) config.Integration {
	c := role(name, bucket)
	c.STSEndpoint, c.AccessKeyID, c.SecretAccessKey = "http://sts.localhost", testKey, testSecret
	return c
}

func TestAssumeRoleAtAnSTSThatChecks(t *testing.T) {
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret})
	cloud.AddRole(fakeaws.Role{ARN: role("lab", "").RoleARN, ExternalID: "id", Trusts: []string{testKey}, Buckets: []string{"bucket"}})
	for _, c := range []struct {
		name   string
		mend   func(*config.Integration)
		result Result
	}{
		{"as configured", func(*config.Integration) {}, OK},
		{"no external ID", func(c *config.Integration) { c.ExternalID = "" }, Denied},
		{"another external ID", func(c *config.Integration) { c.ExternalID = "other" }, Denied},
		{"a role that does not exist", func(c *config.Integration) { c.RoleARN += "x" }, Denied},
		{"a session longer than the role's", func(c *config.Integration) { c.SessionDuration = 2 * time.Hour }, Denied},
		{"a key that does not exist", func(c *config.Integration) { c.AccessKeyID = "AKIANOBODYNOBODYNOBO" }, Denied},
		{"a wrong secret", func(c *config.Integration) { c.SecretAccessKey = "wrong" }, Denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := viaSTS("lab", "bucket")
			c.mend(&i)
			skew := time.Hour
			sts := &AWSSTS{HTTPClient: &http.Client{Transport: fakeaws.InMemory{Handler: cloud.STS()}}, Skew: func(ahead time.Duration) { skew = ahead }}
			narrowed, _ := policy.Session(&i)
			var asked fakeaws.AssumeRoleCall
			cloud.Intercept(func(c *fakeaws.AssumeRoleCall) error { asked = *c; return nil })
			credentials, expires, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i, SessionPolicy: narrowed})
			if got := Classify(err); got != c.result {
				t.Fatalf("%s, want %s: %v", got, c.result, err)
			}
			if err != nil {
				if strings.Contains(err.Error(), testSecret) {
					t.Errorf("the error shows the secret key: %v", err)
				}
				return
			}
			if left := time.Until(expires); left < 59*time.Minute || left > time.Hour {
				t.Errorf("expires in %v", left)
			}
			if asked.Policy != narrowed || narrowed == "" || asked.SessionName != i.SessionName || asked.ExternalID != i.ExternalID {
				t.Errorf("STS was asked %+v", asked)
			}
			if skew.Abs() > 2*time.Second {
				t.Errorf("the clocks differ by %v", skew)
			}
			if credentials.AccessKeyID == "" || credentials.SecretAccessKey == "" || credentials.SessionToken == "" {
				t.Error("the credentials are not complete")
			}
		})
	}
}

func TestClassifyWhatTheSDKSays(t *testing.T) {
	xml := func(status int, code string) roundTripper {
		return func(*http.Request) (*http.Response, error) {
			body := fmt.Sprintf(`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>m</Message></Error><RequestId>r</RequestId></ErrorResponse>`, code)
			return answer(status, body), nil
		}
	}
	for _, c := range []struct {
		name   string
		sts    roundTripper
		result Result
	}{
		{"AccessDenied", xml(403, "AccessDenied"), Denied},
		{"ValidationError", xml(400, "ValidationError"), Denied},
		{"RegionDisabledException", xml(403, "RegionDisabledException"), Denied},
		{"ExpiredToken", xml(403, "ExpiredToken"), Denied},
		{"Throttling", xml(400, "Throttling"), Throttled},
		{"ThrottlingException", xml(400, "ThrottlingException"), Throttled},
		{"RequestLimitExceeded", xml(503, "RequestLimitExceeded"), Throttled},
		{"429", xml(429, "Whatever"), Throttled},
		{"InternalFailure", xml(500, "InternalFailure"), Unavailable},
		{"503", xml(503, "ServiceUnavailable"), Unavailable},
		{"S3's XML, 403", func(*http.Request) (*http.Response, error) {
			return answer(403, `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`), nil
		}, Denied},
		{"no XML, 502", func(*http.Request) (*http.Response, error) { return answer(502, "<html>bad gateway"), nil }, Unavailable},
		{"half a body", func(*http.Request) (*http.Response, error) {
			return answer(200, "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA"), nil
		}, Malformed},
		{"a connection that broke in the middle", func(*http.Request) (*http.Response, error) {
			a := answer(200, "")
			a.Body = io.NopCloser(io.MultiReader(strings.NewReader("<AssumeRoleResponse><AssumeRoleResult>"), iotest.ErrReader(io.ErrUnexpectedEOF)))
			return a, nil
		}, Unavailable},
		{"time that ran out in the middle", func(*http.Request) (*http.Response, error) {
			a := answer(200, "")
			a.Body = io.NopCloser(io.MultiReader(strings.NewReader("<AssumeRoleResponse>"), iotest.ErrReader(context.DeadlineExceeded)))
			return a, nil
		}, Unavailable},
		{"another document", func(*http.Request) (*http.Response, error) { return answer(200, "<html></html>"), nil }, Malformed},
		{"nothing", func(*http.Request) (*http.Response, error) { return answer(200, ""), nil }, Malformed},
		{"no credentials", func(*http.Request) (*http.Response, error) {
			return answer(200, "<AssumeRoleResponse><AssumeRoleResult></AssumeRoleResult></AssumeRoleResponse>"), nil
		}, Malformed},
		{"a redirect to a page", func(*http.Request) (*http.Response, error) { return answer(302, "<html></html>"), nil }, Malformed},
		{"refused", func(*http.Request) (*http.Response, error) { return nil, errReset }, Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := viaSTS("lab", "bucket")
			sts := &AWSSTS{HTTPClient: &http.Client{Transport: c.sts}}
			_, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
			if err == nil || Classify(err) != c.result {
				t.Errorf("%v is %s, want %s", err, Classify(err), c.result)
			}
		})
	}
	if got := Classify(context.DeadlineExceeded); got != Unavailable {
		t.Errorf("a timeout is %s", got)
	}
}

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {"text/xml"}},
		Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 1, ProtoMinor: 1}
}

// An STS that asks for patience gets it: it is not asked again at once, as one is whose connection broke.
func TestPatienceThatSTSAsksFor(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header http.Header
		calls  int
		wait   time.Duration
	}{
		"a 500, without a word":        {500, http.Header{}, 2, 0},
		"a 503 in seconds":             {503, http.Header{"Retry-After": {"30"}}, 1, 30 * time.Second},
		"by its own clock":             {503, http.Header{"Retry-After": {"Fri, 31 Dec 1999 12:02:00 GMT"}, "Date": {"Fri, 31 Dec 1999 12:00:00 GMT"}}, 1, 2 * time.Minute},
		"in the past":                  {503, http.Header{"Retry-After": {"Fri, 31 Dec 1999 11:00:00 GMT"}, "Date": {"Fri, 31 Dec 1999 12:00:00 GMT"}}, 1, 0},
		"a 429":                        {429, http.Header{}, 1, 0},
		"a 429 that says for how long": {429, http.Header{"Retry-After": {"7"}}, 1, 7 * time.Second},
		"nonsense":                     {503, http.Header{"Retry-After": {"-5"}}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			sts := &AWSSTS{HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				calls++
				a := answer(c.status, "<ErrorResponse><Error><Code>Whatever</Code></Error></ErrorResponse>")
				a.Header = c.header
				return a, nil
			})}}
			i := viaSTS("lab", "bucket")
			_, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
			if got := retryAfter(err, time.Now()); err == nil || calls != c.calls || got != c.wait {
				t.Errorf("%d calls, and %v to wait: %v", calls, got, err)
			}
		})
	}
}

// A clock that is so far off that STS refuses every call shows in the refusals.
func TestSkewOfRefusals(t *testing.T) {
	var skew time.Duration
	sts := &AWSSTS{Skew: func(ahead time.Duration) { skew = ahead }, HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		a := answer(403, "<ErrorResponse><Error><Code>RequestExpired</Code></Error></ErrorResponse>")
		a.Header.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		return a, nil
	})}}
	i := viaSTS("lab", "bucket")
	if _, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i}); err == nil || skew.Round(time.Minute) != time.Hour {
		t.Errorf("%v ahead; %v", skew, err)
	}
}

// Clients of integrations that are gone are let go.
func TestClientsAreBounded(t *testing.T) {
	sts := &AWSSTS{HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errReset })}}
	one, two := viaSTS("lab", "bucket"), viaSTS("lab", "bucket")
	two.SecretAccessKey = "another"
	for _, i := range []config.Integration{one, two, two} {
		_, _, _ = sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i}) // it fails
	}
	if len(sts.clients) != 2 {
		t.Errorf("%d clients", len(sts.clients))
	}
	sts.Keep([]config.Integration{two})
	if _, ok := sts.clients[clientKeyOf(&two)]; !ok || len(sts.clients) != 1 {
		t.Errorf("%d clients are left", len(sts.clients))
	}
}

// The process's own credentials come from the SDK's chain, and the STS is the region's own.
func TestOwnCredentialsAndRegionalSTS(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", testKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	for _, c := range []struct{ region, arn, host string }{
		{"us-east-1", "arn:aws:iam::123456789012:role/r", "sts.us-east-1.amazonaws.com"},
		{"eu-central-1", "arn:aws:iam::123456789012:role/r", "sts.eu-central-1.amazonaws.com"},
		{"cn-north-1", "arn:aws-cn:iam::123456789012:role/r", "sts.cn-north-1.amazonaws.com.cn"},
		{"us-gov-west-1", "arn:aws-us-gov:iam::123456789012:role/r", "sts.us-gov-west-1.amazonaws.com"},
		{"auto", "arn:aws:iam::123456789012:role/r", "sts.us-east-1.amazonaws.com"},
		{"auto", "arn:aws-us-gov:iam::123456789012:role/r", "sts.us-gov-west-1.amazonaws.com"},
	} {
		var host, authorization string
		sts := &AWSSTS{HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			host, authorization = r.URL.Host, r.Header.Get("Authorization")
			return nil, errReset
		})}}
		i := role("lab", "bucket")
		i.Region, i.RoleARN = c.region, c.arn
		_, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
		if !errors.Is(err, errReset) || host != c.host || !strings.Contains(authorization, testKey) {
			t.Errorf("%s: asked %s, want %s; signed %.60s; %v", c.region, host, c.host, authorization, err)
		}
	}
}
