package integration

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
)

const (
	testKey    = "AKIATESTTESTTESTTEST"
	testSecret = "test/secret"
)

// viaSTS returns an integration whose STS is called with static keys.
func viaSTS(name, bucket string) config.Integration {
	c := role(name, bucket)
	c.STSEndpoint = "http://sts.localhost"
	c.AccessKeyID, c.SecretAccessKey = testKey, testSecret
	return c
}

// stsOf returns an AWSSTS whose calls go to a transport.
func stsOf(t http.RoundTripper) *AWSSTS {
	return &AWSSTS{HTTPClient: &http.Client{Transport: t}}
}

func TestAssumeRoleWithAStrictSTS(t *testing.T) {
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret})
	cloud.AddRole(fakeaws.Role{
		ARN:        role("lab", "").RoleARN,
		ExternalID: "id",
		Trusts:     []string{testKey},
		Buckets:    []string{"bucket"},
	})
	for _, c := range []struct {
		name   string
		change func(*config.Integration)
		result Result
	}{
		{"as configured", func(*config.Integration) {}, OK},
		{"no external ID", func(c *config.Integration) { c.ExternalID = "" }, Denied},
		{"another external ID", func(c *config.Integration) { c.ExternalID = "other" }, Denied},
		{"missing role", func(c *config.Integration) { c.RoleARN += "x" }, Denied},
		{"session longer than the role's maximum", func(c *config.Integration) {
			c.SessionDuration = 2 * time.Hour
		}, Denied},
		{"unknown key", func(c *config.Integration) {
			c.AccessKeyID = "AKIANOBODYNOBODYNOBO"
		}, Denied},
		{"wrong secret", func(c *config.Integration) { c.SecretAccessKey = "wrong" }, Denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := viaSTS("lab", "bucket")
			c.change(&i)
			skew := time.Hour
			sts := stsOf(fakeaws.InMemory{Handler: cloud.STS()})
			sts.Skew = func(ahead time.Duration) { skew = ahead }
			sessionPolicy, _ := i.SessionDocument()
			var asked fakeaws.AssumeRoleCall
			cloud.Intercept(func(c *fakeaws.AssumeRoleCall) error {
				asked = *c
				return nil
			})
			credentials, expires, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{
				Integration:   &i,
				SessionPolicy: sessionPolicy,
			})
			if got := Classify(err); got != c.result {
				t.Fatalf("Classify(%v) = %s, want %s", err, got, c.result)
			}
			if err != nil {
				if strings.Contains(err.Error(), testSecret) {
					t.Errorf("the error contains the secret key: %v", err)
				}
				return
			}
			if left := time.Until(expires); left < 59*time.Minute || left > time.Hour {
				t.Errorf("the session expires in %v, want an hour", left)
			}
			if asked.Policy != sessionPolicy || sessionPolicy == "" {
				t.Errorf("STS got the policy %q, want %q", asked.Policy, sessionPolicy)
			}
			if asked.SessionName != i.SessionName || asked.ExternalID != i.ExternalID {
				t.Errorf("STS got session name %q and external ID %q, want %q and %q",
					asked.SessionName, asked.ExternalID, i.SessionName, i.ExternalID)
			}
			if skew.Abs() > 2*time.Second {
				t.Errorf("skew = %v, want at most 2s", skew)
			}
			if credentials.AccessKeyID == "" || credentials.SecretAccessKey == "" ||
				credentials.SessionToken == "" {
				t.Error("the credentials are incomplete")
			}
		})
	}
}

// The session tags and the source identity are those of the configuration. A call is denied if the
// role's trust policy does not allow their actions.
func TestAssumeRoleWithTags(t *testing.T) {
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret})
	r := fakeaws.Role{ARN: role("lab", "").RoleARN, ExternalID: "id", Trusts: []string{testKey}}
	var asked fakeaws.AssumeRoleCall
	cloud.Intercept(func(c *fakeaws.AssumeRoleCall) error {
		asked = *c
		return nil
	})
	i := viaSTS("lab", "bucket")
	i.SessionTags = map[string]string{"team": "media & more", "env": ""}
	i.TransitiveTags = []string{"team"}
	i.SourceIdentity = "s3redirect"
	sts := stsOf(fakeaws.InMemory{Handler: cloud.STS()})
	for _, c := range []struct {
		tag, identity bool
		result        Result
		action        string
	}{
		{false, true, Denied, "sts:TagSession"},
		{true, false, Denied, "sts:SetSourceIdentity"},
		{true, true, OK, ""},
	} {
		r.TagSession, r.SetSourceIdentity = c.tag, c.identity
		cloud.AddRole(r)
		_, _, err := sts.AssumeRole(t.Context(), &AssumeRoleInput{Integration: &i})
		if got := Classify(err); got != c.result ||
			err != nil && !strings.Contains(err.Error(), c.action) {
			t.Errorf("AssumeRole = %v, want %s %s", err, c.result, c.action)
		}
	}
	if !maps.Equal(asked.Tags, i.SessionTags) ||
		!slices.Equal(asked.TransitiveTags, i.TransitiveTags) ||
		asked.SourceIdentity != i.SourceIdentity {
		t.Errorf("STS got the tags %v, %v and the source identity %q, want %v, %v and %q", asked.Tags,
			asked.TransitiveTags, asked.SourceIdentity, i.SessionTags, i.TransitiveTags, i.SourceIdentity)
	}
}

