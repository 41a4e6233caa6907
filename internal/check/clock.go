package check

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// clocks carries requests, and compares the Date of the answers with our own clock.
type clocks struct {
	transport http.RoundTripper
	now       func() time.Time

	mu    sync.Mutex
	known bool
	skew  time.Duration // ours is ahead by so much
	host  string
}

// RoundTrip implements [http.RoundTripper].
func (c *clocks) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := c.now()
	resp, err := c.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		received := c.now()
		// A Date is in whole seconds; half a second more is the best guess.
		theirs := date.Add(time.Second / 2)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.known, c.skew, c.host = true, sent.Add(received.Sub(sent)/2).Sub(theirs), r.URL.Hostname()
	}
	return resp, nil
}

const (
	// worrying is a skew that shortens the lives of URLs noticeably; wrong is one at which AWS refuses requests signed in the header.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
	worrying = time.Minute
	wrong    = 5 * time.Minute
)

// judgeClock says how far our clock is off, once, as soon as somebody has told us the time.
func (p *probe) judgeClock() {
	p.clocks.mu.Lock()
	known, skew, host := p.clocks.known, p.clocks.skew, p.clocks.host
	p.clocks.mu.Unlock()
	if p.clockJudged || !known {
		return
	}
	p.clockJudged = true
	how := "ahead of"
	if skew < 0 {
		how, skew = "behind", -skew
	}
	const remedy = "Set the clock (chrony, systemd-timesyncd, or the host's of a container): signatures carry the time, and URLs live from our now to our then."
	reason := fmt.Sprintf("our clock is %s %s that of %s", skew.Round(time.Second), how, host)
	switch {
	case skew >= wrong:
		p.say("clock", Failed, reason+": signatures are refused, or URLs are dead early", remedy)
	case skew >= worrying:
		p.say("clock", Warning, reason+": URLs live shorter than they say", remedy)
	default:
		p.ok("clock", "it agrees with that of %s, to within %s", host, max(time.Second, skew.Round(time.Second)))
	}
}
