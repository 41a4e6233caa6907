package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lazyPipe is a connection with lazy deadlines, and its other end.
func lazyPipe(t *testing.T) (*lazyConn, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	listener := make(oneConnection, 1)
	listener <- there
	c, err := lazyListener{listener}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = here.Close(), c.Close() })
	return c.(*lazyConn), here
}

// However a deadline was moved before, it comes when it is due: not sooner, not later.
func TestLazyDeadlines(t *testing.T) {
	for name, sets := range map[string][]time.Duration{ // from now; 0 is none, and the last one counts
		"one": {time.Minute}, "moved on": {time.Second, time.Minute}, "moved back": {time.Hour, time.Second}, "taken off and on": {time.Second, 0, 5 * time.Second},
		"near": {time.Millisecond}, "past": {-time.Hour}, "past and on": {-time.Hour, 0, time.Minute}, "past twice": {-time.Hour, 0, -time.Hour, time.Second},
		"on and past": {time.Minute, -time.Hour}, "beyond a step": {time.Second, 10 * lazyStep},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := lazyPipe(t)
				began := time.Now()
				for _, after := range sets {
					at := began.Add(after)
					if after == 0 {
						at = time.Time{}
					}
					if err := c.SetDeadline(at); err != nil {
						t.Fatal(err)
					}
				}
				want := max(0, sets[len(sets)-1])
				if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != want {
					t.Errorf("read: %d, %v after %v, want %v", n, err, time.Since(began), want)
				}
				if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != want {
					t.Errorf("write: %d, %v after %v, want %v", n, err, time.Since(began), want)
				}
				// It can be used again.
				if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != want+time.Second {
					t.Errorf("again: %v after %v", err, time.Since(began))
				}
			})
		})
	}
}

// Without a deadline a call waits for ever, though the connection has had one.
func TestNoLazyDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, other := lazyPipe(t)
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_ = c.SetDeadline(time.Time{})
		go func() {
			time.Sleep(100 * time.Hour)
			_, _ = io.WriteString(other, "x")
			got := make([]byte, 3)
			time.Sleep(100 * time.Hour)
			if _, err := io.ReadFull(other, got[:1]); err != nil { // a part of what is written
				t.Error(err)
			}
			time.Sleep(100 * time.Hour)
			if _, err := io.ReadFull(other, got[1:]); err != nil || string(got) != "abc" {
				t.Errorf("%q, %v: something was lost or sent twice", got, err)
			}
		}()
		if n, err := c.Read(make([]byte, 8)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := c.Write([]byte("abc")); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

// net/http ends a read that is under way by a deadline in the past.
func TestLazyReadIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, other := lazyPipe(t)
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		ended := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		_ = c.SetReadDeadline(time.Unix(1, 0))
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		_ = c.SetReadDeadline(time.Time{})
		go func() { _, _ = io.Copy(other, strings.NewReader("x")) }()
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("after that: %d, %v", n, err)
		}
	})
}

// counted counts how often a deadline is really set.
type counted struct {
	net.Conn
	sets *int
}

func (c counted) SetReadDeadline(t time.Time) error  { *c.sets++; return c.Conn.SetReadDeadline(t) }
func (c counted) SetWriteDeadline(t time.Time) error { *c.sets++; return c.Conn.SetWriteDeadline(t) }

// What it is for: the deadlines of a request that net/http moves on are not set.
func TestLazyDeadlinesAreSeldomSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		sets := 0
		listener := make(oneConnection, 1)
		listener <- counted{there, &sets}
		c, err := lazyListener{listener}.Accept()
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 { // as net/http does
			now := time.Now()
			for _, at := range []time.Time{now.Add(idleTimeout), {}, now.Add(readTimeout)} {
				_ = c.SetReadDeadline(at)
			}
			_ = c.SetWriteDeadline(now.Add(writeTimeout))
			// It begins to read ahead, and ends that before it has come far.
			_ = c.SetReadDeadline(time.Time{})
			_ = c.SetReadDeadline(time.Unix(1, 0))
			if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%d, %v", n, err)
			}
			_ = c.SetReadDeadline(time.Time{})
			time.Sleep(time.Millisecond)
		}
		if sets > 10 {
			t.Errorf("%d deadlines were set in a second, for 1,000 requests", sets)
		}
	})
}
