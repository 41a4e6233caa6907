package integration

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

// auto returns an integration whose buckets' regions are not configured.
func auto(name, bucket string) config.Integration {
	c := role(name, bucket)
	c.Region = "auto"
	return c
}

func TestRegionIsRequestedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := fakeaws.NewCloud(time.Now)
		cloud.CreateBucket("bucket", "eu-west-3")
		cloud.CreateBucket("my.dotted.bucket", "ap-south-1")
		var asked atomic.Int64
		s3 := fakeaws.InMemory{Handler: cloud.S3()}
		w := newWorld(t, &fakeSTS{},
			[]config.Integration{auto("lab", "bucket"), auto("dots", "my.dotted.bucket")},
			withTransport(roundTripper(func(r *http.Request) (*http.Response, error) {
				asked.Add(1)
				time.Sleep(time.Second)
				return s3.RoundTrip(r)
			})))
		defer w.Close()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				place, now, err := w.bucket("bucket").locate(context.Background(), time.Now())
				want := "https://bucket.s3.eu-west-3.amazonaws.com/"
				if err != nil || place.Region != "eu-west-3" || place.Endpoint.URL() != want {
					t.Errorf("Place() = %+v, %v, want %s in eu-west-3", place, err, want)
				}
				if now != time.Now() {
					t.Errorf("Place() is for %v, want %v", now, time.Now())
				}
			})
		}
		wg.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("the store was asked %d times, want once", n)
		}
		time.Sleep(24 * time.Hour)
		_, _, err := w.bucket("bucket").locate(context.Background(), time.Now())
		if n := asked.Load(); err != nil || n != 1 {
			t.Errorf("a day later: Place() = %v, the store was asked %d times, want once", err, n)
		}
		place, _, err := w.bucket("my.dotted.bucket").locate(context.Background(), time.Now())
		want := "https://s3.ap-south-1.amazonaws.com/my.dotted.bucket/"
		if err != nil || place.Endpoint.URL() != want {
			t.Errorf("Place() = %+v, %v, want %s", place, err, want)
		}
	})
}

// Integrations for prefixes of one bucket share its region.
func TestPrefixesShareRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		a, b := auto("a", "films"), auto("b", "films")
		a.Prefix, b.Prefix = "a/", "b/"
		w := newWorld(t, &fakeSTS{}, []config.Integration{a, b},
			withTransport(roundTripper(func(r *http.Request) (*http.Response, error) {
				asked++
				return hasRegion(r, "eu-west-3"), nil
			})))
		defer w.Close()
		for _, key := range []string{"a/x", "b/x"} {
			bucket, ok := w.Find(locator.Locator{Bucket: "films", Key: key}, time.Now())
			if !ok {
				t.Fatalf("no integration serves %s", key)
			}
			place, _, err := bucket.locate(t.Context(), time.Now())
			if err != nil || place.Region != "eu-west-3" {
				t.Errorf("%s: locate = %+v, %v, want eu-west-3", key, place, err)
			}
		}
		if asked != 1 {
			t.Errorf("the store was asked %d times, want once", asked)
		}
	})
}

func TestRegionFailuresAreCached(t *testing.T) {
	header := func(status int, region string) roundTripper {
		return func(*http.Request) (*http.Response, error) {
			r := answer(status, "")
			if region != "" {
				r.Header.Set("X-Amz-Bucket-Region", region)
			}
			return r, nil
		}
	}
	for _, c := range []struct {
		name string
		s3   roundTripper
		want error
	}{
		{"missing bucket", header(404, ""), ErrNoSuchBucket},
		{"no header", header(403, ""), ErrRegionNotTold},
		{"invalid header", header(403, "evil.example/"), ErrRegionNotTold},
		{"another partition", header(403, "cn-north-1"), ErrRegionNotTold},
		{"failing", header(500, ""), ErrRegionUnavailable},
		{"unreachable", func(*http.Request) (*http.Response, error) {
			return nil, errReset
		}, ErrRegionUnavailable},
		{"hanging", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, ErrRegionUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked int
				w := newWorld(t, &fakeSTS{}, []config.Integration{auto("lab", "bucket")},
					withTransport(roundTripper(func(r *http.Request) (*http.Response, error) {
						asked++
						return c.s3(r)
					})))
				defer w.Close()
				for range 3 {
					place, _, err := w.bucket("bucket").locate(context.Background(), time.Now())
					if !errors.Is(err, c.want) || place != nil {
						t.Errorf("Place() = %+v, %v, want %v", place, err, c.want)
					}
				}
				if asked != 1 {
					t.Errorf("the store was asked %d times, want once", asked)
				}
				time.Sleep(RegionPause)
				_, _, err := w.bucket("bucket").locate(context.Background(), time.Now())
				if !errors.Is(err, c.want) || asked != 2 {
					t.Errorf("after the pause: Place() = %v, want %v; asked %d times, want 2",
						err, c.want, asked)
				}
			})
		})
	}
}

