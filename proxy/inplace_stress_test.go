package proxy

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// failingWriter is a response's writer that fails, or panics, after a number of writes.
type failingWriter struct {
	*httptest.ResponseRecorder
	writes int
	panics any // what Write panics with, or nil
}

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.writes--; w.writes >= 0 {
		return w.ResponseRecorder.Write(b)
	}
	if w.panics != nil {
		panic(w.panics)
	}
	return 0, http.ErrHandlerTimeout
}

// TestInPlaceStress sends requests for documents whose clients disconnect and whose responses fail
// at random, while sessions are purged. In the end no memory is held, and documents are served.
func TestInPlaceStress(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			w, store := newInPlaceWorld(t)
			w.redirect("GET", "/s3/bucket/film/segment1.ts") // a session
			store.latency = time.Second
			stressInPlace(w, rand.New(rand.NewPCG(seed, 19)))
			if resp, body := w.read("GET", "/s3/bucket/film/film.m3u8"); resp.StatusCode != 200 ||
				body != playlist {
				t.Errorf("got %d %q, want the playlist", resp.StatusCode, body)
			}
			w.reading.mu.Lock()
			defer w.reading.mu.Unlock()
			if w.reading.held != 0 || len(w.reading.clients) != 0 {
				t.Errorf("%d bytes are still held, want none", w.reading.held)
			}
		})
	}
}

func stressInPlace(w *world, random *rand.Rand) {
	targets := []string{
		"/s3/bucket/film/film.m3u8", "/s3/bucket/missing.m3u8", "/s3/bucket/film/film.m3u8?download",
	}
	var all sync.WaitGroup
	for range 300 {
		target := targets[random.IntN(len(targets))]
		starts := time.Duration(random.IntN(10_000)) * time.Millisecond
		waits := time.Duration(random.IntN(3000)) * time.Millisecond
		writer := &failingWriter{httptest.NewRecorder(), random.IntN(3), nil}
		switch random.IntN(4) {
		case 0:
			writer.panics = http.ErrAbortHandler
		case 1:
			writer.panics = "a bug"
		}
		all.Go(func() {
			time.Sleep(starts)
			ctx, cancel := context.WithTimeoutCause(context.Background(), waits, context.Canceled)
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, "GET", target, nil)
			defer func() { _ = recover() }() // as net/http does
			w.Handler.ServeHTTP(writer, r)
		})
		if random.IntN(30) == 0 {
			all.Go(func() {
				time.Sleep(starts)
				w.set.Purge("lab")
				w.Purge()
			})
		}
	}
	all.Wait()
}
