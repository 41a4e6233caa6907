package inplace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	presigned = "https://s3.localhost/films/film.m3u8?X-Amz-Signature=canary"
	limit     = 4 << 20
)

// store is a transport that answers like a store, and counts its requests.
type store struct {
	requests atomic.Int32
	answer   func(*http.Request) (*http.Response, error)
}

func (s *store) RoundTrip(r *http.Request) (*http.Response, error) {
	s.requests.Add(1)
	return s.answer(r)
}

// response returns a response with a body of a stated length. A negative length states none.
func response(status int, body io.Reader, length int64) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Header:        http.Header{"Content-Type": {"application/vnd.apple.mpegurl"}},
		Body:          io.NopCloser(body),
		ContentLength: length,
	}
}

// status returns an answer without a body.
func status(code int) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return response(code, http.NoBody, 0), nil }
}

func newFetcher(s *store) (*Fetcher, *bytes.Buffer) {
	log := &bytes.Buffer{}
	return New(s, slog.New(slog.NewTextHandler(log, nil)), time.Now), log
}

// checkUnused checks that nothing is held any more.
func checkUnused(t *testing.T, f *Fetcher) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.flights) != 0 || f.fetches.total != 0 || len(f.fetches.by) != 0 {
		t.Errorf("%d flights and %d fetches are left, want none", len(f.flights), f.fetches.total)
	}
	if f.held.total != 0 || len(f.held.by) != 0 {
		t.Errorf("%d bytes are held by %d integrations, want none", f.held.total, len(f.held.by))
	}
}

func TestFetch(t *testing.T) {
	s := &store{answer: func(r *http.Request) (*http.Response, error) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding = %q, want identity", got)
		}
		resp := response(200, strings.NewReader("#EXTM3U\n"), 8)
		for name, value := range map[string]string{
			"ETag": `"1"`, "Last-Modified": "Thu, 26 Nov 2026 10:00:00 GMT", "Content-Encoding": "gzip",
			"Content-Language": "en", "Content-Disposition": "attachment", "Set-Cookie": "a=b",
			"Access-Control-Allow-Origin": "*", "Cache-Control": "public", "X-Amz-Meta-Owner": "x",
			"Location": "https://elsewhere.example", "Content-Security-Policy": "script-src *",
		} {
			resp.Header.Set(name, value)
		}
		return resp, nil
	}}
	f, _ := newFetcher(s)
	d, release, err := f.Fetch(t.Context(), "lab", presigned, limit)
	if err != nil || string(d.Body) != "#EXTM3U\n" {
		t.Fatalf("Fetch = %v, %v, want the playlist", d, err)
	}
	if f.held.total != 8 {
		t.Errorf("%d bytes are held, want 8", f.held.total)
	}
	want := http.Header{
		"Content-Type": {"application/vnd.apple.mpegurl"}, "Etag": {`"1"`},
		"Last-Modified":    {"Thu, 26 Nov 2026 10:00:00 GMT"},
		"Content-Encoding": {"gzip"}, "Content-Language": {"en"}, "Content-Disposition": {"attachment"},
	}
	if len(d.Header) != len(want) {
		t.Errorf("Header = %v, want %v", d.Header, want)
	}
	for name := range want {
		if d.Header.Get(name) != want.Get(name) {
			t.Errorf("%s = %q, want %q", name, d.Header.Get(name), want.Get(name))
		}
	}
	release()
	release() // has no effect
	checkUnused(t, f)
	if _, release, err := f.Fetch(t.Context(), "lab", presigned, limit); err != nil {
		t.Error(err)
	} else {
		release()
	}
	if got := s.requests.Load(); got != 2 {
		t.Errorf("two requests after each other made %d fetches, want 2: nothing is kept", got)
	}
}

func TestConcurrentRequestsShareAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{answer: func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return response(200, strings.NewReader("#EXTM3U\n"), 8), nil
		}}
		f, _ := newFetcher(s)
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() {
				d, release, err := f.Fetch(t.Context(), "lab", presigned, limit)
				if err != nil || string(d.Body) != "#EXTM3U\n" {
					t.Errorf("Fetch = %v, %v, want the playlist", d, err)
					return
				}
				time.Sleep(time.Second) // write the response
				f.mu.Lock()
				if f.held.total != 8 {
					t.Errorf("%d bytes are held, want 8", f.held.total)
				}
				f.mu.Unlock()
				time.Sleep(time.Second) // until all have checked
				release()
			})
		}
		all.Wait()
		if got := s.requests.Load(); got != 1 {
			t.Errorf("500 requests made %d fetches, want 1", got)
		}
		checkUnused(t, f)
	})
}

