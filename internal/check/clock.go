package check

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// clockTransport is an [http.RoundTripper] that compares the Date headers of responses with the
// proxy's clock.
type clockTransport struct {
	transport http.RoundTripper
	now       func() time.Time

	mu    sync.Mutex // guards the fields below
	known bool
	skew  time.Duration // positive if the proxy's clock is ahead
	host  string        // the server that sent the Date
}

// RoundTrip implements [http.RoundTripper].
func (c *clockTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := c.now()
	resp, err := c.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		received := c.now()
		// Date is truncated to whole seconds, by half a second on average.
		theirs := date.Add(time.Second / 2)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.known = true
		c.skew = sent.Add(received.Sub(sent) / 2).Sub(theirs)
		c.host = r.URL.Hostname()
	}
	return resp, nil
}

const (
	// warnSkew is a clock skew that shortens the lifetime of URLs noticeably.
	warnSkew = time.Minute
	// maxSkew is the clock skew at which AWS rejects requests that are signed in a header.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
	maxSkew = 5 * time.Minute
)

// reportClock reports the clock skew once, after the first response with a Date.
func (p *probe) reportClock() {
	p.clocks.mu.Lock()
	known, skew, host := p.clocks.known, p.clocks.skew, p.clocks.host
	p.clocks.mu.Unlock()
	if p.clockReported || !known {
		return
	}
	p.clockReported = true
	direction := "ahead of"
	if skew < 0 {
		direction, skew = "behind", -skew
	}
	const remedy = "Set the clock (chrony, systemd-timesyncd, or the clock of the container's " +
		"host): signatures contain the time, and a URL's lifetime begins at the time of signing."
	reason := fmt.Sprintf("the clock is %s %s the clock of %s",
		skew.Round(time.Second), direction, host)
	switch {
	case skew >= maxSkew:
		p.fail("clock", explanation{
			reason + ", so signatures are rejected or URLs expire early", remedy})
	case skew >= warnSkew:
		p.warn("clock", explanation{reason + ", so URLs expire earlier than they should", remedy})
	default:
		p.ok("clock", "the clock agrees with the clock of %s within %s",
			host, max(time.Second, skew.Round(time.Second)))
	}
}
