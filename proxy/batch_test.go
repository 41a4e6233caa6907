package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"s3redirect/internal/fakeaws"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"
)

// postTo sends a body as it arrives, and of unknown length.
func (w *world) postTo(ctx context.Context, rec http.ResponseWriter, target string, body io.Reader) {
	w.postFrom(ctx, rec, "192.0.2.1:1234", target, body)
}

func (w *world) postFrom(
	ctx context.Context, rec http.ResponseWriter, addr, target string, body io.Reader,
) {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://proxy.localhost"+target, body)
	r.RequestURI, r.RemoteAddr, r.ContentLength = target, addr, -1
	r.Header.Set("Content-Type", "application/json")
	w.ServeHTTP(rec, r)
}

func (w *world) post(target string, body io.Reader) *http.Response {
	rec := httptest.NewRecorder()
	w.postTo(w.t.Context(), rec, target, body)
	return rec.Result()
}

// batch is a body of POST /presign with so many locators.
func batch(n int, locator func(n int) string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = locator(i)
	}
	text, err := json.Marshal(map[string][]string{"locators": all})
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

// item is the answer of POST /presign for one locator, which is kept as it was written.
type item struct {
	Locator    json.RawMessage
	URL, Error string
}

// readURLs returns the items of an answer of POST /presign.
func readURLs(t *testing.T, resp *http.Response) []item {
	t.Helper()
	wantNoSniff(t, resp)
	var answer struct{ URLs []item }
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("POST /presign: got %d, %v, %.300s; want 200 and JSON", resp.StatusCode, err, text)
	}
	return answer.URLs
}

// counter counts what is read of a body.
type counter struct {
	io.Reader
	read int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}

// A body is not read beyond the point where it is known to be bad.
func TestPresignReadsNoFurtherThanItMust(t *testing.T) {
	w := newWorld(t)
	for what, body := range map[string]string{
		"1.39 million empty locators": `{"locators": [` + strings.Repeat(`"",`, 1_390_000) + `""]}`,
		"a locator of 3 MB":           `{"locators": ["` + strings.Repeat("x", 3_000_000) + `"]}`,
		"a name of 3 MB":              `{"` + strings.Repeat("x", 3_000_000) + `": []}`,
		"an unknown field of 3 MB":    `{"more": [` + strings.Repeat(`1,`, 1_500_000) + `1]}`,
		"3 MB of spaces":              strings.Repeat(" ", 3_000_000) + `{"locators": []}`,
		"a deep list":                 `{"locators": ` + strings.Repeat("[", 3_000_000),
		"a deep object":               `{"locators": [` + strings.Repeat(`{"a":`, 600_000),
		"cors that is a list of 3 MB": `{"cors": [` + strings.Repeat(`1,`, 1_500_000) + `1]}`,
	} {
		c := &counter{Reader: strings.NewReader(body)}
		wantCode(t, what, w.post("/presign", c), 400, "bad_request")
		if most := 64 << 10; c.read > most {
			t.Errorf("%s: read %d bytes of it, want %d at most", what, c.read, most)
		}
	}
}

