package integration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
	"s3redirect/metrics"
)

// fakeSTS is an STS that counts its calls.
type fakeSTS struct {
	// answer determines the result of call n, counted from 1, of an integration: how long it takes,
	// and the session's lifetime or an error. nil means 100 ms and the requested lifetime.
	answer func(n int, integration string) (takes, lives time.Duration, err error)

	mu       sync.Mutex
	calls    map[string]int
	expiries map[string]time.Time // by access key ID
}

func (f *fakeSTS) AssumeRole(
	ctx context.Context, in *AssumeRoleInput,
) (presign.Credentials, time.Time, error) {
	f.mu.Lock()
	if f.calls == nil {
		f.calls, f.expiries = map[string]int{}, map[string]time.Time{}
	}
	f.calls[in.Integration.Name]++
	n := f.calls[in.Integration.Name]
	f.mu.Unlock()
	takes, lives, err := 100*time.Millisecond, in.Integration.SessionDuration, error(nil)
	if f.answer != nil {
		takes, lives, err = f.answer(n, in.Integration.Name)
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return presign.Credentials{}, time.Time{}, ctx.Err()
	}
	if err != nil {
		return presign.Credentials{}, time.Time{}, err
	}
	id := fmt.Sprintf("ASIA-%s-%d", in.Integration.Name, n)
	expires := time.Now().Add(lives)
	f.mu.Lock()
	f.expiries[id] = expires
	f.mu.Unlock()
	c := presign.Credentials{
		AccessKeyID:     id,
		SecretAccessKey: "secret",
		SessionToken:    "token-" + id,
	}
	return c, expires, nil
}

// expiry returns the true expiry of a window's session.
func (f *fakeSTS) expiry(w *Window) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expiries[w.session.credentials.AccessKeyID]
}

// count returns the number of calls for an integration.
func (f *fakeSTS) count(integration string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[integration]
}

// status is an error with an HTTP status, like the SDK's.
type status int

func (s status) Error() string       { return fmt.Sprintf("STS answered %d", int(s)) }
func (s status) HTTPStatusCode() int { return int(s) }

var errReset = errors.New("connection reset by peer")

// role returns an integration with the default durations.
func role(name, bucket string) config.Integration {
	return config.Integration{
		Name:            name,
		Bucket:          bucket,
		RoleARN:         "arn:aws:iam::123456789012:role/" + name,
		ExternalID:      "id",
		SessionName:     "s3redirect-" + name,
		SessionDuration: time.Hour,
		SessionPolicy:   true,
		Region:          "us-east-1",
		URLLifetime:     45 * time.Minute,
		MinRemaining:    15 * time.Minute,
	}
}

// staticKeys returns an integration with static keys and the default durations.
func staticKeys(name string, buckets ...string) config.Integration {
	return config.Integration{
		Name:             name,
		PermittedBuckets: buckets,
		Region:           "us-east-1",
		AccessKeyID:      "AKIA",
		SecretAccessKey:  "s",
		URLLifetime:      45 * time.Minute,
		MinRemaining:     15 * time.Minute,
	}
}

// world is a set and what it depends on.
type world struct {
	*Set
	t     testing.TB
	sts   *fakeSTS
	clock func() time.Time

	options Options
}

type worldOption func(*config.Config, *Options)

func withClock(clock func() time.Time) worldOption {
	return func(_ *config.Config, o *Options) { o.Clock = clock }
}

func withTransport(t http.RoundTripper) worldOption {
	return func(_ *config.Config, o *Options) { o.Transport = t }
}

// pointers returns pointers to copies of the integrations, as a configuration has them.
func pointers(integrations []config.Integration) (all []*config.Integration) {
	for _, i := range integrations {
		all = append(all, &i)
	}
	return all
}

func newWorld(
	t testing.TB, sts *fakeSTS, integrations []config.Integration, options ...worldOption,
) *world {
	t.Helper()
	c := &config.Config{
		Integrations: pointers(integrations),
		Cache:        config.Cache{URLs: 100, Credentials: 100},
	}
	o := Options{
		Clock:   time.Now,
		Log:     slog.New(slog.DiscardHandler),
		Metrics: metrics.New("test"),
		STS:     sts,
	}
	for _, option := range options {
		option(c, &o)
	}
	set, err := NewSet(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	return &world{Set: set, t: t, sts: sts, clock: o.Clock, options: o}
}

func (w *world) bucket(name string) *Bucket {
	w.t.Helper()
	b, ok := w.Find(locator.Locator{Bucket: name}, w.clock())
	if !ok {
		w.t.Fatalf("Find(%q) = false, want true", name)
	}
	return b
}

// status returns the state of all integrations.
func (w *world) status() (all []Status) {
	for n := range w.integrations {
		all = append(all, w.Status(n, w.clock()))
	}
	return all
}

// keeper returns the keeper of the integration that serves a bucket.
func (w *world) keeper(bucket string) *keeper {
	w.t.Helper()
	return w.bucket(bucket).Integration.keeper
}

// sleepUntilTurn sleeps until the next window of the bucket's integration begins, which is long
// before the session of the window after it is fetched.
func (w *world) sleepUntilTurn(bucket string) {
	time.Sleep(w.keeper(bucket).plan.end(w.clock()).Sub(w.clock()))
}

// window requests a window of the bucket's integration.
func (w *world) window(bucket string) (*Window, error) {
	w.t.Helper()
	win, _, err := w.bucket(bucket).Integration.Window(context.Background(), w.clock(), 0)
	return win, err
}

func (w *world) mustWindow(bucket string) *Window {
	w.t.Helper()
	win, err := w.window(bucket)
	if err != nil {
		w.t.Fatal(err)
	}
	return win
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hasRegion returns a response that names a bucket's region.
func hasRegion(r *http.Request, region string) *http.Response {
	return &http.Response{
		StatusCode: http.StatusForbidden,
		Header:     http.Header{"X-Amz-Bucket-Region": {region}},
		Body:       http.NoBody,
		Request:    r,
	}
}
