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

// soakTime is how long the soak goes on; SOAK=10m makes it as long, with a binary that looks for races.
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
	build := exec.CommandContext(t.Context(), "go", "build", "-race", "-o", path, "./cmd/s3redirect")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return lasts, path
}

// soak is the built binary under load, before a radosgw whose STS fails now and then.
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

func startSoak(t *testing.T, sts, path string) *soak {
	t.Helper()
	w := &soak{t: t, store: radosgw(t), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, CheckRedirect: client.CheckRedirect, Timeout: 20 * time.Second}}
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
	// Windows of three seconds; what was fetched for one is of use in six more.
	w.text = `
url_lifetime: 6s
min_remaining: 3s
cache: {urls: 2000}
integrations:
  - name: role
    bucket: soak-role
    session_duration: 20s
` + strings.ReplaceAll(asTrusted, "sts_endpoint: ${ENDPOINT}", "sts_endpoint: http://"+sts) + "  - name: keys\n    bucket: soak-keys" + keys
	// A collector that runs often: what the heap holds after it is seen in seconds.
	w.proxy, w.dir = startBinaryIn(t, path, w.text, append(w.store.env(), "GOGC=25")...)
	w.text += "  - name: sometimes\n    bucket: soak-sometimes" + keys
	return w
}

// fails notes what must not be; a few of its kind are enough.
func (w *soak) fails(format string, args ...any) {
	if w.errors.Add(1) <= 10 {
		w.t.Errorf(format, args...)
	}
}

// ask asks once, and now and then follows the redirect: at once, or when min_remaining is nearly over.
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
		if time.Since(asked) < promised && (err != nil || got.status != http.StatusOK) { // on a machine that took longer it shows nothing
			w.fails("%s, followed %s: %v %+v", bucket, when, err, got)
		}
	}
	switch n := r.IntN(100); {
	case n < 5:
		w.followed.Add(1)
		follow("at once", 700*time.Millisecond) // a quarter of min_remaining, when STS is away
	case n < 6 && a.header.Get("Cache-Control") != "no-store":
		w.later.Add(1)
		time.Sleep(2 * time.Second)
		follow("later", 3*time.Second)
	}
}

func (w *soak) do(method, url string) (*answer, error) {
	req, err := http.NewRequestWithContext(w.t.Context(), method, url, nil)
	if err != nil {
		return nil, err
	}
	return readAnswer(w.client.Do(req))
}

// reload reloads, by one of the three ways, a configuration that is changed, not changed, or bad.
func (w *soak) reload(n int) {
	text := everyTest + w.text
	switch n % 4 {
	case 1:
		text = text[:strings.Index(text, "  - name: sometimes")]
	case 3:
		text += "nonsense: true\n"
	}
	path := filepath.Join(w.dir, "config.yaml")
	if err := os.WriteFile(path+".new", []byte(text+"\nviewers: {anonymous: true}\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.t.Fatal(err)
	}
	switch n % 3 {
	case 0:
		if a := fetch(w.t, http.MethodPost, w.admin+"/-/reload"); (a.status == http.StatusOK) != (n%4 != 3) {
			w.fails("reload %d: %d %s", n, a.status, a.body)
		}
	case 1:
		w.signal(w.t, syscall.SIGHUP)
	} // else it is looked at
}

// Full speed, windows that turn each three seconds, a reload each second, and an STS that hangs, breaks off or is away half of the
// time: every request for what is configured is redirected, every URL lives, and in the end nothing has grown.
func TestSoak(t *testing.T) {
	need(t, "toxiproxy-server")
	lasts, path := soakTime(t)
	toxi, err := startedToxiproxy()
	if err != nil {
		t.Fatal(err)
	}
	made := toxi.call(t, http.MethodPost, "/proxies", map[string]any{"name": "soak", "listen": "127.0.0.1:0", "upstream": strings.TrimPrefix(radosgw(t).endpoint, "http://"), "enabled": true})
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
			mend := toxi.cause(t, "soak", &f)
			pause(3*time.Second + time.Duration(r.IntN(2000))*time.Millisecond) // a window at least, so that STS is asked meanwhile
			mend()
		}
	})
	// What the heap holds after a collection is about the least of what it held at some time.
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
		t.Errorf("the heap has grown by %.1f MB from the second quarter to the last: %.0f", grown/(1<<20), least)
	}
	w.client.CloseIdleConnections()
	client.CloseIdleConnections()
	var now map[string]float64
	awaitThat(t, "there are as many goroutines and files as before", func() bool {
		now = w.scrape(t)
		return now["go_goroutines"] <= idle["go_goroutines"]+8 && now["process_open_fds"] <= idle["process_open_fds"]+8
	})
	failed := now[`s3redirect_assume_role_total{integration="role",result="unavailable"}`]
	if w.asked.Load() < 1000 || w.followed.Load() < 20 || w.later.Load() == 0 || failed == 0 {
		t.Errorf("%d requests, %d followed at once, %d later, %v calls of STS failed: it was no soak", w.asked.Load(), w.followed.Load(), w.later.Load(), failed)
	}
	if out := w.output(); strings.Contains(out, "DATA RACE") || strings.Contains(out, `"panic"`) {
		i := max(strings.Index(out, "DATA RACE"), strings.Index(out, `"panic"`))
		t.Errorf("the log: %s", out[max(0, i-200):min(len(out), i+3000)])
	}
	t.Logf("%v: %d requests, %d followed at once and %d later; %v AssumeRole calls, and %v that failed; the heap: %.0f; %v goroutines before and %v after", lasts, w.asked.Load(),
		w.followed.Load(), w.later.Load(), now[`s3redirect_assume_role_total{integration="role",result="ok"}`], failed, least, idle["go_goroutines"], now["go_goroutines"])
}