func TestPresignBodies(t *testing.T) {
	w := newWorld(t)
	many := strings.Repeat(`"s3://scans/k",`, 999) + `"s3://scans/k"`
	for body, code := range map[string]string{
		`{"locators": ["s3://scans/k"]}`:                                      "",
		`{"cors": true, "locators": ["s3://scans/k"]}`:                        "",
		"\t{ \"locators\" :\n[ \"s3:\\/\\/scans\\/k\" ] , \"cors\":false }\n": "",
		`{"locators": [` + many + `]}`:                                        "",
		`{"locators": [` + many + `, "s3://scans/k"]}`:                        "bad_request",
		`{"locators": []}`:                                                    "bad_request",
		`{"locators": null}`:                                                  "bad_request",
		`{"locators": "s3://scans/k"}`:                                        "bad_request",
		`{"locators": {"a": "s3://scans/k"}}`:                                 "bad_request",
		`{"locators": ["s3://scans/k", 1]}`:                                   "bad_request",
		`{"locators": ["s3://scans/k", null]}`:                                "bad_request",
		`{"locators": [["s3://scans/k"]]}`:                                    "bad_request",
		`{"locators": ["s3://scans/k",]}`:                                     "bad_request",
		`{"locators": ["s3://scans/k"],}`:                                     "bad_request",
		`{"locators": ["s3://scans/k"}`:                                       "bad_request",
		`{"locators": ["s3://scans/k"`:                                        "bad_request",
		`{"locators": ["s3://scans/k"]`:                                       "bad_request",
		`{"locators": ["s3://scans/k"]} {}`:                                   "bad_request",
		`{"locators": ["s3://scans/k"]}]`:                                     "bad_request",
		`{"locators": ["s3://scans/k"], "locators": ["s3://bucket/k"]}`:       "bad_request",
		`{"locators": ["s3://scans/k"], "cors": true, "cors": false}`:         "bad_request",
		`{"locators": ["s3://scans/k"], "more": 1}`:                           "bad_request",
		`{"locators": ["s3://scans/k"], "cors": 1}`:                           "bad_request",
		`{"Locators": ["s3://scans/k"]}`:                                      "bad_request",
		`{"locators" ["s3://scans/k"]}`:                                       "bad_request",
		`["s3://scans/k"]`:                                                    "bad_request",
		`"s3://scans/k"`:                                                      "bad_request",
		`null`:                                                                "bad_request",
		``:                                                                    "bad_request",
		`{"locators": ["` + strings.Repeat("x", 7000) + `"]}`:                 "",
	} {
		resp := w.post("/presign", strings.NewReader(body))
		if code != "" {
			wantCode(t, fmt.Sprintf("%.60q", body), resp, 400, code)
		} else if got := readURLs(t, resp); len(got) == 0 {
			t.Errorf("%.60q: got no URLs", body)
		}
	}
}

// What encoders make of 1,000 keys of 1,024 bytes is not too large; more is, whether its length is
// announced or not.
func TestPresignBodySize(t *testing.T) {
	w := newWorld(t)
	one := `"s3://` + strings.Repeat("b", 63) + `/` + strings.Repeat(`\u00fc`, 512) + `"`
	escaped := `{"locators": [` + strings.Repeat(one+", ", 999) + one + `]}`
	got := readURLs(t, w.post("/presign", strings.NewReader(escaped)))
	if len(got) != 1000 || got[999].Error != "bucket_not_permitted" {
		t.Errorf("got %d items, want 1,000; the last: %+v", len(got), got[len(got)-1])
	}
	large := `{"locators": [` + strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("x", 4000)+`",`, 1000), ",") + `]}`
	wantCode(t, "4 MB of unknown length", w.post("/presign", strings.NewReader(large)), 413, "too_large")
	read := &counter{Reader: strings.NewReader(large)}
	r := httptest.NewRequest(http.MethodPost, "/presign", read)
	r.ContentLength = int64(len(large))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	wantCode(t, "4 MB", rec.Result(), 413, "too_large")
	if read.read > 0 {
		t.Errorf("read %d bytes of a body that announces that it is too large, want 0", read.read)
	}
}

