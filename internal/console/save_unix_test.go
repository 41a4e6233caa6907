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

// holdLock locks the directory of integrations as another program would.
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

// A file that another program has locked is waited for, for five seconds; and those who save
// meanwhile do not wait one after the other.
func TestSaveOfALockedFile(t *testing.T) {
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
				t.Errorf("status %d, want 503: %s", a.status, a.body)
			}
		}
		if waited := time.Since(began); waited > 10*time.Second {
			t.Errorf("%d clients waited for %v, want 10s at most", clients, waited)
		}
		if w.file() != testFile {
			t.Error("the file has changed")
		}
		release()
		if a := w.post("/api/changes", change); a.status != http.StatusOK || w.file() == testFile {
			t.Errorf("once the lock is free: status %d, want 200: %s", a.status, a.body)
		}
	})
}

// Nothing is written for a client that hangs up while its change waits, however its body is sent.
func TestClientThatHangsUpWhileSaving(t *testing.T) {
	for name, body := range map[string]func(string) io.Reader{
		"with its length": func(text string) io.Reader { return strings.NewReader(text) },
		"in chunks":       func(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testFile)
			w.signInAs("ann")
			text := `{"action":"change","name":"lab","draft":{"bucket":"pictures"},"save":true,"base":"` + w.base() +
				`"}`
			w.holdLock()
			answered := make(chan string, 1)
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				w.ServeHTTP(rec, r)
				answered <- rec.Body.String()
			}))
			defer server.Close()
			ctx, hangUp := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/api/changes", body(text))
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
				hangUp()
			}()
			if resp, err := http.DefaultClient.Do(r); err == nil {
				_ = resp.Body.Close()
				t.Errorf("the client has an answer, %s", resp.Status)
			}
			if got := <-answered; !strings.Contains(got, "context canceled") {
				t.Errorf("the change ended with %s, want the request's end", got)
			}
			if w.file() != testFile || w.reloads != 1 {
				t.Error("the file has changed")
			}
		})
	}
}
