package e2e

import (
	"bytes"
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

// toxiproxy is a real toxiproxy, which all tests share.
type toxiproxy struct{ api string }

var startedToxiproxy = sync.OnceValues(func() (*toxiproxy, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	s, err := startServer(workDir, "toxiproxy", nil, "toxiproxy-server", "-host", "127.0.0.1", "-port", fmt.Sprint(ports[0]))
	if err != nil {
		return nil, err
	}
	x := &toxiproxy{api: fmt.Sprintf("http://127.0.0.1:%d", ports[0])}
	return x, s.await("toxiproxy", func() bool { return answersOK(x.api + "/version") })
})

// call asks toxiproxy's API for something.
func (x *toxiproxy) call(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, x.api+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(client.Do(req))
	if err != nil || a.status >= 300 {
		t.Fatalf("%s %s: %v %+v", method, path, err, a)
	}
	var answer map[string]any
	if len(a.body) > 0 {
		if err := json.Unmarshal(a.body, &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

// cause has the connections of one of toxiproxy's proxies fail, and returns how that is mended.
func (x *toxiproxy) cause(t *testing.T, name string, f *fault) (mend func()) {
	t.Helper()
	if f.down {
		x.call(t, http.MethodPost, "/proxies/"+name, map[string]any{"enabled": false})
		return func() { x.call(t, http.MethodPost, "/proxies/"+name, map[string]any{"enabled": true}) }
	}
	x.call(t, http.MethodPost, "/proxies/"+name+"/toxics", map[string]any{"name": "it", "type": f.toxic, "stream": "downstream", "attributes": f.attributes})
	return func() { x.call(t, http.MethodDelete, "/proxies/"+name+"/toxics/it", nil) }
}

// fault is something that is wrong with STS.
type fault struct {
	name string
	// toxic is toxiproxy's, with its attributes; "" is none.
	toxic      string
	attributes map[string]any
	down       bool             // nobody listens
	answer     http.HandlerFunc // instead of STS's
	endpoint   func(t *testing.T) string
	cold       string // what viewers of a cold integration get
	result     string // of AssumeRole, in the metrics
}

func xmlAnswer(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>no</Message></Error></ErrorResponse>`, code)
	}
}

const unavailable, denied = "503 sts_unavailable", "502 assume_role_denied"

// faultsOfConnections are those that toxiproxy makes.
var faultsOfConnections = []fault{
	{name: "latency of 30 s", toxic: "latency", attributes: map[string]any{"latency": 30_000}, cold: unavailable, result: "unavailable"},
	{name: "hangs", toxic: "timeout", attributes: map[string]any{"timeout": 0}, cold: unavailable, result: "unavailable"},
	{name: "resets connections", toxic: "reset_peer", attributes: map[string]any{"timeout": 0}, cold: unavailable, result: "unavailable"},
	{name: "half an answer", toxic: "limit_data", attributes: map[string]any{"bytes": 300}, cold: unavailable, result: "unavailable"},
	{name: "refuses connections", down: true, cold: unavailable, result: "unavailable"},
}

var faults = append(slices.Clip(faultsOfConnections), []fault{
	{name: "answers 500", answer: xmlAnswer(http.StatusInternalServerError, "InternalFailure"), cold: unavailable, result: "unavailable"},
	{name: "answers 503 with Retry-After", answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "3")
		xmlAnswer(http.StatusServiceUnavailable, "ServiceUnavailable")(w, r)
	}, cold: unavailable, result: "unavailable"},
	{name: "throttles", answer: xmlAnswer(http.StatusBadRequest, "Throttling"), cold: unavailable, result: "throttled"},
	{name: "denies", answer: xmlAnswer(http.StatusForbidden, "AccessDenied"), cold: denied, result: "denied"},
	{name: "answers with a web page", answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html><body>It works!</body></html>") }, cold: unavailable, result: "malformed"},
	{name: "its name is not found", endpoint: func(*testing.T) string { return "https://sts.invalid" }, cold: unavailable, result: "unavailable"},
	{name: "a certificate that nobody signed", endpoint: func(t *testing.T) string {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = quietLog
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}, cold: unavailable, result: "unavailable"},
}...)

// faultyWorld is a proxy with a warm and a cold integration, whose STS can fail.
type faultyWorld struct {
	*proxy
	t      *testing.T
	dir    string
	text   string
	toxi   *toxiproxy
	name   string
	mu     sync.Mutex
	answer http.HandlerFunc
}

func startFaultyWorld(t *testing.T, n int) *faultyWorld {
	t.Helper()
	s := minio(t)
	w := &faultyWorld{t: t, name: fmt.Sprintf("sts-%d", n)}
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
	made := w.toxi.call(t, http.MethodPost, "/proxies", map[string]any{"name": w.name, "listen": "127.0.0.1:0", "upstream": strings.TrimPrefix(server.URL, "http://"), "enabled": true})
	w.text = longWindow + `
integrations:
  - name: warm
    bucket: warm-bucket
` + withRole + `
  - name: cold
    bucket: cold-bucket
` + withRole
	w.text = strings.ReplaceAll(w.text, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: http://"+made["listen"].(string)+"\n    session_duration: 400h")
	w.proxy, w.dir = startProxyIn(t, w.text, s.env()...)
	return w
}

// cause has STS fail, and returns how it is mended.
func (w *faultyWorld) cause(f *fault) (mend func()) {
	switch {
	case f.toxic != "" || f.down:
		return w.toxi.cause(w.t, w.name, f)
	case f.answer != nil:
		set := func(h http.HandlerFunc) { w.mu.Lock(); w.answer = h; w.mu.Unlock() }
		set(f.answer)
		return func() { set(nil) }
	}
	// The cold integration's endpoint alone: the warm one would have another identity, and so another session.
	i := strings.LastIndex(w.text, "sts_endpoint: ")
	j := i + strings.IndexByte(w.text[i:], '\n')
	w.reload(w.text[:i] + "sts_endpoint: " + f.endpoint(w.t) + w.text[j:])
	return func() { w.reload(w.text) }
}

// reload writes another configuration and has it read.
func (w *faultyWorld) reload(text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "config.yaml"), []byte(everyTest+text+"\nviewers: {anonymous: true}\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if a := fetch(w.t, http.MethodPost, w.admin+"/-/reload"); a.status != http.StatusOK {
		w.t.Fatalf("reload: %d %s", a.status, a.body)
	}
}

// outcome is an answer's status and the code of its problem.
func outcome(a *answer) string {
	var p struct{ Code string }
	_ = json.Unmarshal(a.body, &p) // a redirect has none
	return strings.TrimSpace(fmt.Sprint(a.status, " ", p.Code))
}

// Whatever is wrong with STS, who has a session goes on, who has none is told so, nothing waits for ever, and all is well again
// by itself once STS is.
func TestFaultsOfSTS(t *testing.T) {
	t.Parallel()
	need(t, "toxiproxy-server")
	var mu sync.Mutex
	rows := make([]string, len(faults))
	t.Run("faults", func(t *testing.T) {
		for n, f := range faults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				w := startFaultyWorld(t, n)
				before := w.location(t, http.MethodGet, "/s3/warm-bucket/k")
				mend := w.cause(&f)
				cold := fetch(t, http.MethodGet, w.url("/s3/cold-bucket/k"))
				if got := outcome(cold); got != f.cold || cold.header.Get("Cache-Control") != "no-store" || strings.HasPrefix(got, "503") && cold.header.Get("Retry-After") == "" {
					t.Errorf("cold: %s, Retry-After: %q", got, cold.header.Get("Retry-After"))
				}
				a := fetch(t, http.MethodGet, w.url("/s3/warm-bucket/k"))
				warm := outcome(a)
				if a.header.Get("Location") != before || !strings.HasPrefix(a.header.Get("Cache-Control"), "private, max-age=") {
					t.Errorf("warm: %s, with the same URL: %v, Cache-Control: %s", warm, a.header.Get("Location") == before, a.header.Get("Cache-Control"))
				}
				warm += ", the same URL"
				counted := w.scrape(t)[fmt.Sprintf(`s3redirect_assume_role_total{integration="cold",result=%q}`, f.result)]
				if counted < 1 {
					t.Errorf("no AssumeRole was counted as %s", f.result)
				}
				if a := fetch(t, http.MethodGet, w.admin+"/readyz"); a.status != http.StatusOK {
					t.Errorf("/readyz: %d", a.status)
				}
				mend()
				awaitThat(t, "the cold integration serves, once STS is well", func() bool {
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
		return // said already
	}
	table := "| STS | warm | cold | counted as |\n|---|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
	const path, begin, end = "../../docs/reliability.md", "<!-- faults -->\n", "<!-- /faults -->"
	doc := readFile(t, path)
	i, j := strings.Index(doc, begin)+len(begin), strings.Index(doc, end)
	if doc[i:j] == table {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("docs/reliability.md says otherwise (UPDATE=1 writes it):\n%s", table)
	}
	if err := os.WriteFile(path, []byte(doc[:i]+table+doc[j:]), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The built binary follows its file, its signal and its administrators; and what it serves meanwhile, it serves without a fault.
func TestReloadOfTheBinary(t *testing.T) {
	t.Parallel()
	need(t, "toxiproxy-server")
	w := startFaultyWorld(t, 1000)
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
			if a, err := try(t, http.MethodGet, w.url("/s3/warm-bucket/k")); err != nil || a.header.Get("Location") != url {
				done <- fmt.Errorf("while it reloaded: %v %+v", err, a)
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
		return func() bool { return fetch(t, http.MethodGet, w.url("/s3/cold-bucket/k")).status == want }
	}
	write(without) // and nothing else: the file is looked at
	awaitThat(t, "the bucket that is gone is not served", serves(http.StatusNotFound))
	write(whole)
	w.signal(t, syscall.SIGHUP)
	awaitThat(t, "the bucket that came back is served", serves(http.StatusFound))
	write("listen: [\n")
	if a := fetch(t, http.MethodPost, w.admin+"/-/reload"); a.status != http.StatusUnprocessableEntity || !strings.Contains(string(a.body), "config.yaml:") {
		t.Errorf("a bad file: %d %s", a.status, a.body)
	}
	if w.scrape(t)["s3redirect_config_reload_success"] != 0 || !serves(http.StatusFound)() {
		t.Error("a bad file was put to use, or not told of")
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if a := fetch(t, http.MethodPost, w.admin+"/-/purge?integration=warm"); a.status != http.StatusOK || !strings.Contains(string(a.body), `{"integrations":["warm"],"urls":1}`) {
		t.Errorf("purge: %d %s", a.status, a.body)
	}
	awaitThat(t, "another session signs", func() bool { return w.location(t, http.MethodGet, "/s3/warm-bucket/k") != url })
}

// quietLog is for servers whose clients hang up on purpose.
var quietLog = log.New(io.Discard, "", 0)
