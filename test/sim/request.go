package sim

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"s3redirect/internal/app"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

// request is a request of a client, and its answer.
type request struct {
	id       int
	replica  *replica
	start    int       // the replica's start that it began with
	app      *app.App  // of that start
	settings *settings // in force when it began
	viewer   *viewer   // who really sends it
	method   string
	target   string
	peer     string
	lines    []string // header fields
	content  string   // the request's body
	// bucket and key are the object that the client wants. The key of a hostile request is "".
	bucket, key string
	// destination is Sec-Fetch-Dest.
	destination string

	began, ended time.Time
	clockAtStart time.Duration // the error of the replica's clock
	clockError   time.Duration // the same at the end
	activities   []*activity   // of the roles for which the request may cause a call of STS
	batch        []*request    // the requests of the same POST /presign; nil if the method is another
	promised     time.Time     // the expiry that the answer states, if it does
	then         func()        // called after the answer has been checked; may be nil
	status       int           // 0: there was no answer
	header       http.Header
	body         string
	location     location
	opened       opening
}

// location is a presigned URL as the model reads it.
type location struct {
	text        string
	bucket, key string
	signedAt    time.Time
	expires     time.Time
	accessKey   string
}

// opening is the store's answer to a URL.
type opening struct {
	status int
	code   string // of an error
	data   string
	header http.Header
}

// parseLocation reads a path-style presigned URL.
func parseLocation(text string) (l location, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return l, err
	}
	q := u.Query()
	if u.Host != storeHost {
		return l, fmt.Errorf("the host is %s", u.Host)
	}
	if l.signedAt, err = time.Parse("20060102T150405Z", q.Get("X-Amz-Date")); err != nil {
		return l, err
	}
	seconds, err := strconv.Atoi(q.Get("X-Amz-Expires"))
	if err != nil {
		return l, err
	}
	l.text = text
	l.bucket, l.key, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	l.expires = l.signedAt.Add(time.Duration(seconds) * time.Second)
	l.accessKey, _, _ = strings.Cut(q.Get("X-Amz-Credential"), "/")
	return l, nil
}

// open opens a URL at the store.
func (w *world) open(method, target string) (o opening) {
	r, err := http.NewRequest(method, target, nil)
	if err != nil {
		return opening{code: err.Error()}
	}
	resp, err := fakeaws.InMemory{Handler: w.cloud.S3()}.RoundTrip(r)
	if err != nil {
		return opening{code: err.Error()}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return opening{code: err.Error()}
	}
	o = opening{status: resp.StatusCode, data: string(body), header: resp.Header}
	if o.status != http.StatusOK {
		o.code = storeCode(body)
	}
	return o
}

// ask sends a request to its replica, unless that is dead. The answer is reported.
func (w *world) ask(q *request) {
	if q.replica.app == nil {
		return
	}
	w.begin(q)
	w.inFlight.Go(func() {
		resp, body, err := exchange(q.replica, q.app, q.peer, q.method, q.bytes())
		q.ended = time.Now()
		q.clockError = q.replica.clockError(q.ended)
		if err == nil {
			q.status, q.header, q.body = resp.StatusCode, resp.Header, string(body)
		}
		w.receive(q)
	})
}

// begin notes that a request is sent now.
func (w *world) begin(q *request) {
	w.stats.Requests++
	q.id, q.start, q.app = w.stats.Requests, q.replica.starts, q.replica.app
	q.settings, q.began = q.replica.settings, time.Now()
	q.clockAtStart = q.replica.clockError(q.began)
	q.clockError = q.clockAtStart
	w.model.begin(q)
}

// receive opens the URL of an answer, and reports the answer.
func (w *world) receive(q *request) {
	if q.status == http.StatusFound {
		var err error
		if q.location, err = parseLocation(q.header.Get("Location")); err == nil {
			q.opened = w.open(q.method, q.location.text)
		}
	}
	w.report(event{at: q.ended, answer: q, line: q.line()})
}

// bytes returns the request on the wire.
func (q *request) bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: media.example\r\n", q.method, q.target)
	for _, line := range q.lines {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n" + q.content)
	return b.Bytes()
}

// line describes the answer for the trace. It has no secrets.
func (q *request) line() string {
	target, _, _ := strings.Cut(q.target, "?")
	line := fmt.Sprintf("answer %d r%d %s %q: %d", q.id, q.replica.number, q.method, target, q.status)
	switch q.status {
	case http.StatusFound:
		line += fmt.Sprintf(" %s url %08x signed %s opens %d %s", q.header.Get("Cache-Control"),
			hash(q.location.text), q.location.signedAt.Format("15:04:05"), q.opened.status, q.opened.code)
	case 0, http.StatusNoContent:
	default:
		line += " " + between(q.body, `"code":"`, `"`)
	}
	return line
}

func hash(text string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text)) // never fails
	return h.Sum32()
}

// maxAge returns for how long the answer may be cached, 0 if not at all.
func (q *request) maxAge() time.Duration {
	_, text, ok := strings.Cut(q.header.Get("Cache-Control"), "private, max-age=")
	seconds, err := strconv.Atoi(text)
	if !ok || err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// target returns the path of an object, with a viewer's link if there is one.
func target(v *viewer, bucket, key string) string {
	path := locator.Locator{Bucket: bucket, Key: key}.Path()
	if v.link != nil {
		path += "?" + v.link.query
	}
	return path
}
