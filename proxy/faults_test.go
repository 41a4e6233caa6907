package proxy

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/metrics"
)

// outage is a failure of STS.
type outage struct {
	name string
	// ends is the status and the problem's code that viewers get once no session is left.
	ends string
	// meet is the round trip of STS's client during the outage.
	meet func(r *http.Request) (*http.Response, error)
}

func stsAnswers(
	status int, body string, header ...string,
) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"text/xml"}}
		for n := 0; n+1 < len(header); n += 2 {
			h.Set(header[n], header[n+1])
		}
		return &http.Response{
			StatusCode: status,
			Status:     http.StatusText(status),
			Header:     h,
			Body:       io.NopCloser(strings.NewReader(body)),
			ProtoMajor: 1,
			ProtoMinor: 1,
			Request:    r,
		}, nil
	}
}

func stsRefuses(
	status int, code string, header ...string,
) func(*http.Request) (*http.Response, error) {
	return stsAnswers(
		status, "<ErrorResponse><Error><Code>"+code+"</Code></Error></ErrorResponse>", header...,
	)
}

func stsHangs(r *http.Request) (*http.Response, error) {
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(30 * time.Second):
		return nil, syscall.ECONNRESET
	}
}

var outages = []outage{
	{"hangs, or is 30 s late", "503 sts_unavailable", stsHangs},
	{"refuses connections", "503 sts_unavailable", func(*http.Request) (*http.Response, error) {
		return nil, syscall.ECONNREFUSED
	}},
	{"half an answer", "503 sts_unavailable", func(r *http.Request) (*http.Response, error) {
		a, err := stsAnswers(200, "")(r)
		a.Body = io.NopCloser(io.MultiReader(
			strings.NewReader("<AssumeRoleResponse><AssumeRoleResult>"),
			iotest.ErrReader(io.ErrUnexpectedEOF),
		))
		return a, err
	}},
	{"answers 500", "503 sts_unavailable", stsRefuses(500, "InternalFailure")},
	{
		"answers 503, Retry-After: 120", "503 sts_unavailable",
		stsRefuses(503, "ServiceUnavailable", "Retry-After", "120"),
	},
	{"throttles", "503 sts_unavailable", stsRefuses(400, "Throttling")},
	{"denies", "502 assume_role_denied", stsRefuses(403, "AccessDenied")},
	{
		"is a web page", "503 sts_unavailable",
		stsAnswers(200, "<html><body>It works!</body></html>"),
	},
}

// outageWorld is a handler with default settings whose STS can fail.
type outageWorld struct {
	*world
	seen string // the last URL that was followed to the store
	// now is the round trip of STS's client. If nil, STS works.
	now func(*http.Request) (*http.Response, error)
}