// All bodies in flight share a budget. It counts what was read, so clients that send nothing take
// nothing.
func TestBodiesInFlight(t *testing.T) {
	w := newWorld(t)
	if got := w.bodies.total; got != maxBodies {
		t.Errorf("the budget is %d bytes, want %d", got, maxBodies)
	}
	full := batch(100, func(int) string { return strings.Repeat("x", 1000) })
	const total = 1 << 20
	w.bodies = newBudget(total)
	hold, wait := make(chan struct{}), make(chan struct{})
	none, answered := make(chan *http.Response), make(chan *http.Response)
	sent := 0
	send := func(body io.Reader, done chan<- *http.Response) {
		sent++ // each from another address: one client may not hold the entire budget
		rec, addr := httptest.NewRecorder(), fmt.Sprintf("10.0.%d.%d:1", sent/256, sent%256)
		go func() { w.postFrom(t.Context(), rec, addr, "/presign", body); done <- rec.Result() }()
	}
	for range 1000 {
		send(readerFunc(func([]byte) (int, error) { <-wait; return 0, io.EOF }), none)
	}
	n := total / len(full)
	read := make(chan struct{}, n)
	for range n {
		pause := readerFunc(func([]byte) (int, error) { read <- struct{}{}; <-hold; return 0, io.EOF })
		send(io.MultiReader(strings.NewReader(full[:len(full)-1]), pause, strings.NewReader("}")), answered)
	}
	for range n {
		<-read
	}
	resp := w.post("/presign", strings.NewReader(full))
	wantCode(t, "one more", resp, 503, "overloaded")
	if got := resp.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After: got %q, want 1", got)
	}
	small := strings.NewReader(`{"locators": ["s3://scans/k"]}`)
	if got := readURLs(t, w.post("/presign", small)); len(got) != 1 || got[0].Error != "" {
		t.Errorf("a small one: got %+v, want a URL", got)
	}
	w.redirect("GET", "/s3/bucket/k")

	// The budget is the process's: a reload does not double it.
	next, err := New(Options{Integrations: w.set, Metrics: w.Handler.metrics, Clock: time.Now, Log: w.Handler.log,
		URLs: 1000, ReferrerPolicy: "no-referrer", Gate: w.gate, Previous: w.Handler})
	if err != nil {
		t.Fatal(err)
	}
	resp = (&world{Handler: next, t: t}).post("/presign", strings.NewReader(full))
	wantCode(t, "one more after a reload", resp, 503, "overloaded")

	for i := range n { // any of them may be the next, and all are the same
		hold <- struct{}{}
		if resp := <-answered; resp.StatusCode != http.StatusOK {
			t.Errorf("batch %d: got %d, want 200", i, resp.StatusCode)
		}
	}
	close(wait)
	for range 1000 {
		if resp := <-none; resp.StatusCode != http.StatusBadRequest {
			t.Errorf("a body that never came: got %d, want 400", resp.StatusCode)
		}
	}
	wantReleased(t, w.bodies)
}

// fragile is a client's connection that breaks, or a writer with a bug, after so many bytes.
type fragile struct {
	*httptest.ResponseRecorder
	left   int
	breaks func() error
}

func (f *fragile) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.breaks()
	}
	return f.ResponseRecorder.Write(p)
}

// An answer that cannot be finished does not look complete, and what the request held is given
// back.
func TestPresignThatIsCutShort(t *testing.T) {
	stays := func() error { return nil }
	for what, c := range map[string]struct {
		left   int
		breaks func() error
		last   string
		status string
	}{
		"a client that stops reading":              {100_000, func() error { return io.ErrClosedPipe }, "s3://scans/k", "499"},
		"a client that is gone before STS answers": {1 << 30, stays, "s3://bucket/k", "499"},
		"a bug": {100_000, func() error { panic("a bug") }, "s3://scans/k", "500"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.set.Close()
				w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error { time.Sleep(10 * time.Second); return nil })
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				time.AfterFunc(5*time.Second, leave)
				rec := &fragile{httptest.NewRecorder(), c.left, c.breaks}
				body := batch(1000, func(n int) string {
					if n == 999 {
						return c.last
					}
					return fmt.Sprintf("s3://scans/%s-%d", strings.Repeat("x", 500), n)
				})
				func() {
					defer func() {
						if v := recover(); v != http.ErrAbortHandler {
							t.Errorf("got %v, want a panic with http.ErrAbortHandler", v)
						}
					}()
					w.postTo(ctx, rec, "/presign", strings.NewReader(body))
				}()
				text := rec.Body.String()
				if rec.Code != http.StatusOK || len(text) < 10_000 || json.Valid([]byte(text)) || strings.Contains(text, "_error") {
					t.Errorf("got %d and %d bytes, want half of an answer: …%s", rec.Code, len(text), text[max(0, len(text)-200):])
				}
				if got := scrapeText(t, w); strings.Count(got, `{code="`+c.status+`",integration=`) != 1 {
					t.Errorf("the request is not counted as %s:\n%s", c.status, got)
				}
				wantReleased(t, w.bodies)
			})
		})
	}
}

