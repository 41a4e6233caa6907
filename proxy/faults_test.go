package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/integration"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
)

// outage is something that is wrong with STS, as its client meets it.
type outage struct {
	name string
	ends string // what viewers get when nothing is left
	meet func(r *http.Request) (*http.Response, error)
}

func stsAnswers(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"text/xml"}}
		for n := 0; n+1 < len(header); n += 2 {
			h.Set(header[n], header[n+1])
		}
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 1, ProtoMinor: 1, Request: r}, nil
	}
}

func stsRefuses(status int, code string, header ...string) func(*http.Request) (*http.Response, error) {
	return stsAnswers(status, "<ErrorResponse><Error><Code>"+code+"</Code></Error></ErrorResponse>", header...)
}

var outages = []outage{
	{"hangs, or is 30 s late", "503 sts_unavailable", func(r *http.Request) (*http.Response, error) {
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(30 * time.Second):
			return nil, syscall.ECONNRESET
		}
	}},
	{"refuses connections", "503 sts_unavailable", func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }},
	{"half an answer", "503 sts_unavailable", func(r *http.Request) (*http.Response, error) {
		a, err := stsAnswers(200, "")(r)
		a.Body = io.NopCloser(io.MultiReader(strings.NewReader("<AssumeRoleResponse><AssumeRoleResult>"), iotest.ErrReader(io.ErrUnexpectedEOF)))
		return a, err
	}},
	{"answers 500", "503 sts_unavailable", stsRefuses(500, "InternalFailure")},
	{"answers 503, Retry-After: 120", "503 sts_unavailable", stsRefuses(503, "ServiceUnavailable", "Retry-After", "120")},
	{"throttles", "503 sts_unavailable", stsRefuses(400, "Throttling")},
	{"denies", "502 assume_role_denied", stsRefuses(403, "AccessDenied")},
	{"is a web page", "503 sts_unavailable", stsAnswers(200, "<html><body>It works!</body></html>")},
}

// outageWorld is a handler with the settings that a configuration has when it says nothing, whose
// STS can fail.
type outageWorld struct {
	*world
	seen string                                      // the last URL that was followed to the store
	now  func(*http.Request) (*http.Response, error) // what STS's client meets; nil is STS
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
	o := integration.Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: m, STS: &integration.AWSSTS{HTTPClient: &http.Client{Transport: transport}},
		Random: func() float64 { // sessions that are fetched as early, and pauses that are as long, as they can be
			if w.now == nil {
				return 0
			}
			return 0.999999
		}}
	if w.set, err = integration.NewSet(c, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.set.Close)
	if w.Handler, err = New(Options{Integrations: w.set, Metrics: m, Clock: time.Now, Log: o.Log, URLs: c.Cache.URLs, ReferrerPolicy: c.ReferrerPolicy, Gate: everyone(t)}); err != nil {
		t.Fatal(err)
	}
	return w
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// get asks for the object, and follows a redirect to the store: it must have it. It returns the
// status with a problem's code, and for how long the redirect may be kept.
func (w *outageWorld) get() (outcome string, kept time.Duration) {
	w.t.Helper()
	began := time.Now()
	resp := w.ask(http.MethodGet, "/s3/bucket/key")
	if resp.StatusCode != http.StatusFound {
		p := problemIn(w.t, resp)
		return fmt.Sprint(p.Status, " ", p.Code), 0
	}
	if took := time.Since(began); took > 2*time.Second {
		w.t.Errorf("a redirect took %v", took)
	}
	u, err := resp.Location()
	if err != nil {
		w.t.Fatal(err)
	}
	if u.String() != w.seen || began.Second() == 0 {
		if got, body := w.fetch(http.MethodGet, u); got.StatusCode != http.StatusOK || body != "alive" {
			w.t.Fatalf("the store answers %d: %s", got.StatusCode, body)
		}
		w.seen = u.String()
	}
	var seconds int
	if _, err := fmt.Sscanf(resp.Header.Get("Cache-Control"), "private, max-age=%d", &seconds); err != nil && resp.Header.Get("Cache-Control") != "no-store" {
		w.t.Errorf("Cache-Control: %s", resp.Header.Get("Cache-Control"))
	}
	return "302", time.Duration(seconds) * time.Second
}

// warm has the integration in use until an instant of its second window.
func (w *outageWorld) warm(into time.Duration) {
	w.t.Helper()
	bucket, _ := w.set.Find("bucket", time.Now())
	end := bucket.Integration.WindowEnd(time.Now())
	for time.Now().Before(end.Add(into)) {
		if got, _ := w.get(); got != "302" {
			w.t.Fatalf("while STS is well: %s", got)
		}
		time.Sleep(time.Second)
	}
}

// With STS away for twenty minutes, whatever is wrong with it and at whatever instant of a window
// it begins, no request fails.
func TestTwentyMinutesWithoutSTS(t *testing.T) {
	for _, o := range outages {
		for into := time.Duration(0); into < 30*time.Minute; into += 9*time.Minute + 50*time.Second {
			t.Run(fmt.Sprint(o.name, ", from ", into), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newOutageWorld(t)
					defer w.set.Close()
					w.warm(into)
					w.now = o.meet
					for range 20 * 60 {
						if got, _ := w.get(); got != "302" {
							t.Fatalf("a request failed: %s", got)
						}
						time.Sleep(time.Second)
					}
				})
			})
		}
	}
}

