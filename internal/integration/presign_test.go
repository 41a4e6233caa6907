package integration

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

func TestPresignIsTheProxysURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		l := locator.Locator{Bucket: "bucket", Key: "folder/photo ü+1.jpg"}
		urls := map[string]string{}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			u, err := w.Presign(t.Context(), method, l, time.Now())
			if err != nil {
				t.Fatalf("Presign(%s) = %v, want a URL", method, err)
			}
			r, err := w.bucket("bucket").Resolve(t.Context(), time.Now(), 0)
			if err != nil {
				t.Fatalf("Resolve() = %v", err)
			}
			o := &presign.Object{
				Method:   method,
				Endpoint: r.Place.Endpoint,
				Key:      l.Key,
				Params:   w.bucket("bucket").Integration.CanonicalParams(l.Key, false),
			}
			if want := string(r.Signer.AppendURL(nil, o, r.Signer.Sign(o))); u != want {
				t.Errorf("Presign(%s) = %s, want %s", method, u, want)
			}
			urls[method] = u
		}
		if urls[http.MethodGet] == urls[http.MethodHead] {
			t.Error("Presign returns the same URL for GET and HEAD")
		}
		parsed, err := url.Parse(urls[http.MethodGet])
		if err != nil {
			t.Fatal(err)
		}
		q := parsed.Query()
		if got, want := parsed.Path, "/folder/photo ü+1.jpg"; got != want {
			t.Errorf("path = %q, want %q", got, want)
		}
		if got, want := q.Get("X-Amz-Security-Token"), "token-ASIA-lab-1"; got != want {
			t.Errorf("X-Amz-Security-Token = %q, want %q", got, want)
		}
		if got, want := w.sts.count("lab"), 1; got != want {
			t.Errorf("%d calls to STS, want %d", got, want)
		}
	})
}

func TestPresignErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 0, 0, status(http.StatusForbidden)
		}}
		far := role("far", "far-bucket")
		far.Region = config.RegionAuto
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket"), far},
			withTransport(roundTripper(func(*http.Request) (*http.Response, error) {
				return answer(http.StatusNotFound, ""), nil
			})))
		defer w.Close()
		get := func(bucket string) error {
			l := locator.Locator{Bucket: bucket, Key: "k"}
			_, err := w.Presign(t.Context(), http.MethodGet, l, time.Now())
			return err
		}
		want := "no integration serves bucket other"
		if err := get("other"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Presign of an unserved bucket = %v, want %s", err, want)
		}
		if err := get("far-bucket"); !errors.Is(err, ErrNoSuchBucket) {
			t.Errorf("Presign of a missing bucket = %v, want %v", err, ErrNoSuchBucket)
		}
		failed, ok := errors.AsType[*AssumeRoleError](get("bucket"))
		if !ok || failed.Result != Denied {
			t.Errorf("Presign with a denied role = %v, want a denial", failed)
		}
	})
}

// Resolve reports the instant to which a request waited, and what it found before it failed.
func TestResolveReportsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(n int, _ string) (time.Duration, time.Duration, error) {
			if n == 1 {
				return time.Second, 0, status(http.StatusForbidden)
			}
			return time.Second, time.Hour, nil
		}}
		w := newWorld(t, sts, []config.Integration{role("lab", "bucket")})
		defer w.Close()
		b := w.bucket("bucket")
		began := time.Now()
		r, err := b.Resolve(t.Context(), began, 0)
		if err == nil || r.Place == nil || r.Signer != nil || !r.Now.Equal(began.Add(time.Second)) {
			t.Errorf("Resolve() = %+v, %v, want a place and an error a second later", r, err)
		}
		time.Sleep(2 * denialPause)
		w.sleepUntilTurn("bucket") // so that nothing is fetched ahead
		began = time.Now()
		r, err = b.Resolve(t.Context(), began, 0)
		if err != nil || r.Signer == nil || !r.Now.Equal(began.Add(time.Second)) {
			t.Errorf("Resolve() = %+v, %v, want a signer a second later", r, err)
		}
	})
}

func TestResolvePeekMakesNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := role("far", "far-bucket")
		far.Region = config.RegionAuto
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket"), far},
			withTransport(roundTripper(func(*http.Request) (*http.Response, error) {
				t.Error("ResolvePeek asks the store")
				return nil, errReset
			})))
		defer w.Close()
		w.sleepUntilTurn("bucket")
		r, err := w.bucket("bucket").ResolvePeek(time.Now())
		if err != nil || r.Place == nil || r.Window != nil || r.Signer != nil {
			t.Errorf("ResolvePeek() = %+v, %v, want a place only", r, err)
		}
		if n := w.sts.count("lab"); n != 0 {
			t.Errorf("%d calls to STS, want none", n)
		}
		want, err := w.bucket("bucket").Resolve(t.Context(), time.Now(), 0)
		if err != nil {
			t.Fatal(err)
		}
		r, err = w.bucket("bucket").ResolvePeek(time.Now())
		if err != nil || r != want || !r.Now.Equal(time.Now()) {
			t.Errorf("ResolvePeek() = %+v, %v, want %+v", r, err, want)
		}
		r, err = w.bucket("far-bucket").ResolvePeek(time.Now())
		if err != nil || r.Place != nil || r.Signer != nil {
			t.Errorf("ResolvePeek() = %+v, %v, want no place", r, err)
		}
	})
}

func TestResolveDoesNotAllocate(t *testing.T) {
	keys := config.Integration{
		Name:            "keys",
		Bucket:          "scans",
		Region:          "us-east-1",
		AccessKeyID:     "AKIA",
		SecretAccessKey: "s",
		URLLifetime:     45 * time.Minute,
		MinRemaining:    15 * time.Minute,
	}
	w := newWorld(t, &fakeSTS{}, []config.Integration{keys})
	b, now := w.bucket("scans"), time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := b.Resolve(t.Context(), now, 0); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("Resolve makes %v allocations, want none", n)
	}
}
