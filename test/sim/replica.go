package sim

import (
	"bufio"
	"bytes"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"s3redirect/internal/app"
	"s3redirect/internal/wire"
)

// replica is one process of the program, with its own clock, configuration file and network.
type replica struct {
	world  *world
	number int
	path   string // of the configuration file

	// The driver changes these between events only.
	app      *app.App  // nil while the replica is dead
	settings *settings // in force
	starts   int
	// used and purged have, by role, the access keys of the sessions that the replica has used since
	// its start, and of those that it must not use again.
	used, purged map[int]map[string]bool
	cleared      map[int]time.Time // when it was purged, by role

	mu     sync.Mutex // guards the fields below
	ahead  time.Duration
	drift  time.Duration // in an hour
	from   time.Time     // when the drift began
	log    bytes.Buffer
	opened int // connections
	closed int
}

func newReplica(w *world, number int, path string) *replica {
	return &replica{
		world:  w,
		number: number,
		path:   path,
		from:   time.Now(),
	}
}

// Write implements [io.Writer] for the log.
func (r *replica) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

// clockError returns how far the replica's clock is ahead at an instant.
func (r *replica) clockError(at time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ahead + time.Duration(at.Sub(r.from).Hours()*float64(r.drift))
}

// setClock sets the error of the clock, and how much it drifts in an hour.
func (r *replica) setClock(ahead, drift time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead, r.drift, r.from = ahead, drift, time.Now()
}

// clock is the replica's wall clock. It has no monotonic reading.
func (r *replica) clock() time.Time {
	now := time.Now()
	return now.Add(r.clockError(now)).Round(0)
}

// random returns a number for the program's jitter, in [0, 1).
func (r *replica) random() float64 { return r.draw("jitter") }

// draw returns a number in [0, 1) that depends on the seed, the replica, the instant and a purpose.
// It has no state, because goroutines that wake at the same instant draw in any order.
func (r *replica) draw(purpose string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(purpose)) // never fails
	now := uint64(time.Since(r.world.start))
	return rand.New(rand.NewPCG(r.world.seed^h.Sum64(), now<<3|uint64(r.number))).Float64()
}

// delay returns a random delay of the replica's network.
func (r *replica) delay(purpose string, least, most time.Duration) time.Duration {
	return least + time.Duration(r.draw(purpose)*float64(most-least))
}

// run starts the replica with a configuration.
func (r *replica) run(s *settings) error {
	r.starts++
	if err := os.WriteFile(r.path, []byte(s.text()), 0o600); err != nil {
		return err
	}
	from, c, err := app.Load(r.path)
	if err != nil {
		return err
	}
	o := app.Options{
		Path:      r.path,
		Source:    from,
		Config:    c,
		Stderr:    r,
		Version:   "sim",
		Clock:     r.clock,
		Random:    r.random,
		Transport: network{r},
	}
	if r.world.store != nil {
		o.Shared = &handle{r.world.store, r}
	}
	r.app, err = app.New(o)
	r.settings = s
	r.used, r.purged = map[int]map[string]bool{}, map[int]map[string]bool{}
	r.cleared = map[int]time.Time{}
	return err
}

// die ends the replica and its calls at once. Answers in flight are lost.
func (r *replica) die() {
	if a := r.app; a != nil {
		r.app = nil
		a.Close()
	}
}

// reload makes the replica read a configuration file.
func (r *replica) reload(text string) error {
	if err := os.WriteFile(r.path, []byte(text), 0o600); err != nil {
		return err
	}
	return r.app.Reload()
}

// listener is a listener for one connection, in memory.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return address("127.0.0.1:1") }

// address is the address of a peer.
type address string

// Network implements [net.Addr].
func (address) Network() string { return "tcp" }

// String implements [net.Addr].
func (a address) String() string { return string(a) }

// connection is the replica's end of a connection. It counts when it is closed.
type connection struct {
	net.Conn
	peer    string
	replica *replica
	once    sync.Once
}

// RemoteAddr implements [net.Conn].
func (c *connection) RemoteAddr() net.Addr { return address(c.peer) }

// Close implements [net.Conn].
func (c *connection) Close() error {
	c.once.Do(func() {
		c.replica.mu.Lock()
		defer c.replica.mu.Unlock()
		c.replica.closed++
	})
	return c.Conn.Close()
}

// exchange sends one request on a new connection, and returns the response with its body. The
// servers in front of the program are those of package proxy: the wire, which hands over to net/http
// what it does not answer. Their timeouts are the same.
func exchange(
	r *replica, a *app.App, peer, method string, request []byte,
) (*http.Response, []byte, error) {
	l := &listener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	h := &http.Server{
		Handler:                      a,
		ConnContext:                  wire.ConnContext,
		ReadHeaderTimeout:            15 * time.Second,
		ReadTimeout:                  15 * time.Second,
		WriteTimeout:                 30 * time.Second,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(a.Log().Handler(), slog.LevelDebug),
	}
	s := &wire.Server{
		Handler:       a,
		Prefixes:      []string{"/s3/", "/authorize/s3/"},
		HTTP:          h,
		Log:           a.Log(),
		HeaderTimeout: 15 * time.Second,
		WriteTimeout:  30 * time.Second,
		IdleTimeout:   2 * time.Minute,
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l, h.Serve) })
	ours, theirs := net.Pipe()
	r.mu.Lock()
	r.opened++
	r.mu.Unlock()
	l.conns <- &connection{Conn: theirs, peer: peer, replica: r}
	serving.Go(func() { _, _ = ours.Write(request) })
	resp, err := http.ReadResponse(bufio.NewReader(ours), &http.Request{Method: method})
	var body []byte
	if err == nil {
		body, err = io.ReadAll(resp.Body)
	}
	_ = ours.Close()
	_ = s.Close()
	serving.Wait()
	return resp, body, err
}