// URLs are written while others wait for STS.
func TestPresignAnswersWhileItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.set.Close()
		rec := httptest.NewRecorder()
		written := 0
		w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error { written = rec.Body.Len(); return nil })
		w.postTo(t.Context(), rec, "/presign", strings.NewReader(batch(1000, func(n int) string {
			if n == 999 {
				return "s3://bucket/k"
			}
			return fmt.Sprintf("s3://scans/%04d", n)
		})))
		urls := readURLs(t, rec.Result())
		if len(urls) != 1000 || urls[999].Error != "" {
			t.Fatalf("got %d URLs, the last: %+v", len(urls), urls[len(urls)-1])
		}
		for n, got := range urls[:999] {
			key := fmt.Sprintf("%04d", n)
			if string(got.Locator) != `"s3://scans/`+key+`"` || !strings.Contains(got.URL, "/"+key+"?") {
				t.Fatalf("item %d: got %s, %s", n, got.Locator, got.URL)
			}
		}
		if whole := rec.Body.Len(); written < whole/2 {
			t.Errorf("when STS was asked, %d of %d bytes were written", written, whole)
		}
	})
}

// A string that is not Unicode names no object: U+FFFD in its place would name another one.
func TestLoneSurrogates(t *testing.T) {
	w := newWorld(t, withViewers)
	for _, c := range []struct {
		key  string // as JSON
		path string // "" means that it is refused
		all  bool   // with the entire body
	}{
		{`\ud800`, "", false},
		{`\uDFFF`, "", false},
		{`a\udbffb`, "", false},
		{`\ud83d\u0041`, "", false},
		{`\ud83d\\ude00`, "", false},
		{`\ud83d\n`, "", false},
		{`\ud83d\ud83d\ude00`, "", false},
		{`\ude00\ud83d`, "", false},
		{`\ud83d\ude00\ude00`, "", false},
		{"\xff", "", true},
		{"\xed\xa0\x80", "", true}, // U+D800, in UTF-8's pattern
		{"\xc3", "", true},
		{`\ud83d\ude00`, "%F0%9F%98%80", false},
		{`\uD83D\uDE00`, "%F0%9F%98%80", false},
		{"\U0001f600", "%F0%9F%98%80", false},
		{"\ufffd", "%EF%BF%BD", false},
		{`\ufffd`, "%EF%BF%BD", false},
		{`\\ud800`, "%5Cud800", false},
		{`\u005cud800`, "%5Cud800", false},
		{`\ud7ff\ue000`, "%ED%9F%BF%EE%80%80", false},
	} {
		body := `{"locators": ["s3://bucket/users/ann/` + c.key + `", "s3://bucket/users/ann/k"]}`
		resp := w.send("ann", http.MethodPost, "/presign", body, "Content-Type", "application/json")
		body = `{"locator": "s3://bucket/users/ann/` + c.key + `"}`
		link := w.send("ann", http.MethodPost, "/link", body, "Content-Type", "application/json")
		if c.path == "" {
			wantCode(t, "POST /link of "+c.key, link, 400, "bad_request")
		} else if text, err := io.ReadAll(link.Body); err != nil || !strings.Contains(string(text), "/users/ann/"+c.path+"?") {
			t.Errorf("POST /link of %q: got %s, want a path with %s", c.key, text, c.path)
		}
		if c.all {
			wantCode(t, fmt.Sprintf("POST /presign of %q", c.key), resp, 400, "bad_request")
			continue
		}
		got := readURLs(t, resp)
		if c.path == "" && (len(got) != 2 || got[0].Error != "bad_locator" || got[0].URL != "" || got[1].Error != "") {
			t.Errorf("POST /presign of %s: got %+v, want bad_locator and a URL", c.key, got)
		}
		if c.path != "" && (len(got) != 2 || !strings.Contains(got[0].URL, "/users/ann/"+c.path+"?")) {
			t.Errorf("POST /presign of %q: got %+v, want a URL with %s", c.key, got, c.path)
		}
		if want := `"s3://bucket/users/ann/` + c.key + `"`; string(got[0].Locator) != want {
			t.Errorf("the locator: got %s, want %s", got[0].Locator, want)
		}
	}
}

