package integration

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
)

// atStore returns an integration of a store that is not AWS, whose buckets' regions are looked up.
func atStore(c config.Integration, endpoint string) config.Integration {
	c.Region, c.Endpoint, c.PathStyle = "auto", endpoint, true
	return c
}

// locationStore answers unsigned requests with 403 and signed ones with a status and a body.
func locationStore(status int, body string, requests *[]*http.Request) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		*requests = append(*requests, r)
		if !r.URL.Query().Has("X-Amz-Signature") {
			return answer(http.StatusForbidden, ""), nil
		}
		return answer(status, body), nil
	}
}

const storeURL = "https://store.example"

// locationOf returns the response to GetBucketLocation.
func locationOf(text string) string {
	return `<?xml version="1.0"?><LocationConstraint ` +
		`xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` + text + `</LocationConstraint>`
}

func TestStoresAreAskedForLocation(t *testing.T) {
	failure := func(code, region string) string {
		return "<Error><Code>" + code + "</Code><Region>" + region + "</Region></Error>"
	}
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
		err    error
	}{
		"a region":             {200, locationOf("eu-central-003"), "eu-central-003", nil},
		"a region in capitals": {200, locationOf("\n  US_East\n"), "US_East", nil},
		"an empty constraint":  {200, locationOf(""), "us-east-1", nil},
		"EU":                   {200, locationOf("EU"), "eu-west-1", nil},
		"an invalid region":    {200, locationOf("evil.example/"), "us-east-1", nil},
		"a long region":        {200, locationOf(strings.Repeat("a", 65)), "us-east-1", nil},
		"another document":     {200, "<html></html>", "us-east-1", nil},
		"no document":          {200, "anything", "us-east-1", nil},
		"not allowed":          {403, failure("AccessDenied", ""), "us-east-1", nil},
		"not implemented":      {501, failure("NotImplemented", ""), "us-east-1", nil},
		"another region": {
			400, failure("AuthorizationHeaderMalformed", "garage"), "garage", nil,
		},
		"a region in another error": {403, failure("AccessDenied", "garage"), "us-east-1", nil},
		"a missing bucket":          {404, failure("NoSuchBucket", ""), "", ErrNoSuchBucket},
		"a failure":                 {503, "", "", ErrRegionUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests []*http.Request
				w := newWorld(t, &fakeSTS{},
					[]config.Integration{atStore(staticKeys("lab", "bucket"), storeURL)},
					withTransport(locationStore(c.status, c.body, &requests)))
				defer w.Close()
				for range 2 {
					place, _, err := w.bucket("bucket").locate(context.Background(), time.Now())
					if !errors.Is(err, c.err) || err == nil && place.Region != c.want {
						t.Errorf("locate() = %+v, %v, want %q, %v", place, err, c.want, c.err)
					}
				}
				if len(requests) != 2 {
					t.Fatalf("%d requests, want HEAD and GET", len(requests))
				}
				got := requests[1]
				if got.Method != "GET" || got.URL.Path != "/bucket/" ||
					!got.URL.Query().Has("location") {
					t.Errorf("the second request is %s %s, want GET /bucket/?location", got.Method,
						got.URL.Redacted())
				}
			})
		})
	}
}

// With a role, GetBucketLocation is signed with the session. If STS denies it, the request fails
// like any other that needs the session, and the failure says nothing about the bucket.
func TestLocationIsAskedWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := true
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			if denied {
				return 0, 0, status(403)
			}
			return 0, time.Hour, nil
		}}
		c := atStore(role("lab", "bucket"), "https://store.example")
		c.STSEndpoint = "https://store.example"
		var requests []*http.Request
		w := newWorld(t, sts, []config.Integration{c},
			withTransport(locationStore(200, locationOf("r1"), &requests)))
		defer w.Close()
		_, _, err := w.bucket("bucket").locate(context.Background(), time.Now())
		var failed *AssumeRoleError
		if !errors.As(err, &failed) || failed.Integration != "lab" {
			t.Errorf("locate() = %v, want an AssumeRoleError of lab", err)
		}
		denied = false
		time.Sleep(2 * denialPause)
		place, _, err := w.bucket("bucket").locate(context.Background(), time.Now())
		if err != nil || place.Region != "r1" {
			t.Fatalf("locate() = %+v, %v, want r1", place, err)
		}
		last := requests[len(requests)-1]
		if !last.URL.Query().Has("X-Amz-Security-Token") {
			t.Errorf("the request %s has no session token", last.URL.Redacted())
		}
	})
}

// The only region of Cloudflare R2 is auto, so R2 is not asked.
func TestR2IsNotAsked(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://0123abcd.r2.cloudflarestorage.com":         "auto",
		"https://0123ABCD.eu.r2.cloudflarestorage.com":      "auto",
		"https://r2.cloudflarestorage.com":                  "us-east-1",
		"https://0123abcd.r2.cloudflarestorage.com.example": "us-east-1",
		"https://xr2.cloudflarestorage.com":                 "us-east-1",
	} {
		var requests []*http.Request
		w := newWorld(t, &fakeSTS{},
			[]config.Integration{atStore(staticKeys("lab", "bucket"), endpoint)},
			withTransport(locationStore(403, "", &requests)))
		place, _, err := w.bucket("bucket").locate(context.Background(), time.Now())
		if err != nil || place.Region != want || (len(requests) == 0) != (want == "auto") {
			t.Errorf("%s: locate() = %+v, %v after %d requests, want %s", endpoint, place, err,
				len(requests), want)
		}
		w.Close()
	}
}

// Errors of the request must not contain the signed URL.
func TestLocationErrorsContainNoSignature(t *testing.T) {
	w := newWorld(t, &fakeSTS{},
		[]config.Integration{atStore(staticKeys("lab", "bucket"), "https://store.example")},
		withTransport(roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet {
				return nil, io.ErrUnexpectedEOF
			}
			return answer(http.StatusForbidden, ""), nil
		})))
	defer w.Close()
	_, _, err := w.bucket("bucket").locate(context.Background(), time.Now())
	if !errors.Is(err, ErrRegionUnavailable) || strings.Contains(err.Error(), "X-Amz") {
		t.Errorf("locate() = %v, want ErrRegionUnavailable without a URL", err)
	}
}

// The region is asked for at the region's host: acceleration's hosts may not report it.
func TestRegionIsNotAskedOfAcceleration(t *testing.T) {
	i := role("lab", "bucket")
	i.Region, i.Accelerate = "auto", true
	var host string
	q := &Question{
		Integration: &i,
		Bucket:      "bucket",
		Client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			host = r.URL.Host
			a := answer(http.StatusForbidden, "")
			a.Header = http.Header{"X-Amz-Bucket-Region": {"eu-west-1"}}
			return a, nil
		})},
		Clock: time.Now,
	}
	region, _, err := q.Ask(t.Context())
	if err != nil || region != "eu-west-1" || strings.Contains(host, "accelerate") {
		t.Errorf("Ask = %s, %v at %s, want eu-west-1 at the region's host", region, err, host)
	}
}
