//go:build unix

package console

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// holdLock locks the directory of the included files, like another process that saves.
func (w *world) holdLock() (release func()) {
	w.t.Helper()
	f, err := os.Open(w.folder())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = f.Close() })
	return func() { _ = f.Close() }
}

// A save waits for the lock of another process for five seconds. Concurrent saves wait
// together, not one after the other.
func TestSaveWaitsForLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testFile)
		w.signInAs("ann")
		change, release := rename(w.base()), w.holdLock()
		const clients = 4
		began := time.Now()
		answers := make(chan answer, clients)
		for range clients {
			go func() { answers <- w.post("/api/changes", change) }()
		}
		for range clients {
			a := <-answers
			if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "try again") {
				t.Errorf("got status %d, %s, want 503", a.status, a.body)
			}
		}
		if waited := time.Since(began); waited > 10*time.Second {
			t.Errorf("%d clients waited %v, want at most 10s", clients, waited)
		}
		if w.file() != testFile {
			t.Errorf("the file has changed to\n%s", w.file())
		}
		release()
		if a := w.post("/api/changes", change); a.status != http.StatusOK || w.file() == testFile {
			t.Errorf("after release: got status %d, %s, want 200 and a change", a.status, a.body)
		}
	})
}

// If the client disconnects while its change waits for the lock, nothing is written.
func TestSaveStopsWhenClientDisconnects(t *testing.T) {
	for name, body := range map[string]func(string) io.Reader{
		"with Content-Length": func(text string) io.Reader { return strings.NewReader(text) },
		"chunked":             func(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testFile)
			w.signInAs("ann")
			text := `{"action":"change","name":"lab","draft":{"bucket":"pictures"},"save":true,` +
				`"base":"` + w.base() + `"}`
			w.holdLock()
			answered := make(chan string, 1)
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				w.ServeHTTP(rec, r)
				answered <- rec.Body.String()
			}))
			defer server.Close()
			ctx, disconnect := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, http.MethodPost,
				server.URL+"/api/changes", body(text))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Origin", server.URL)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set(csrfHeader, w.csrf)
			r.AddCookie(w.cookie)
			go func() {
				for len(w.saving) == 0 {
					time.Sleep(time.Millisecond)
				}
				disconnect()
			}()
			if resp, err := http.DefaultClient.Do(r); err == nil {
				_ = resp.Body.Close()
				t.Errorf("got response %s, want an error", resp.Status)
			}
			if got := <-answered; !strings.Contains(got, "context canceled") {
				t.Errorf("the handler answered %s, want context canceled", got)
			}
			if w.file() != testFile || w.reloads != 1 {
				t.Errorf("got %d reloads and\n%s\nwant 1 and the same file", w.reloads, w.file())
			}
		})
	}
}
