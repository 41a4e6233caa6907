package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// soakTime returns the duration of the soak test and the path of the binary. The variable SOAK sets
// another duration, such as 10m, and then the binary has the race detector.
func soakTime(t *testing.T) (lasts time.Duration, path string) {
	t.Helper()
	text := os.Getenv("SOAK")
	if text == "" {
		return 20 * time.Second, built(t)
	}
	lasts, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(workDir, "s3redirect-race")
	build := exec.CommandContext(t.Context(),
		"go", "build", "-race", "-o", path, "./cmd/s3redirect")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return lasts, path
}

// soak is a proxy under load, with a radosgw as its store and an STS that fails at times.
type soak struct {
	*proxy
	t      *testing.T
	store  *gateway
	dir    string
	text   string
	client *http.Client

	asked, followed, later atomic.Int64
	errors                 atomic.Int64
}

// startSoak starts the binary at path. sts is the address of its STS.
func startSoak(t *testing.T, sts, path string) *soak {
	t.Helper()
	w := &soak{t: t, store: radosgw(t), client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 100},
		CheckRedirect: client.CheckRedirect,
		Timeout:       20 * time.Second,
	}}
	for _, bucket := range []string{"soak-role", "soak-keys", "soak-sometimes"} {
		w.store.createBucket(t, bucket)
		w.store.put(t, bucket, "key", []byte("alive"))
	}
	const keys = `
    endpoint: ${ENDPOINT}
    path_style: true
    region: us-east-1
    access_key_id: ${ACCESS_KEY}
    secret_access_key: ${SECRET_KEY}
`
	// Windows last three seconds. A session of 20 seconds serves six windows after its own.
	w.text = `
url_lifetime: 6s
min_remaining: 3s
cache: {urls: 2000}
integrations:
  - name: role
    bucket: soak-role
    session_duration: 20s
` + strings.ReplaceAll(asTrusted, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: http://"+sts) +
		"  - name: keys\n    bucket: soak-keys" + keys
	// Frequent garbage collection shows the live heap within seconds.
	w.proxy, w.dir = startBinaryIn(t, path, w.text, append(w.store.env(), "GOGC=25")...)
	w.text += "  - name: sometimes\n    bucket: soak-sometimes" + keys
	return w
}

// fails reports a test failure. It reports the first ten only.
func (w *soak) fails(format string, args ...any) {
	if w.errors.Add(1) <= 10 {
		w.t.Errorf(format, args...)
	}
}

// ask sends one request. It follows some of the redirects, either at once or shortly before
// min_remaining has passed.
func (w *soak) ask(r *rand.Rand) {
	bucket := []string{"soak-role", "soak-role", "soak-keys", "soak-sometimes"}[r.IntN(4)]
	method := []string{http.MethodGet, http.MethodHead}[r.IntN(2)]
	asked := time.Now()
	a, err := w.do(method, w.url(fmt.Sprintf("/s3/%s/key?download=%d", bucket, r.IntN(1000))))
	if w.asked.Add(1); err != nil {
		w.fails("%s: %v", bucket, err)
		return
	}
	if bucket == "soak-sometimes" && a.status == http.StatusNotFound {
		return
	}
	if err := a.checkRedirect(); err != nil {
		w.fails("%s: %v", bucket, err)
		return
	}
	follow := func(when string, promised time.Duration) {
		got, err := w.do(method, a.header.Get("Location"))
		// If the machine took longer than promised, the result means nothing.
		if time.Since(asked) < promised && (err != nil || got.status != http.StatusOK) {
			w.fails("%s, redirect followed %s: %v %+v, want status 200", bucket, when, err, got)
		}
	}
	switch n := r.IntN(100); {
	case n < 5:
		w.followed.Add(1)
		// While STS is unavailable, URLs are valid for a quarter of min_remaining only.
		follow("at once", 700*time.Millisecond)
	case n < 6 && a.header.Get("Cache-Control") != "no-store":
		w.later.Add(1)
		time.Sleep(2 * time.Second)
		follow("later", 3*time.Second)
	}
}

// do sends a request with the client of the soak test.
func (w *soak) do(method, url string) (*answer, error) {
	req, err := http.NewRequestWithContext(w.t.Context(), method, url, nil)
	if err != nil {
		return nil, err
	}
	return readAnswer(w.client.Do(req))
}

