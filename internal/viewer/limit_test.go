package viewer

import (
	"errors"
	"testing"
	"time"

	"s3redirect/internal/config"
)

// batch sends a batch of n requests, as the proxy does: Limit takes the first token before the
// batch is read, and LimitBatch takes the others.
func batch(g *Gate, v Viewer, n int, at time.Time) error {
	r := request("192.0.2.1:1")
	if err := g.Limit(&v, NewRequest(r), 1, at); err != nil {
		return err
	}
	return g.LimitBatch(&v, NewRequest(r), n, at)
}

// retryAfter returns how long err says to wait, or 0 if it is nil.
func retryAfter(t *testing.T, err error) time.Duration {
	t.Helper()
	var exceeded *LimitError
	if err != nil && !errors.As(err, &exceeded) {
		t.Fatalf("got %v, want a LimitError", err)
	}
	if err == nil {
		return 0
	}
	return exceeded.RetryAfter
}

// A batch of any size passes from a full bucket. Each of its requests costs a token, and the next
// request waits until the debt is paid.
func TestBatchesCostOneTokenForEachRequest(t *testing.T) {
	for _, c := range []struct {
		burst, n int
		wait     time.Duration // until the next request
	}{
		{5, 0, 0},
		{5, 1, 0},
		{5, 4, 0},
		{5, 5, time.Second},
		{5, 6, 2 * time.Second},
		{5, 11, 7 * time.Second},
		{40, 1000, 961 * time.Second},
		{1, 1, time.Second},
		{1, 3, 3 * time.Second},
	} {
		for _, v := range []Viewer{As("ann"), {}} {
			viewers := forwarded()
			viewers.RateLimit = oneASecond(c.burst)
			g := newGate(t, viewers, nil)
			if err := batch(g, v, c.n, now); err != nil {
				t.Errorf("a batch of %d with a burst of %d: got %v, want nil", c.n, c.burst, err)
			}
			err := g.Limit(&v, NewRequest(request("192.0.2.1:1")), 1, now)
			if got := retryAfter(t, err); got != c.wait {
				t.Errorf("after a batch of %d with a burst of %d by %q: RetryAfter = %v, want %v",
					c.n, c.burst, v.ID, got, c.wait)
			}
			if c.wait == 0 {
				continue // that request has passed
			}
			if err := g.Limit(&v, NewRequest(request("192.0.2.1:1")), 1, now.Add(c.wait)); err != nil {
				t.Errorf("%v after a batch of %d with a burst of %d: got %v, want nil",
					c.wait, c.n, c.burst, err)
			}
		}
	}
}

// A batch that is refused passes after the time that its error says to wait.
func TestRefusedBatchesPassLater(t *testing.T) {
	for _, burst := range []int{1, 2, 5, 40} {
		for _, n := range []int{2, 3, 5, 6, 40, 1000} {
			viewers := forwarded()
			viewers.RateLimit = oneASecond(burst)
			g := newGate(t, viewers, nil)
			at := now
			for range 3 { // leave a bucket that is not full
				_ = g.Limit(&Viewer{ID: "ann"}, NewRequest(request("192.0.2.1:1")), 1, at)
			}
			first := retryAfter(t, batch(g, As("ann"), n, at))
			at = at.Add(first)
			if wait := retryAfter(t, batch(g, As("ann"), n, at)); first > 0 && wait > 0 {
				// Without a token for the first request, the batch's size was not yet known.
				at = at.Add(wait)
				if wait = retryAfter(t, batch(g, As("ann"), n, at)); wait > 0 {
					t.Errorf("a batch of %d with a burst of %d, after two waits: RetryAfter = %v, "+
						"want 0", n, burst, wait)
				}
			}
		}
	}
}

// A client that sends batches as soon as it may gets no more than the long-term rate.
func TestBatchesKeepTheLongTermRate(t *testing.T) {
	for _, n := range []int{2, 39, 40, 41, 100, 1000} {
		viewers := forwarded()
		viewers.RateLimit = &config.RateLimit{PerSecond: 10, Burst: 40}
		g := newGate(t, viewers, nil)
		served, at := 0, now
		for at.Sub(now) < time.Hour {
			wait := retryAfter(t, batch(g, As("ann"), n, at))
			if wait == 0 {
				served += n
			}
			at = at.Add(max(wait, time.Millisecond))
		}
		most := 10*int(at.Sub(now).Seconds()) + 40 + n
		if served > most || served < most/3 {
			t.Errorf("batches of %d: %d locators in %v, want at most %d and at least %d",
				n, served, at.Sub(now), most, most/3)
		}
	}
}