// unquote refuses exactly the sequences of UTF-16 units in which a surrogate has no partner.
func TestUnquoteEveryShortSequence(t *testing.T) {
	units := []uint16{'a', '\\', '"', 'u', 0xd7ff, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xe000, 0xfffd}
	var try func(sequence []uint16)
	try = func(sequence []uint16) {
		lone := false
		for i := 0; i < len(sequence); i++ {
			switch high := sequence[i] >= 0xd800 && sequence[i] < 0xdc00; {
			case high && i+1 < len(sequence) && sequence[i+1] >= 0xdc00 && sequence[i+1] < 0xe000:
				i++
			case sequence[i] >= 0xd800 && sequence[i] < 0xe000:
				lone = true
			}
		}
		var raw bytes.Buffer
		raw.WriteByte('"')
		for _, unit := range sequence {
			fmt.Fprintf(&raw, `\u%04x`, unit)
		}
		raw.WriteByte('"')
		got, err := unquote(raw.Bytes())
		if want := string(utf16.Decode(sequence)); (err != nil) != lone || !lone && got != want {
			t.Errorf("unquote(%s) = %q, %v; want %q, lone surrogate %v", raw.Bytes(), got, err, want, lone)
		}
		if len(sequence) == 4 {
			return
		}
		for _, unit := range units {
			try(append(sequence[:len(sequence):len(sequence)], unit))
		}
	}
	try(nil)
}

// stuck is a client that does not read its URLs until it is let go.
type stuck struct {
	*httptest.ResponseRecorder
	begun, hold chan struct{}
	once        sync.Once
}

func (s *stuck) Write(p []byte) (int, error) {
	if s.Code == http.StatusOK {
		s.once.Do(func() { s.begun <- struct{}{}; <-s.hold })
	}
	return s.ResponseRecorder.Write(p)
}

// A batch of short locators takes more memory than its text. Clients that do not read their answers
// cannot take more than the budget either.
func TestAnswersInFlight(t *testing.T) {
	w := newWorld(t)
	body := batch(1000, func(int) string { return "" })
	const most, total = 20, 20 * (batchCost + 1000*locatorCost)
	w.bodies = newBudget(total)
	begun, hold := make(chan struct{}, most), make(chan struct{})
	var wg sync.WaitGroup
	served := 0
	for ; served <= most; served++ {
		rec := &stuck{ResponseRecorder: httptest.NewRecorder(), begun: begun, hold: hold}
		done, addr := make(chan struct{}), fmt.Sprintf("192.0.2.%d:1", served)
		wg.Go(func() {
			w.postFrom(context.WithoutCancel(t.Context()), rec, addr, "/presign", strings.NewReader(body))
			close(done)
		})
		select {
		case <-begun:
			continue
		case <-done:
		}
		wantCode(t, fmt.Sprintf("after %d batches", served), rec.Result(), 503, "overloaded")
		break
	}
	if served < most*9/10 || served > most {
		t.Errorf("%d batches were answered at once, want nearly %d", served, most)
	}
	close(hold)
	wg.Wait()
	wantReleased(t, w.bodies)
}