// S3 in the wrong region answers with a redirect that names the right one. The client must not follow it: it could
// lead anywhere.
func TestRegionClientFollowsNoRedirects(t *testing.T) {
	for header, want := range map[string]error{"eu-west-3": nil, "": ErrRegionNotTold} {
		synctest.Test(t, func(t *testing.T) {
			var hosts []string
			store := roundTripper(func(r *http.Request) (*http.Response, error) {
				hosts = append(hosts, r.URL.Host)
				a := answer(http.StatusMovedPermanently, "")
				a.Header.Set("Location", "http://169.254.169.254/latest/meta-data")
				if header != "" {
					a.Header.Set("X-Amz-Bucket-Region", header)
				}
				return a, nil
			})
			w := newWorld(t, &fakeSTS{}, []config.Integration{auto("lab", "bucket")}, withTransport(store))
			defer w.Close()
			place, _, err := w.bucket("bucket").locate(context.Background(), time.Now())
			if !errors.Is(err, want) || want == nil && (place == nil || place.Region != header) {
				t.Errorf("Place = %+v, %v, want region %q, %v", place, err, header, want)
			}
			if len(hosts) != 1 || hosts[0] != "bucket.s3.us-east-1.amazonaws.com" {
				t.Errorf("asked %q, want the bucket's host alone", hosts)
			}
		})
	}
}

func TestFindPrefersNamesToPatterns(t *testing.T) {
	shared := role("shared", "")
	shared.PermittedBuckets = []string{"photos", "team-*"}
	everything := role("everything", "")
	everything.PermittedBuckets = []string{"x*y"}
	w := newWorld(t, &fakeSTS{}, []config.Integration{shared, role("lab", "team-lab"), everything})
	for bucket, want := range map[string]string{
		"photos":    "shared",
		"team-a":    "shared",
		"team-lab":  "lab",
		"xy-xy":     "everything",
		"xay":       "everything",
		"photos2":   "",
		"team":      "",
		"staff":     "",
		"teams-a":   "",
		"my-team-a": "",
	} {
		got := ""
		if b, ok := w.Find(locator.Locator{Bucket: bucket}, time.Now()); ok {
			got = b.Integration.Name
			if again, _ := w.Find(locator.Locator{Bucket: bucket}, time.Now()); again != b || b.Name != bucket {
				t.Errorf("Find(%s) = %p %s, then %p, want the same", bucket, b, b.Name, again)
			}
		}
		if got != want {
			t.Errorf("Find(%s) = a bucket of %q, want %q", bucket, got, want)
		}
	}
}

// A bucket's integration fails, and another's pattern matches the bucket.
func TestFailureNeverFallsBackToAnotherIntegration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := role("shared", "")
		shared.PermittedBuckets = []string{"*"}
		sts := &fakeSTS{answer: func(_ int, name string) (time.Duration, time.Duration, error) {
			if name == "lab" {
				return 0, 0, status(403)
			}
			return 0, time.Hour, nil
		}}
		w := newWorld(t, sts, []config.Integration{shared, role("lab", "team-lab")})
		defer w.Close()
		w.mustWindow("team-a")
		var failed *AssumeRoleError
		if _, err := w.window("team-lab"); !errors.As(err, &failed) || failed.Integration != "lab" {
			t.Errorf("Window() = %v, want an AssumeRoleError of lab", err)
		}
	})
}
