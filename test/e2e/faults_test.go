package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// fault is a failure of STS. One of toxic, down, answer and endpoint says how STS fails.
type fault struct {
	name string
	// toxic is the type of a toxic of toxiproxy, which has the attributes.
	toxic      string
	attributes map[string]any
	down       bool                      // the endpoint refuses connections
	answer     http.HandlerFunc          // answers in place of STS
	endpoint   func(t *testing.T) string // returns the URL of an endpoint that fails
	cold       string                    // outcome for viewers of a cold integration
	result     string                    // AssumeRole's result in the metrics
}

// xmlAnswer returns a handler that answers with an STS error.
func xmlAnswer(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`+
			`<Error><Type>Sender</Type><Code>%s</Code><Message>no</Message></Error>`+
			`</ErrorResponse>`, code)
	}
}

// unavailable and denied are outcomes.
const unavailable, denied = "503 sts_unavailable", "502 assume_role_denied"

// faultsOfConnections are the faults that toxiproxy simulates.
var faultsOfConnections = []fault{
	{
		name:       "latency of 30 s",
		toxic:      "latency",
		attributes: map[string]any{"latency": 30_000},
		cold:       unavailable,
		result:     "unavailable",
	},
	{
		name:       "hangs",
		toxic:      "timeout",
		attributes: map[string]any{"timeout": 0},
		cold:       unavailable,
		result:     "unavailable",
	},
	{
		name:       "resets connections",
		toxic:      "reset_peer",
		attributes: map[string]any{"timeout": 0},
		cold:       unavailable,
		result:     "unavailable",
	},
	{
		name:       "half an answer",
		toxic:      "limit_data",
		attributes: map[string]any{"bytes": 300},
		cold:       unavailable,
		result:     "unavailable",
	},
	{
		name:   "refuses connections",
		down:   true,
		cold:   unavailable,
		result: "unavailable",
	},
}

// faults are all faults, in the order of the table in docs/reliability.md.
var faults = append(slices.Clip(faultsOfConnections), []fault{
	{
		name:   "answers 500",
		answer: xmlAnswer(http.StatusInternalServerError, "InternalFailure"),
		cold:   unavailable,
		result: "unavailable",
	},
	{
		name: "answers 503 with Retry-After",
		answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "3")
			xmlAnswer(http.StatusServiceUnavailable, "ServiceUnavailable")(w, r)
		},
		cold:   unavailable,
		result: "unavailable",
	},
	{
		name:   "throttles",
		answer: xmlAnswer(http.StatusBadRequest, "Throttling"),
		cold:   unavailable,
		result: "throttled",
	},
	{
		name:   "denies",
		answer: xmlAnswer(http.StatusForbidden, "AccessDenied"),
		cold:   denied,
		result: "denied",
	},
	{
		name: "answers with a web page",
		answer: func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<html><body>It works!</body></html>")
		},
		cold:   unavailable,
		result: "malformed",
	},
	{
		name:     "its name does not resolve",
		endpoint: func(*testing.T) string { return "https://sts.invalid" },
		cold:     unavailable,
		result:   "unavailable",
	},
	{
		name: "its certificate is not trusted",
		endpoint: func(t *testing.T) string {
			s := httptest.NewUnstartedServer(http.NotFoundHandler())
			s.Config.ErrorLog = quietLog
			s.StartTLS()
			t.Cleanup(s.Close)
			return s.URL
		},
		cold:   unavailable,
		result: "unavailable",
	},
}...)

// faultySTS is a proxy with a warm and a cold integration, whose STS can fail.
type faultySTS struct {
	*proxy
	t    *testing.T
	dir  string // of the configuration
	text string // of the configuration
	toxi *toxiproxy
	name string // of toxiproxy's proxy in front of STS

	mu     sync.Mutex // guards answer
	answer http.HandlerFunc
}

// startFaultySTS starts the proxy. Tests that run at the same time use different numbers n.
func startFaultySTS(t *testing.T, n int) *faultySTS {
	t.Helper()
	s := minio(t)
	w := &faultySTS{t: t, name: fmt.Sprintf("sts-%d", n)}
	between := s.sts(t)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		answer := w.answer
		w.mu.Unlock()
		if answer == nil {
			between.forward(rw, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		answer(rw, r)
	}))
	t.Cleanup(server.Close)
	var err error
	if w.toxi, err = startedToxiproxy(); err != nil {
		t.Fatal(err)
	}
	made := w.toxi.call(t, http.MethodPost, "/proxies", map[string]any{
		"name":     w.name,
		"listen":   "127.0.0.1:0",
		"upstream": strings.TrimPrefix(server.URL, "http://"),
		"enabled":  true,
	})
	w.text = longWindow + `
integrations:
  - name: warm
    bucket: warm-bucket
` + withRole + `
  - name: cold
    bucket: cold-bucket
` + withRole
	w.text = strings.ReplaceAll(w.text, "sts_endpoint: ${ENDPOINT}",
		"sts_endpoint: http://"+made["listen"].(string)+"\n    session_duration: 400h")
	w.proxy, w.dir = startProxyIn(t, w.text, s.env()...)
	return w
}

// cause makes STS fail, and returns a function that repairs it.
func (w *faultySTS) cause(f *fault) (repair func()) {
	switch {
	case f.toxic != "" || f.down:
		return w.toxi.cause(w.t, w.name, f)
	case f.answer != nil:
		set := func(h http.HandlerFunc) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.answer = h
		}
		set(f.answer)
		return func() { set(nil) }
	}
	// Change the endpoint of the cold integration only. The warm one would become another
	// integration and lose its session.
	i := strings.LastIndex(w.text, "sts_endpoint: ")
	j := i + strings.IndexByte(w.text[i:], '\n')
	w.reload(w.text[:i] + "sts_endpoint: " + f.endpoint(w.t) + w.text[j:])
	return func() { w.reload(w.text) }
}

// reload writes another configuration and makes the proxy load it.
func (w *faultySTS) reload(text string) {
	w.t.Helper()
	text = everyTest + text + "\nviewers: {anonymous: true}\n"
	if err := os.WriteFile(filepath.Join(w.dir, "config.yaml"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if a := fetch(w.t, http.MethodPost, w.admin+"/-/reload"); a.status != http.StatusOK {
		w.t.Fatalf("reload: got %d %s, want 200", a.status, a.body)
	}
}

// outcome returns a response's status and the code of its problem, if any.
func outcome(a *answer) string {
	var p struct{ Code string }
	_ = json.Unmarshal(a.body, &p) // the body of a redirect is not JSON
	return strings.TrimSpace(fmt.Sprint(a.status, " ", p.Code))
}

// TestFaultsOfSTS makes STS fail in every way. An integration with a session continues to serve,
// one without fails at once with a problem, and it recovers by itself when STS does. The results
// are the table in docs/reliability.md.
func TestFaultsOfSTS(t *testing.T) {
	t.Parallel()
	need(t, "toxiproxy-server")
	var mu sync.Mutex
	rows := make([]string, len(faults))
	t.Run("faults", func(t *testing.T) {
		for n, f := range faults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				w := startFaultySTS(t, n)
				before := w.location(t, http.MethodGet, "/s3/warm-bucket/k")
				repair := w.cause(&f)
				cold := fetch(t, http.MethodGet, w.url("/s3/cold-bucket/k"))
				got := outcome(cold)
				if got != f.cold {
					t.Errorf("cold: got %q, want %q", got, f.cold)
				}
				if v := cold.header.Get("Cache-Control"); v != "no-store" {
					t.Errorf("cold: Cache-Control = %q, want no-store", v)
				}
				if strings.HasPrefix(got, "503") && cold.header.Get("Retry-After") == "" {
					t.Errorf("cold: %s has no Retry-After", got)
				}
				a := fetch(t, http.MethodGet, w.url("/s3/warm-bucket/k"))
				warm := outcome(a) + ", the same URL"
				if location := a.header.Get("Location"); location != before {
					t.Errorf("warm: %d to %q, want the URL from before: %q",
						a.status, location, before)
				}
				if v := a.header.Get("Cache-Control"); !strings.HasPrefix(v, "private, max-age=") {
					t.Errorf("warm: Cache-Control = %q, want private with a max-age", v)
				}
				const series = `s3redirect_assume_role_total{integration="cold",result=%q}`
				if n := w.scrape(t)[fmt.Sprintf(series, f.result)]; n < 1 {
					t.Errorf(series+" = %v, want at least 1", f.result, n)
				}
				if a := fetch(t, http.MethodGet, w.admin+"/readyz"); a.status != http.StatusOK {
					t.Errorf("/readyz: status %d, want 200", a.status)
				}
				repair()
				awaitThat(t, "the cold integration serves after STS recovers", func() bool {
					a := fetch(t, http.MethodGet, w.url("/s3/cold-bucket/k"))
					return a.status == http.StatusFound
				})
				mu.Lock()
				defer mu.Unlock()
				rows[n] = fmt.Sprintf("| %s | %s | %s | `%s` |", f.name, warm, f.cold, f.result)
			})
		}
	})
	if slices.Contains(rows, "") {
		return // a fault's test has failed
	}
	table := "| STS | warm | cold | counted as |\n|---|---|---|---|\n" +
		strings.Join(rows, "\n") + "\n"
	const path, begin, end = "../../docs/reliability.md", "<!-- faults -->\n", "<!-- /faults -->"
	doc := readFile(t, path)
	i, j := strings.Index(doc, begin)+len(begin), strings.Index(doc, end)
	if doc[i:j] == table {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("the table in docs/reliability.md differs from this one (UPDATE=1 writes it):\n%s",
			table)
	}
	if err := os.WriteFile(path, []byte(doc[:i]+table+doc[j:]), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReloadOfTheBinary checks that the binary reloads its configuration when the file changes, on
// SIGHUP and on POST /-/reload, and that no request fails meanwhile.
func TestReloadOfTheBinary(t *testing.T) {
	t.Parallel()
	need(t, "toxiproxy-server")
	w := startFaultySTS(t, 1000)
	url := w.location(t, http.MethodGet, "/s3/warm-bucket/k")
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			a, err := try(t, http.MethodGet, w.url("/s3/warm-bucket/k"))
			if err != nil || a.header.Get("Location") != url {
				done <- fmt.Errorf("during reloads: error %v, response %+v, want a redirect to %s",
					err, a, url)
				return
			}
		}
	}()
	config := filepath.Join(w.dir, "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(config+".new", config); err != nil {
			t.Fatal(err)
		}
	}
	whole := readFile(t, config)
	i, j := strings.Index(whole, "  - name: cold"), strings.Index(whole, "\nviewers:")
	without := whole[:i] + whole[j:]
	serves := func(want int) func() bool {
		return func() bool {
			return fetch(t, http.MethodGet, w.url("/s3/cold-bucket/k")).status == want
		}
	}
	write(without) // send no signal: the proxy checks the file periodically
	awaitThat(t, "the removed bucket is not served", serves(http.StatusNotFound))
	write(whole)
	w.signal(t, syscall.SIGHUP)
	awaitThat(t, "the restored bucket is served", serves(http.StatusFound))
	write("listen: [\n")
	a := fetch(t, http.MethodPost, w.admin+"/-/reload")
	if a.status != http.StatusUnprocessableEntity ||
		!strings.Contains(string(a.body), "config.yaml:") {
		t.Errorf("reload of an invalid file: got %d %s, want 422 with config.yaml and the line",
			a.status, a.body)
	}
	if got := w.scrape(t)["s3redirect_config_reload_success"]; got != 0 {
		t.Errorf("s3redirect_config_reload_success = %v after an invalid file, want 0", got)
	}
	if !serves(http.StatusFound)() {
		t.Error("the proxy does not keep its configuration after an invalid file")
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	a = fetch(t, http.MethodPost, w.admin+"/-/purge?integration=warm")
	const purged = `{"integrations":["warm"],"urls":1}`
	if a.status != http.StatusOK || !strings.Contains(string(a.body), purged) {
		t.Errorf("purge: got %d %s, want 200 %s", a.status, a.body, purged)
	}
	awaitThat(t, "a new session signs", func() bool {
		return w.location(t, http.MethodGet, "/s3/warm-bucket/k") != url
	})
}

// quietLog discards the errors of servers whose clients disconnect on purpose.
var quietLog = log.New(io.Discard, "", 0)