func newOutageWorld(t *testing.T) *outageWorld {
	t.Helper()
	c, err := config.Parse("config.yaml", []byte(`listen: 127.0.0.1:0
viewers: {anonymous: true}
integrations:
  - name: lab
    bucket: bucket
    region: us-east-1
    role_arn: arn:aws:iam::123456789012:role/lab
    external_id: id-lab
    endpoint: `+storeURL+`
    path_style: true
    sts_endpoint: http://sts.localhost
    access_key_id: `+testKey+`
    secret_access_key: `+testSecret+`
`), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	w := &outageWorld{world: newWorld(t)}
	w.put("bucket", "key", "alive")
	transport := transportFunc(func(r *http.Request) (*http.Response, error) {
		if meet := w.now; meet != nil {
			return meet(r)
		}
		return fakeaws.InMemory{Handler: w.cloud.STS()}.RoundTrip(r)
	})
	m := metrics.New("test")
	o := integration.Options{
		Clock:   time.Now,
		Log:     slog.New(slog.DiscardHandler),
		Metrics: m,
		STS:     &integration.AWSSTS{HTTPClient: &http.Client{Transport: transport}},
		// Sessions are fetched as early as possible, and pauses are as long as possible.
		Random: func() float64 {
			if w.now == nil {
				return 0
			}
			return 0.999999
		},
	}
	if w.set, err = integration.NewSet(c, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.set.Close)
	w.Handler, err = New(Options{
		Integrations:   w.set,
		Metrics:        m,
		Clock:          time.Now,
		Log:            o.Log,
		URLs:           c.Cache.URLs,
		ReferrerPolicy: c.ReferrerPolicy,
		Gate:           openGate(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// get requests the object. If the response is a redirect, get checks that its URL works. It returns
// the status, with a problem's code, and the max-age.
func (w *outageWorld) get() (outcome string, kept time.Duration) {
	w.t.Helper()
	began := time.Now()
	resp := w.ask(http.MethodGet, "/s3/bucket/key")
	if resp.StatusCode != http.StatusFound {
		p := problemIn(w.t, resp)
		return fmt.Sprint(p.Status, " ", p.Code), 0
	}
	if took := time.Since(began); took > 2*time.Second {
		w.t.Errorf("a redirect took %v, want at most 2s", took)
	}
	u, err := resp.Location()
	if err != nil {
		w.t.Fatal(err)
	}
	if u.String() != w.seen || began.Second() == 0 {
		got, body := w.fetch(http.MethodGet, u)
		if got.StatusCode != http.StatusOK || body != "alive" {
			w.t.Fatalf("GET %v: %d %s, want 200", u, got.StatusCode, body)
		}
		w.seen = u.String()
	}
	var seconds int
	cacheControl := resp.Header.Get("Cache-Control")
	_, err = fmt.Sscanf(cacheControl, "private, max-age=%d", &seconds)
	if err != nil && cacheControl != "no-store" {
		w.t.Errorf("Cache-Control: got %q, want a max-age or no-store", cacheControl)
	}
	return "302", time.Duration(seconds) * time.Second
}

// warm uses the integration until an instant of its second window.
func (w *outageWorld) warm(into time.Duration) {
	w.t.Helper()
	bucket, _ := w.set.Find(locator.Locator{Bucket: "bucket"}, time.Now())
	end := bucket.Integration.WindowEnd(time.Now())
	for time.Now().Before(end.Add(into)) {
		if got, _ := w.get(); got != "302" {
			w.t.Fatalf("before the outage: got %s, want 302", got)
		}
		time.Sleep(time.Second)
	}
}

// No request fails during an outage of twenty minutes, whatever fails and at whatever point of a
// window the outage begins.
func TestTwentyMinutesWithoutSTS(t *testing.T) {
	step := 9*time.Minute + 50*time.Second
	if testing.Short() {
		step = 25 * time.Minute
	}
	for _, o := range outages {
		for into := time.Duration(0); into < 30*time.Minute; into += step {
			t.Run(fmt.Sprint(o.name, ", from ", into), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newOutageWorld(t)
					defer w.set.Close()
					w.warm(into)
					w.now = o.meet
					for range 20 * 60 {
						if got, _ := w.get(); got != "302" {
							t.Fatalf("during the outage: got %s, want 302", got)
						}
						time.Sleep(time.Second)
					}
				})
			})
		}
	}
}

// TestOutages measures how long the proxy serves during an outage that begins at the worst instant,
// and how soon it recovers afterwards: at the next call of STS. It checks the table in
// docs/reliability.md.
func TestOutages(t *testing.T) {
	table := "| STS | full service | `no-store` until | then | back within |\n" +
		"|---|---|---|---|---|\n"
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newOutageWorld(t)
				defer w.set.Close()
				// The earliest instant at which the next session is fetched.
				w.warm(25 * time.Minute)
				began := time.Now()
				last, gap := began, time.Duration(0) // between two calls
				w.now = func(r *http.Request) (*http.Response, error) {
					gap, last = max(gap, time.Since(last)), time.Now()
					return o.meet(r)
				}
				var full, over time.Duration
				outcome, left := "", 24*time.Hour
				for over == 0 {
					got, kept := w.get()
					since := time.Since(began).Round(time.Second)
					switch {
					case got != "302":
						over, outcome = since, got
					case kept == 0 && full == 0:
						full = since
					case full > 0 && kept > 0:
						t.Errorf("after %v: max-age=%v, want no-store as before", since, kept)
					case full == 0 && over == 0 && kept > left && since > 6*time.Minute:
						// The next window began after five minutes.
						t.Errorf("after %v: max-age=%v, want at most %v as before", since, kept,
							left)
					}
					left = kept
					time.Sleep(time.Second)
				}
				if outcome != o.ends {
					t.Errorf("at the end: got %s, want %s", outcome, o.ends)
				}
				for time.Since(began) < time.Hour {
					if got, _ := w.get(); got != o.ends {
						t.Fatalf("after the end: got %s, want %s", got, o.ends)
					}
					time.Sleep(time.Second)
				}
				w.now = nil
				for fixed := time.Now(); ; time.Sleep(time.Second) {
					if got, _ := w.get(); got == "302" {
						break
					}
					if since := time.Since(fixed); since > gap+time.Second {
						t.Fatalf("no redirect %v after the outage, want one after %v", since, gap)
					}
				}
				table += fmt.Sprintf("| %s | %s | %s | %s | %s |\n",
					o.name,
					config.Short(full.Truncate(time.Minute)),
					config.Short(over.Truncate(time.Minute)),
					outcome,
					config.Short(gap.Round(10*time.Second)))
			})
		})
	}
	if t.Failed() {
		return
	}
	const path, begin, end = "../docs/reliability.md", "<!-- outages -->\n", "<!-- /outages -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	was, after, closed := bytes.Cut(rest, []byte(end))
	switch {
	case !ok || !closed:
		t.Fatal("docs/reliability.md has no markers for the table")
	case string(was) == table:
	case os.Getenv("UPDATE") == "":
		t.Fatalf("docs/reliability.md differs (UPDATE=1 writes it); want\n%s", table)
	default:
		updated := string(before) + begin + table + end + string(after)
		if err := os.WriteFile(path, []byte(updated), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