func TestErrors(t *testing.T) {
	canary := errors.New("dial: refused")
	for name, c := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		want   error
		status int
	}{
		"stated length": {func(*http.Request) (*http.Response, error) {
			return response(200, http.NoBody, limit+1), nil
		}, ErrTooLarge, 0},
		"not found":       {status(404), nil, 404},
		"denied":          {status(403), nil, 403},
		"partial content": {status(206), nil, 206},
		"throttled":       {status(503), ErrUnavailable, 0},
		"too many":        {status(429), ErrUnavailable, 0},
		"redirect": {func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "s3.localhost" {
				t.Errorf("a redirect to %s was followed", r.URL.Host)
			}
			resp := response(307, http.NoBody, 0)
			resp.Header.Set("Location", "http://169.254.169.254/latest/meta-data/")
			return resp, nil
		}, nil, 307},
		"unreachable": {func(*http.Request) (*http.Response, error) { return nil, canary }, canary, 0},
		"closed early": {func(*http.Request) (*http.Response, error) {
			return response(200, io.MultiReader(strings.NewReader("#EXT"), failing{io.ErrUnexpectedEOF}), -1), nil
		}, ErrUnavailable, 0},
		"closed early, with a length": {func(*http.Request) (*http.Response, error) {
			return response(200, io.MultiReader(strings.NewReader("#EXT"), failing{io.ErrUnexpectedEOF}), 8), nil
		}, ErrUnavailable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f, log := newFetcher(&store{answer: c.answer})
			_, _, err := f.Fetch(t.Context(), "lab", presigned, limit)
			got := 0
			if answered, ok := errors.AsType[*StatusError](err); ok {
				got = answered.Status
			}
			if c.want != nil && !errors.Is(err, c.want) || got != c.status {
				t.Errorf("Fetch = %v, want %v or status %d", err, c.want, c.status)
			}
			logged := strings.Contains(log.String(), "document not fetched")
			if unavailable := errors.Is(err, ErrUnavailable); unavailable != logged {
				t.Errorf("Fetch = %v, and the log has %q", err, log)
			}
			if strings.Contains(err.Error()+log.String(), "canary") {
				t.Errorf("a message contains the signature: %v, %s", err, log)
			}
			checkUnused(t, f)
		})
	}
}

// TestUnstatedLength checks that a document whose length the store does not state takes no more
// memory than it needs.
func TestUnstatedLength(t *testing.T) {
	f, _ := newFetcher(&store{answer: func(*http.Request) (*http.Response, error) {
		return response(200, strings.NewReader("#EXTM3U\n"), -1), nil
	}})
	d, release, err := f.Fetch(t.Context(), "lab", presigned, limit)
	if err != nil || string(d.Body) != "#EXTM3U\n" || cap(d.Body) > 64 {
		t.Fatalf("Fetch = %v, %v, want the playlist in as many bytes", d, err)
	}
	if f.held.total != 8 {
		t.Errorf("%d bytes are held, want 8", f.held.total)
	}
	release()
	checkUnused(t, f)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// endless is a body that never ends.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// TestMemory fetches an endless object whose length the store does not state.
func TestMemory(t *testing.T) {
	body := &endless{}
	f, _ := newFetcher(&store{answer: func(*http.Request) (*http.Response, error) {
		return response(200, body, -1), nil
	}})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, _, err := f.Fetch(t.Context(), "lab", presigned, limit); !errors.Is(err, ErrTooLarge) {
				t.Errorf("Fetch = %v, want %v", err, ErrTooLarge)
			}
		})
	}
	all.Wait()
	runtime.ReadMemStats(&after)
	fetches := body.read.Load() / (limit + 1)
	if want := fetches * (limit + 1); body.read.Load() != want {
		t.Errorf("%d bytes were read in %d fetches, want %d", body.read.Load(), fetches, want)
	}
	if got, want := int64(after.TotalAlloc-before.TotalAlloc), fetches*(limit+1)+(4<<20); got > want {
		t.Errorf("%d fetches allocated %d bytes, want at most %d", fetches, got, want)
	}
	checkUnused(t, f)
}

// TestTricklingStore checks that a store that sends a byte a second holds a fetch no longer than the
// timeout, and logs it at most every logInterval.
func TestTricklingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, log := newFetcher(&store{answer: func(r *http.Request) (*http.Response, error) {
			return response(200, trickle{r.Context()}, 1000), nil
		}})
		start := time.Now()
		_, _, err := f.Fetch(t.Context(), "lab", presigned, limit)
		if took := time.Since(start); !errors.Is(err, ErrUnavailable) || took != Timeout {
			t.Errorf("Fetch = %v after %v, want %v after %v", err, took, ErrUnavailable, Timeout)
		}
		if got := strings.Count(log.String(), "document not fetched"); got != 1 {
			t.Errorf("the log has %d lines, want 1: %s", got, log)
		}
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, _, err := f.Fetch(ctx, "lab", presigned, limit); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Fetch = %v, want the context's error", err)
			}
			cancel()
			synctest.Wait()
			checkUnused(t, f) // without users, a fetch ends
		}
	})
}

type trickle struct{ ctx context.Context }

func (b trickle) Read(p []byte) (int, error) {
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(time.Second):
		return copy(p, "x"), nil
	}
}

