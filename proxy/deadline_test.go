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

// lazyPipe returns a connection with lazy deadlines, and its other end.
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

// Calls fail exactly at the last deadline that was set, whatever was set before.
func TestLazyDeadlines(t *testing.T) {
	// The deadlines that are set, relative to now; 0 removes the deadline.
	for name, sets := range map[string][]time.Duration{
		"one":                 {time.Minute},
		"later":               {time.Second, time.Minute},
		"earlier":             {time.Hour, time.Second},
		"removed and set":     {time.Second, 0, 5 * time.Second},
		"soon":                {time.Millisecond},
		"past":                {-time.Hour},
		"past, then later":    {-time.Hour, 0, time.Minute},
		"past twice":          {-time.Hour, 0, -time.Hour, time.Second},
		"later, then past":    {time.Minute, -time.Hour},
		"further than a step": {time.Second, 10 * lazyStep},
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
				n, err := c.Read(make([]byte, 1))
				if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != want {
					t.Errorf("Read = %d, %v after %v, want a timeout after %v", n, err,
						time.Since(began), want)
				}
				n, err = c.Write([]byte("x"))
				if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != want {
					t.Errorf("Write = %d, %v after %v, want a timeout after %v", n, err,
						time.Since(began), want)
				}
				// The connection is usable with another deadline.
				if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				_, err = c.Read(make([]byte, 1))
				if !errors.Is(err, os.ErrDeadlineExceeded) ||
					time.Since(began) != want+time.Second {
					t.Errorf("second Read: got %v after %v, want a timeout after %v", err,
						time.Since(began), want+time.Second)
				}
			})
		})
	}
}

// Without a deadline calls do not time out, even if the connection had a deadline before.
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
			if _, err := io.ReadFull(other, got[:1]); err != nil { // a part of the Write
				t.Error(err)
			}
			time.Sleep(100 * time.Hour)
			if _, err := io.ReadFull(other, got[1:]); err != nil || string(got) != "abc" {
				t.Errorf("the other end read %q, %v, want \"abc\"", got, err)
			}
		}()
		if n, err := c.Read(make([]byte, 8)); n != 1 || err != nil {
			t.Errorf("Read = %d, %v, want 1, nil", n, err)
		}
		if n, err := c.Write([]byte("abc")); n != 3 || err != nil {
			t.Errorf("Write = %d, %v, want 3, nil", n, err)
		}
	})
}

// net/http interrupts a Read in progress by setting a past deadline.
func TestPastDeadlineInterruptsLazyRead(t *testing.T) {
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
			t.Errorf("interrupted Read: got %v, want a timeout", err)
		}
		_ = c.SetReadDeadline(time.Time{})
		go func() { _, _ = io.Copy(other, strings.NewReader("x")) }()
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("next Read = %d, %v, want 1, nil", n, err)
		}
	})
}

// counted counts the deadlines that are set on the connection.
type counted struct {
	net.Conn
	sets *int
}

func (c counted) SetReadDeadline(t time.Time) error {
	*c.sets++
	return c.Conn.SetReadDeadline(t)
}

func (c counted) SetWriteDeadline(t time.Time) error {
	*c.sets++
	return c.Conn.SetWriteDeadline(t)
}

// The deadlines that net/http sets for each request are rarely set on the connection.
func TestLazyDeadlinesAreRarelySet(t *testing.T) {
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
		for range 1000 { // the same calls as net/http's
			now := time.Now()
			for _, at := range []time.Time{now.Add(idleTimeout), {}, now.Add(readTimeout)} {
				_ = c.SetReadDeadline(at)
			}
			_ = c.SetWriteDeadline(now.Add(writeTimeout))
			// net/http starts its background read, and interrupts it before it has called Read.
			_ = c.SetReadDeadline(time.Time{})
			_ = c.SetReadDeadline(time.Unix(1, 0))
			n, err := c.Read(make([]byte, 1))
			if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Read = %d, %v, want a timeout", n, err)
			}
			_ = c.SetReadDeadline(time.Time{})
			time.Sleep(time.Millisecond)
		}
		if sets > 10 {
			t.Errorf("1,000 requests in a second set %d deadlines, want at most 10", sets)
		}
	})
}
