package wire

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// requests returns how many requests the pipelines send.
func requests(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("WIRE_REQUESTS"))
	if err != nil {
		return 20_000
	}
	t.Logf("%d requests", n)
	return n
}

// No answer in a pipeline is lost, doubled or given to another request, on many connections at a
// time, while the handler is replaced, and when the server drains in the middle: then the answers
// stop after one that says so.
func TestPipelines(t *testing.T) {
	const connections = 64
	for _, drains := range []bool{false, true} {
		t.Run(fmt.Sprintf("drains=%v", drains), func(t *testing.T) {
			var current atomic.Pointer[Handler] // replaced like a configuration
			first, answered := counting(echo{})
			current.Store(&first)
			s := newServer(handlerFunc(func(dst []byte, r *Request) ([]byte, bool) {
				return (*current.Load()).AppendResponse(dst, r)
			}))
			address := s.startOn(t, listen(t))
			each := requests(t) / connections
			var wg sync.WaitGroup
			var received atomic.Int64
			for n := range connections {
				c := dial(t, address)
				_ = c.SetDeadline(time.Now().Add(20 * time.Minute))
				wg.Go(func() { sendPipeline(c, n, each) })
				wg.Go(func() { received.Add(int64(checkPipeline(t, c, n, each, drains))) })
			}
			wg.Go(func() {
				for answered.Load() < int64(connections*each/2) && !t.Failed() {
					next := first
					current.Store(&next)
					runtime.Gosched()
				}
				if drains {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
					defer cancel()
					if err := s.Shutdown(ctx); err != nil {
						t.Errorf("Shutdown = %v", err)
					}
				}
			})
			wg.Wait()
			if got, want := received.Load(), answered.Load(); got != want {
				t.Errorf("%d answers arrived, want all %d", got, want)
			}
			if got := received.Load(); !drains && got != int64(connections*each) {
				t.Errorf("%d answers, want %d", got, connections*each)
			}
		})
	}
}

func sendPipeline(c net.Conn, conn, count int) {
	out := bufio.NewWriterSize(c, 1+conn*97)
	for n := range count {
		if _, err := out.WriteString(plainGet(fmt.Sprintf("%d/%d", conn, n))); err != nil {
			return // the server has closed the connection
		}
	}
	_ = out.Flush()
}

// checkPipeline reads answers until the connection ends, and returns their number.
func checkPipeline(t *testing.T, c *net.TCPConn, conn, count int, drains bool) (n int) {
	in := bufio.NewReader(c)
	for n < count {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			if !drains {
				t.Errorf("connection %d, answer %d: %v", conn, n, err)
			}
			return n
		}
		want := fmt.Sprintf("https://store.example/s3/bucket/%d/%d", conn, n)
		if got := resp.Header.Get("Location"); got != want {
			t.Errorf("connection %d, answer %d: got %s, want %s", conn, n, got, want)
		}
		n++
		if resp.Close {
			if !drains {
				t.Errorf("connection %d closes after answer %d", conn, n)
			}
			_ = c.Close()
			return n
		}
	}
	return n
}