// TestShares checks that an integration whose store is slow leaves room for others.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newFetcher(&store{answer: func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "slow") {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return response(200, strings.NewReader("#EXTM3U\n"), 8), nil
		}})
		var overloaded atomic.Int32
		var all sync.WaitGroup
		for n := range 2 * maxFetches {
			all.Go(func() {
				_, _, err := f.Fetch(t.Context(), "slow", "https://s3.localhost/slow?"+strconv.Itoa(n), limit)
				if errors.Is(err, ErrOverloaded) {
					overloaded.Add(1)
				}
			})
		}
		synctest.Wait()
		if got, want := int(overloaded.Load()), 2*maxFetches-maxFetches/integrationShare; got != want {
			t.Errorf("%d fetches were rejected, want %d", got, want)
		}
		_, release, err := f.Fetch(t.Context(), "lab", presigned, limit)
		if err != nil {
			t.Fatalf("Fetch of another integration = %v, want a document", err)
		}
		release()
		all.Wait()
		synctest.Wait()
		checkUnused(t, f)
	})
}

// TestPanic checks that a panic of a fetch is an error for all requests that share it, that its value
// is not logged, and that nothing is held afterwards.
func TestPanic(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"of the transport": func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			panic(r.URL.String())
		},
		"of the body": func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return response(200, panicking{}, 8), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, log := newFetcher(&store{answer: answer})
				var all sync.WaitGroup
				for range 10 {
					all.Go(func() {
						if _, _, err := f.Fetch(t.Context(), "lab", presigned, limit); !errors.Is(err, ErrPanic) {
							t.Errorf("Fetch = %v, want %v", err, ErrPanic)
						}
					})
				}
				all.Wait()
				synctest.Wait()
				checkUnused(t, f)
				if got := log.String(); strings.Count(got, "msg=panic") != 1 || strings.Contains(got, "canary") {
					t.Errorf("the log has %q, want the panic once, without its value", got)
				}
			})
		})
	}
}

// panicking is a body whose reads panic.
type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("canary") }

// TestHeldBytes checks that responses in progress bound the bytes of new documents.
func TestHeldBytes(t *testing.T) {
	f, _ := newFetcher(&store{answer: func(*http.Request) (*http.Response, error) {
		return response(200, bytes.NewReader(make([]byte, limit)), limit), nil
	}})
	var releases []func()
	for n := 0; ; n++ {
		_, release, err := f.Fetch(t.Context(), "lab", presigned, limit)
		if errors.Is(err, ErrOverloaded) {
			if want := maxHeld / integrationShare / limit; n != want {
				t.Errorf("%d documents fit, want %d", n, want)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	for _, release := range releases {
		release()
	}
	checkUnused(t, f)
}

func TestIsActive(t *testing.T) {
	for contentType, want := range map[string]bool{
		"": false, "application/vnd.apple.mpegurl": false, "application/dash+xml": false,
		"text/vtt; charset=utf-8": false, "text/css": false, "application/json": false,
		"application/octet-stream": false, "application/xml": false, "text/plain": false,
		"audio/x-mpegurl": false,
		"text/html":       true, "TEXT/HTML; charset=utf-8": true, "application/xhtml+xml": true,
		"image/svg+xml": true, "text/javascript": true, "application/javascript": true,
		"application/x-javascript": true, "text/ecmascript": true, "text/javascript1.5": true,
		"text/jscript": true, "text/livescript": true, "application/x-ecmascript": true,
		"multipart/x-mixed-replace; boundary=a": true, "text/html;=": true, "text/html, text/plain": true,
		"text/xsl": true,
	} {
		if got := isActive(contentType); got != want {
			t.Errorf("isActive(%q) = %v, want %v", contentType, got, want)
		}
	}
}

// lastRead is a body whose last read returns io.EOF together with its bytes, as net/http's do.
type lastRead struct{ left int }

func (b *lastRead) Read(p []byte) (int, error) {
	n := min(b.left, len(p))
	if b.left -= n; b.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

// TestLimitIsExact checks a document of limit bytes, and one that is a byte larger.
func TestLimitIsExact(t *testing.T) {
	for _, stated := range []bool{true, false} {
		for _, size := range []int{limit - 1, limit, limit + 1} {
			f, _ := newFetcher(&store{answer: func(*http.Request) (*http.Response, error) {
				length := int64(-1)
				if stated {
					length = int64(size)
				}
				return response(200, &lastRead{size}, length), nil
			}})
			d, release, err := f.Fetch(t.Context(), "lab", presigned, limit)
			switch {
			case size > limit && !errors.Is(err, ErrTooLarge):
				t.Errorf("%d bytes, stated: %v: Fetch = %v, want %v", size, stated, err, ErrTooLarge)
			case size <= limit && (err != nil || len(d.Body) != size):
				t.Errorf("%d bytes, stated: %v: Fetch = %v, want them all", size, stated, err)
			}
			if err == nil {
				release()
			}
			checkUnused(t, f)
		}
	}
}
