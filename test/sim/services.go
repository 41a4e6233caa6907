package sim

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"s3redirect/internal/fakeaws"
)

// The faults of STS.
const (
	faultLate     = "late"     // answers after some seconds
	faultHang     = "hang"     // never answers
	faultDown     = "down"     // refuses connections
	faultThrottle = "throttle" // throttles, perhaps with Retry-After
	faultDeny     = "deny"     // denies the role
	faultError    = "error"    // fails with 500
	faultPage     = "page"     // answers with a web page
	faultShort    = "short"    // issues short sessions
	faultSkew     = "skew"     // states an expiry of another clock
	faultOverrun  = "overrun"  // states an expiry that is hours late, and then refuses connections
	faultLost     = "lost"     // issues a session, and the answer is lost
)

var stsFaultKinds = []string{
	faultLate, faultHang, faultDown, faultThrottle, faultDeny, faultError, faultPage, faultShort,
	faultSkew, faultOverrun, faultLost,
}

// stsFault is what is wrong with STS for one role.
type stsFault struct {
	kind string
	by   time.Duration
}

// call is a request to STS.
type call struct {
	at        time.Time
	replica   *replica
	start     int    // the replica's start that made it
	number    int    // of the role
	identity  string // of the role, as the replica's configuration had it
	fault     stsFault
	ended     time.Time
	accessKey string // of the session that the caller got; "" if the call failed
	status    int    // 0 if there was no answer
	// clockError is how far the replica's clock was ahead when the session was issued.
	clockError time.Duration
}

// misstatesExpiry reports whether STS states another expiry than the session has.
func (c *call) misstatesExpiry() bool {
	return c.fault.kind == faultSkew || c.fault.kind == faultOverrun
}

// network carries the requests of one replica to STS and S3.
type network struct{ *replica }

// RoundTrip implements [http.RoundTripper].
func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Host, "sts-") {
		return n.callSTS(r)
	}
	if r.URL.Host == "id.localhost" {
		return n.fetchKeys(r)
	}
	if err := n.sleep(r, n.delay(r.URL.Path, 5*time.Millisecond, 50*time.Millisecond)); err != nil {
		return nil, err
	}
	if n.world.s3Down() {
		return nil, errRefused
	}
	return fakeaws.InMemory{Handler: n.world.cloud.S3()}.RoundTrip(r)
}

var errRefused = errors.New("connection refused")

// sleep waits, or returns the error of the request's context.
func (n network) sleep(r *http.Request, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// callSTS answers an AssumeRole call, and records it.
func (n network) callSTS(r *http.Request) (resp *http.Response, err error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	number := strings.TrimPrefix(form.Get("RoleArn"), arnPrefix)
	c := &call{at: time.Now(), replica: n.replica, start: n.starts}
	c.number, _ = strconv.Atoi(number)
	c.fault = n.world.stsFaultOf(c.number)
	n.world.recordCall(c)
	defer func() {
		c.ended = time.Now()
		if resp != nil {
			c.status = resp.StatusCode
		}
		n.world.recordCallEnd(c)
	}()
	wait := n.delay(number, 10*time.Millisecond, 100*time.Millisecond)
	switch c.fault.kind {
	case faultHang:
		wait = time.Hour
	case faultLate:
		wait += 3*time.Second + n.delay("late "+number, 0, 12*time.Second)
	}
	if err := n.sleep(r, wait); err != nil {
		return nil, err
	}
	if resp, err = c.fail(r); resp != nil || err != nil {
		return resp, err
	}
	c.clockError = n.clockError(time.Now())
	resp, err = fakeaws.InMemory{Handler: n.world.cloud.STS()}.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if err := n.sleep(r, n.delay(number, 10*time.Millisecond, 100*time.Millisecond)); err != nil {
		return nil, err
	}
	if c.fault.kind == faultLost {
		return nil, io.ErrUnexpectedEOF
	}
	c.accessKey = between(string(text), "<AccessKeyId>", "</AccessKeyId>")
	switch c.fault.kind {
	case faultOverrun:
		n.world.refuse(c.number)
		fallthrough
	case faultSkew:
		text = shiftExpiration(text, c.fault.by)
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return resp, nil
}

// fail returns the answer of an STS that fails, or neither an answer nor an error.
func (c *call) fail(r *http.Request) (*http.Response, error) {
	failure := func(status int, code string) (*http.Response, error) {
		return answer(r, status, "text/xml", "<ErrorResponse><Error><Type>Sender</Type><Code>"+code+
			"</Code><Message>simulated</Message></Error></ErrorResponse>"), nil
	}
	switch c.fault.kind {
	case faultDown:
		return nil, errRefused
	case faultThrottle:
		resp, err := failure(http.StatusBadRequest, "Throttling")
		if c.fault.by > 0 {
			resp.Header.Set("Retry-After", strconv.Itoa(int(c.fault.by/time.Second)))
		}
		return resp, err
	case faultDeny:
		return failure(http.StatusForbidden, "AccessDenied")
	case faultError:
		return failure(http.StatusInternalServerError, "InternalFailure")
	case faultPage:
		return answer(r, http.StatusOK, "text/html", "<html>Sign in to the guest network</html>"), nil
	}
	return nil, nil
}

// answer returns a response.
func answer(r *http.Request, status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {contentType}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       r,
	}
}

// shiftExpiration shifts the expiry that a response of STS states.
func shiftExpiration(text []byte, by time.Duration) []byte {
	stated := between(string(text), "<Expiration>", "</Expiration>")
	at, err := time.Parse(time.RFC3339, stated)
	if err != nil {
		return text
	}
	return bytes.Replace(text, []byte(stated), []byte(at.Add(by).Format(time.RFC3339)), 1)
}

// between returns the text between two others, or "".
func between(text, before, after string) string {
	_, rest, _ := strings.Cut(text, before)
	found, _, ok := strings.Cut(rest, after)
	if !ok {
		return ""
	}
	return found
}

// storeCode returns the code of an error of S3.
func storeCode(body []byte) string {
	var e struct{ Code, Message string }
	if xml.Unmarshal(body, &e) != nil {
		return ""
	}
	return e.Code + " " + e.Message
}