// How long service goes on in an outage that begins at the worst instant, and how soon all is well
// once STS is: when it is asked again. It makes the table in docs/reliability.md.
func TestOutages(t *testing.T) {
	table := "| STS | full service | `no-store` until | then | back within |\n|---|---|---|---|---|\n"
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newOutageWorld(t)
				defer w.set.Close()
				w.warm(25 * time.Minute) // the first instant at which the next session may be fetched
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
						t.Errorf("after %v, when there was no-store already: max-age=%v", since, kept)
					case full == 0 && over == 0 && kept > left && since > 6*time.Minute: // the window's turn, after five, is over
						t.Errorf("after %v: max-age=%v, and it was %v", since, kept, left)
					}
					left = kept
					time.Sleep(time.Second)
				}
				if outcome != o.ends {
					t.Errorf("in the end: %s", outcome)
				}
				for time.Since(began) < time.Hour {
					if got, _ := w.get(); got != o.ends {
						t.Fatalf("after the end: %s", got)
					}
					time.Sleep(time.Second)
				}
				w.now = nil
				for mended := time.Now(); ; time.Sleep(time.Second) {
					if got, _ := w.get(); got == "302" {
						break
					}
					if since := time.Since(mended); since > gap+time.Second {
						t.Fatalf("not back after %v", since)
					}
				}
				table += fmt.Sprintf("| %s | %s | %s | %s | %s |\n", o.name, config.Short(full.Truncate(time.Minute)), config.Short(over.Truncate(time.Minute)), outcome, config.Short(gap.Round(10*time.Second)))
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
		t.Fatal("docs/reliability.md has no place for the table")
	case string(was) == table:
	case os.Getenv("UPDATE") == "":
		t.Fatalf("docs/reliability.md says otherwise (UPDATE=1 writes it):\n%s", table)
	default:
		if err := os.WriteFile(path, []byte(string(before)+begin+table+end+string(after)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A request may take its time before it comes to its URL: for the provider's keys, or for a body
// that comes slowly. What it is told is true when the answer goes out, not when the request came
// in.
func TestAnswersAreTrueWhenTheyGoOut(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		provider := transportFunc(func(r *http.Request) (*http.Response, error) {
			time.Sleep(4 * time.Second)
			set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
			if err != nil {
				return nil, err
			}
			return stsAnswers(200, string(set))(r)
		})
		w := newOutageWorld(t)
		defer w.set.Close()
		gate, err := viewer.New(&config.Viewers{JWT: &config.JWT{Issuer: "https://id.example.com", Audience: "media", JWKSURL: "https://id.example.com/keys",
			Algorithms: []string{"ES256"}, UserClaim: "sub", Leeway: time.Second}, Anonymous: true}, viewer.Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler), Transport: provider})
		if err != nil {
			t.Fatal(err)
		}
		defer gate.Close()
		w.warm(time.Minute)
		w.gate = gate
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: "https://id.example.com", Audience: jwt.Audience{"media"}, Subject: "ann",
			Expiry: jwt.NewNumericDate(time.Now().Add(24 * time.Hour))}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		bucket, _ := w.set.Find("bucket", time.Now())
		end := bucket.Integration.WindowEnd(time.Now())
		time.Sleep(time.Until(end.Add(-10 * time.Minute)))
		began := time.Now()
		resp := w.send("", http.MethodGet, "/s3/bucket/key", "", "Authorization", "Bearer "+token)
		if time.Since(began) < 4*time.Second {
			t.Fatal("the keys were there already")
		}
		var seconds int
		_, _ = fmt.Sscanf(resp.Header.Get("Cache-Control"), "private, max-age=%d", &seconds) // 0 is as bad
		if left := int(time.Until(end).Seconds()); resp.StatusCode != 302 || seconds < left-1 || seconds > left {
			t.Errorf("%d, max-age=%d, %d s before the window's end", resp.StatusCode, seconds, left)
		}

		time.Sleep(time.Until(end.Add(-5 * time.Second)))
		body := io.MultiReader(strings.NewReader(`{"locators": ["s3://bu`), slowly(10*time.Second), strings.NewReader(`cket/key"]}`))
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "http://proxy.localhost/presign", body)
		r.RequestURI = "/presign"
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		var answer struct{ URLs []presigned }
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || len(answer.URLs) != 1 || answer.URLs[0].ExpiresAt == nil {
			t.Fatalf("%v %s", err, rec.Body)
		}
		if left := time.Until(*answer.URLs[0].ExpiresAt); left < 15*time.Minute {
			t.Errorf("a URL with %v left", left)
		}
	})
}

// slowly is a reader of nothing that takes its time.
func slowly(d time.Duration) io.Reader {
	return readerFunc(func([]byte) (int, error) { time.Sleep(d); return 0, io.EOF })
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