func TestClassifyErrorsOfTheSDK(t *testing.T) {
	body := func(status int, body string) roundTripper {
		return func(*http.Request) (*http.Response, error) { return answer(status, body), nil }
	}
	xml := func(status int, code string) roundTripper {
		return body(status, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`+
			"<Error><Type>Sender</Type><Code>"+code+"</Code><Message>m</Message></Error>"+
			"<RequestId>r</RequestId></ErrorResponse>")
	}
	interrupted := func(err error) roundTripper {
		return func(*http.Request) (*http.Response, error) {
			a := answer(200, "")
			a.Body = io.NopCloser(io.MultiReader(
				strings.NewReader("<AssumeRoleResponse><AssumeRoleResult>"), iotest.ErrReader(err)))
			return a, nil
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
		{"403 with S3's error document",
			body(403, `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`), Denied},
		{"502 without XML", body(502, "<html>bad gateway"), Unavailable},
		{"truncated document", body(200,
			"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA"), Malformed},
		{"connection lost in the body", interrupted(io.ErrUnexpectedEOF), Unavailable},
		{"timeout in the body", interrupted(context.DeadlineExceeded), Unavailable},
		{"HTML", body(200, "<html></html>"), Malformed},
		{"empty body", body(200, ""), Malformed},
		{"no credentials", body(200,
			"<AssumeRoleResponse><AssumeRoleResult></AssumeRoleResult></AssumeRoleResponse>"),
			Malformed},
		{"redirect", body(302, "<html></html>"), Malformed},
		{"connection refused", func(*http.Request) (*http.Response, error) {
			return nil, errReset
		}, Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := viaSTS("lab", "bucket")
			in := &AssumeRoleInput{Integration: &i}
			_, _, err := stsOf(c.sts).AssumeRole(context.Background(), in)
			if err == nil || Classify(err) != c.result {
				t.Errorf("Classify(%v) = %s, want %s", err, Classify(err), c.result)
			}
		})
	}
	if got := Classify(context.DeadlineExceeded); got != Unavailable {
		t.Errorf("Classify(%v) = %s, want %s", context.DeadlineExceeded, got, Unavailable)
	}
}

func answer(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status,
		Status:     http.StatusText(status),
		Header:     http.Header{"Content-Type": {"text/xml"}},
		Body:       io.NopCloser(strings.NewReader(body)),
		ProtoMajor: 1,
		ProtoMinor: 1,
	}
}

// A throttled call, and one with Retry-After, is not retried at once.
func TestRetriesAndRetryAfter(t *testing.T) {
	seconds := func(s string) http.Header { return http.Header{"Retry-After": {s}} }
	date := func(clock string) http.Header {
		return http.Header{
			"Retry-After": {"Fri, 31 Dec 1999 " + clock + " GMT"},
			"Date":        {"Fri, 31 Dec 1999 12:00:00 GMT"},
		}
	}
	for name, c := range map[string]struct {
		status int
		header http.Header
		calls  int
		want   time.Duration
	}{
		"500":                         {500, http.Header{}, 2, 0},
		"503 with seconds":            {503, seconds("30"), 1, 30 * time.Second},
		"503 with a date":             {503, date("12:02:00"), 1, 2 * time.Minute},
		"503 with a date in the past": {503, date("11:00:00"), 1, 0},
		"503 with an invalid value":   {503, seconds("-5"), 1, 0},
		"429":                         {429, http.Header{}, 1, 0},
		"429 with seconds":            {429, seconds("7"), 1, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			sts := stsOf(roundTripper(func(*http.Request) (*http.Response, error) {
				calls++
				a := answer(c.status,
					"<ErrorResponse><Error><Code>Whatever</Code></Error></ErrorResponse>")
				a.Header = c.header
				return a, nil
			}))
			i := viaSTS("lab", "bucket")
			_, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
			if got := retryAfter(err, time.Now()); err == nil || got != c.want {
				t.Errorf("retryAfter(%v) = %v, want %v", err, got, c.want)
			}
			if calls != c.calls {
				t.Errorf("%d calls, want %d", calls, c.calls)
			}
		})
	}
}

func TestSkewIsReadFromErrorResponses(t *testing.T) {
	var skew time.Duration
	sts := stsOf(roundTripper(func(*http.Request) (*http.Response, error) {
		a := answer(403,
			"<ErrorResponse><Error><Code>RequestExpired</Code></Error></ErrorResponse>")
		a.Header.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		return a, nil
	}))
	sts.Skew = func(ahead time.Duration) { skew = ahead }
	i := viaSTS("lab", "bucket")
	_, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
	if err == nil || skew.Round(time.Minute) != time.Hour {
		t.Errorf("AssumeRole = %v, skew %v, want an error and an hour", err, skew)
	}
	sts.Clock = func() time.Time { return time.Now().Add(time.Hour) }
	_, _, err = sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
	if err == nil || skew.Round(time.Minute) != 2*time.Hour {
		t.Errorf("an hour ahead: AssumeRole = %v, skew %v, want an error and two hours", err, skew)
	}
}

func TestKeepDropsUnusedClients(t *testing.T) {
	sts := stsOf(roundTripper(func(*http.Request) (*http.Response, error) { return nil, errReset }))
	one, two := viaSTS("lab", "bucket"), viaSTS("lab", "bucket")
	two.SecretAccessKey = "another"
	for _, i := range []config.Integration{one, two, two} {
		_, _, _ = sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i}) // fails
	}
	if n := len(sts.clients); n != 2 {
		t.Errorf("%d clients, want 2", n)
	}
	sts.Keep([]*config.Integration{&two})
	if _, ok := sts.clients[sts.clientKey(&two)]; !ok || len(sts.clients) != 1 {
		t.Errorf("%d clients after Keep, the kept one among them: %v, want 1", len(sts.clients), ok)
	}
}

// The process's own credentials come from the SDK's chain. The STS is that of the region.
func TestOwnCredentialsAndRegionalSTS(t *testing.T) {
	ownEnvironment(t)
	setOwnKey(t, testKey)
	const (
		arn    = "arn:aws:iam::123456789012:role/r"
		arnGov = "arn:aws-us-gov:iam::123456789012:role/r"
	)
	for _, c := range []struct{ region, arn, host string }{
		{"us-east-1", arn, "sts.us-east-1.amazonaws.com"},
		{"eu-central-1", arn, "sts.eu-central-1.amazonaws.com"},
		{"cn-north-1", "arn:aws-cn:iam::123456789012:role/r", "sts.cn-north-1.amazonaws.com.cn"},
		{"us-gov-west-1", arnGov, "sts.us-gov-west-1.amazonaws.com"},
		{"auto", arn, "sts.us-east-1.amazonaws.com"},
		{"auto", arnGov, "sts.us-gov-west-1.amazonaws.com"},
	} {
		var host, authorization string
		sts := stsOf(roundTripper(func(r *http.Request) (*http.Response, error) {
			host, authorization = r.URL.Host, r.Header.Get("Authorization")
			return nil, errReset
		}))
		i := role("lab", "bucket")
		i.Region, i.RoleARN = c.region, c.arn
		_, _, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
		if !errors.Is(err, errReset) || host != c.host {
			t.Errorf("%s: AssumeRole = %v at %s, want %v at %s",
				c.region, err, host, errReset, c.host)
		}
		if !strings.Contains(authorization, testKey) {
			t.Errorf("%s: signed with %.60s, want %s", c.region, authorization, testKey)
		}
	}
}

// TestRetryPause checks that the pause before a retry comes from the injected source.
func TestRetryPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []time.Time
		sts := stsOf(roundTripper(func(*http.Request) (*http.Response, error) {
			calls = append(calls, time.Now())
			return nil, errReset
		}))
		sts.Random = func() float64 { return 0.5 }
		i := viaSTS("lab", "bucket")
		_, _, err := sts.AssumeRole(t.Context(), &AssumeRoleInput{Integration: &i})
		if err == nil || len(calls) != 2 || calls[1].Sub(calls[0]) != retryPause/2 {
			t.Errorf("AssumeRole = %v with calls at %v, want an error and two calls %v apart",
				err, calls, retryPause/2)
		}
	})
}