// reload writes a changed, unchanged or invalid configuration, depending on n, and triggers a
// reload in one of the three ways: by a POST request, a signal or the watched file alone.
func (w *soak) reload(n int) {
	text := everyTest + w.text
	switch n % 4 {
	case 1:
		text = text[:strings.Index(text, "  - name: sometimes")]
	case 3:
		text += "nonsense: true\n"
	}
	path := filepath.Join(w.dir, "config.yaml")
	text += "\nviewers: {anonymous: true}\n"
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.t.Fatal(err)
	}
	switch n % 3 {
	case 0:
		a := fetch(w.t, http.MethodPost, w.admin+"/-/reload")
		if got, want := a.status == http.StatusOK, n%4 != 3; got != want {
			w.fails("reload %d: success = %v, want %v: status %d, body %s",
				n, got, want, a.status, a.body)
		}
	case 1:
		w.signal(w.t, syscall.SIGHUP)
	} // otherwise the proxy notices the changed file
}

// Clients send requests without pause, windows last three seconds, the proxy reloads each second,
// and STS hangs, resets connections or is down half of the time. Each request for a configured
// bucket is redirected to a valid URL, and memory, goroutines and open files do not grow.
func TestSoak(t *testing.T) {
	need(t, "toxiproxy-server")
	lasts, path := soakTime(t)
	toxi, err := startedToxiproxy()
	if err != nil {
		t.Fatal(err)
	}
	made := toxi.call(t, http.MethodPost, "/proxies", map[string]any{
		"name":     "soak",
		"listen":   "127.0.0.1:0",
		"upstream": strings.TrimPrefix(radosgw(t).endpoint, "http://"),
		"enabled":  true,
	})
	w := startSoak(t, made["listen"].(string), path)
	w.location(t, http.MethodGet, "/s3/soak-role/key")
	w.location(t, http.MethodGet, "/s3/soak-keys/key")
	idle := w.scrape(t)

	stop := make(chan struct{})
	var clients, faults sync.WaitGroup
	for n := range 4 {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 7))
			for {
				select {
				case <-stop:
					return
				default:
					w.ask(r)
				}
			}
		})
	}
	faults.Go(func() {
		r := rand.New(rand.NewPCG(7, 7))
		pause := func(d time.Duration) bool {
			select {
			case <-stop:
				return false
			case <-time.After(d):
				return true
			}
		}
		for on := true; on; on = pause(4 * time.Second) {
			f := faultsOfConnections[r.IntN(len(faultsOfConnections))]
			repair := toxi.cause(t, "soak", &f)
			// Wait for at least a window, so that the proxy calls STS during the fault.
			pause(3*time.Second + time.Duration(r.IntN(2000))*time.Millisecond)
			repair()
		}
	})
	// The smallest heap size seen in a quarter of the time approximates the live heap.
	least := [4]float64{}
	for began, n := time.Now(), 0; time.Since(began) < lasts; n++ {
		time.Sleep(time.Second)
		w.reload(n)
		quarter := &least[min(3, 4*time.Since(began)/lasts)]
		if held := w.scrape(t)["go_memstats_heap_alloc_bytes"]; *quarter == 0 || held < *quarter {
			*quarter = held
		}
	}
	close(stop)
	clients.Wait()
	faults.Wait()
	if grown := least[3] - least[1]; grown > 2<<20 {
		t.Errorf("heap growth from the second quarter to the last = %.1f MiB, want at most 2: %.0f",
			grown/(1<<20), least)
	}
	w.client.CloseIdleConnections()
	client.CloseIdleConnections()
	var now map[string]float64
	awaitThat(t, "as many goroutines and open files as before", func() bool {
		now = w.scrape(t)
		return now["go_goroutines"] <= idle["go_goroutines"]+8 &&
			now["process_open_fds"] <= idle["process_open_fds"]+8
	})
	failed := now[`s3redirect_assume_role_total{integration="role",result="unavailable"}`]
	asked, followed, later := w.asked.Load(), w.followed.Load(), w.later.Load()
	if asked < 1000 || followed < 20 || later == 0 || failed == 0 {
		t.Errorf("too little load: %d requests, %d followed at once, %d followed later, "+
			"%v failed calls of STS, want at least 1000, 20, 1 and 1",
			asked, followed, later, failed)
	}
	if out := w.output(); strings.Contains(out, "DATA RACE") || strings.Contains(out, `"panic"`) {
		i := max(strings.Index(out, "DATA RACE"), strings.Index(out, `"panic"`))
		t.Errorf("the log has a data race or a panic: %s",
			out[max(0, i-200):min(len(out), i+3000)])
	}
	t.Logf("%v: %d requests, %d followed at once and %d later; "+
		"%v successful and %v failed calls of AssumeRole; heap %.0f; "+
		"%v goroutines before and %v after",
		lasts, asked, followed, later,
		now[`s3redirect_assume_role_total{integration="role",result="ok"}`], failed, least,
		idle["go_goroutines"], now["go_goroutines"])
}
