package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// counter counts the bytes that are read.
type counter struct {
	io.Reader
	read int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}

// The proxy stops reading a body once it is known to be invalid.
func TestPresignStopsReadingInvalidBodies(t *testing.T) {
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
		if limit := 64 << 10; c.read > limit {
			t.Errorf("%s: read %d bytes, want at most %d", what, c.read, limit)
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
			t.Errorf("%.60q: got no URLs, want some", body)
		}
	}
}

// A body with 1,000 escaped keys of 1,024 bytes is accepted. A larger body is rejected, with or
// without Content-Length.
func TestPresignBodySize(t *testing.T) {
	w := newWorld(t)
	one := `"s3://` + strings.Repeat("b", 63) + `/` + strings.Repeat(`\u00fc`, 512) + `"`
	escaped := `{"locators": [` + strings.Repeat(one+", ", 999) + one + `]}`
	got := readURLs(t, w.post("/presign", strings.NewReader(escaped)))
	if len(got) != 1000 || got[999].Error != "bucket_not_permitted" {
		t.Errorf("got %d items, want 1,000; the last: %+v", len(got), got[len(got)-1])
	}
	one = `"` + strings.Repeat("x", 4000) + `"`
	large := `{"locators": [` + strings.Repeat(one+",", 999) + one + `]}`
	wantCode(t, "4 MB of unknown length", w.post("/presign", strings.NewReader(large)), 413,
		"too_large")
	read := &counter{Reader: strings.NewReader(large)}
	r := httptest.NewRequest(http.MethodPost, "/presign", read)
	r.ContentLength = int64(len(large))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	wantCode(t, "4 MB", rec.Result(), 413, "too_large")
	if read.read > 0 {
		t.Errorf("read %d bytes of a body whose Content-Length is too large, want 0", read.read)
	}
}

// All bodies in flight share a budget. It counts the bytes that were read, so clients that send
// nothing take nothing from it.
func TestBodiesInFlightShareBudget(t *testing.T) {
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
		go func() {
			w.postFrom(t.Context(), rec, addr, "/presign", body)
			done <- rec.Result()
		}()
	}
	for range 1000 {
		send(readerFunc(func([]byte) (int, error) { <-wait; return 0, io.EOF }), none)
	}
	n := total / len(full)
	read := make(chan struct{}, n)
	for range n {
		pause := readerFunc(func([]byte) (int, error) {
			read <- struct{}{}
			<-hold
			return 0, io.EOF
		})
		begin, end := strings.NewReader(full[:len(full)-1]), strings.NewReader("}")
		send(io.MultiReader(begin, pause, end), answered)
	}
	for range n {
		<-read
	}
	resp := w.post("/presign", strings.NewReader(full))
	wantCode(t, "a body over the budget", resp, 503, "overloaded")
	if got := resp.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After: got %q, want 1", got)
	}
	small := strings.NewReader(`{"locators": ["s3://scans/k"]}`)
	if got := readURLs(t, w.post("/presign", small)); len(got) != 1 || got[0].Error != "" {
		t.Errorf("a small body: got %+v, want a URL", got)
	}
	w.redirect("GET", "/s3/bucket/k")

	// A reload keeps the budget.
	next, err := New(Options{
		Integrations:   w.set,
		Metrics:        w.Handler.metrics,
		Clock:          time.Now,
		Log:            w.Handler.log,
		URLs:           1000,
		ReferrerPolicy: "no-referrer",
		Gate:           w.gate,
		Previous:       w.Handler,
	})
	if err != nil {
		t.Fatal(err)
	}
	resp = (&world{Handler: next, t: t}).post("/presign", strings.NewReader(full))
	wantCode(t, "a body over the budget after a reload", resp, 503, "overloaded")

	for i := range n { // the batches are the same, so their order does not matter
		hold <- struct{}{}
		if resp := <-answered; resp.StatusCode != http.StatusOK {
			t.Errorf("batch %d: got %d, want 200", i, resp.StatusCode)
		}
	}
	close(wait)
	for range 1000 {
		if resp := <-none; resp.StatusCode != http.StatusBadRequest {
			t.Errorf("an empty body: got %d, want 400", resp.StatusCode)
		}
	}
	wantReleased(t, w.bodies)
}

// Strings that are not Unicode are rejected, and not changed to U+FFFD, which would name another
// object.
func TestLoneSurrogatesAreRejected(t *testing.T) {
	w := newWorld(t, withViewers)
	for _, c := range []struct {
		key  string // as JSON
		path string // "" if the key is rejected
		all  bool   // the entire body is rejected
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
		{"\xed\xa0\x80", "", true}, // U+D800 encoded like UTF-8
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
		} else {
			text, err := io.ReadAll(link.Body)
			if err != nil || !strings.Contains(string(text), "/users/ann/"+c.path+"?") {
				t.Errorf("POST /link of %q: got %s, want a path with %s", c.key, text, c.path)
			}
		}
		if c.all {
			wantCode(t, fmt.Sprintf("POST /presign of %q", c.key), resp, 400, "bad_request")
			continue
		}
		got := readURLs(t, resp)
		switch {
		case len(got) != 2 || got[1].Error != "":
			t.Fatalf("POST /presign of %q: got %+v, want two items, and no error for the second",
				c.key, got)
		case c.path == "" && (got[0].Error != "bad_locator" || got[0].URL != ""):
			t.Errorf("POST /presign of %s: got %+v, want bad_locator", c.key, got[0])
		case c.path != "" && !strings.Contains(got[0].URL, "/users/ann/"+c.path+"?"):
			t.Errorf("POST /presign of %q: got %+v, want a URL with %s", c.key, got[0], c.path)
		}
		if want := `"s3://bucket/users/ann/` + c.key + `"`; string(got[0].Locator) != want {
			t.Errorf("locator: got %s, want %s", got[0].Locator, want)
		}
	}
}

// unquote rejects exactly the sequences of UTF-16 code units with an unpaired surrogate.
func TestUnquoteRejectsUnpairedSurrogates(t *testing.T) {
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
			t.Errorf("unquote(%s) = %q, %v; want %q, lone surrogate %v", raw.Bytes(), got, err,
				want, lone)
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
