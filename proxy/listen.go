package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"s3redirect/internal/config"
)

// inherited returns the sockets that systemd has passed to the process, by name, the first time that
// it is called in a process. See sd_listen_fds(3).
var inherited = sync.OnceValues(activation.ListenersWithNames)

// open listens on all addresses. If one fails, it closes the others.
func open(addresses []string) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(listeners)
			listeners = nil
		}
	}()
	for _, text := range addresses {
		a, err := config.ParseAddress(text)
		if err != nil {
			return listeners, fmt.Errorf("the value %w", err)
		}
		more, err := openAddress(a)
		if err != nil {
			return listeners, err
		}
		for _, l := range more {
			if u, ok := l.(*net.UnixListener); ok {
				l = unixListener{u}
			}
			listeners = append(listeners, l)
		}
	}
	return listeners, nil
}

func openAddress(a config.Address) ([]net.Listener, error) {
	var l net.Listener
	var err error
	switch a.Network {
	case "systemd":
		return takeInherited(a.Address)
	case "unix":
		l, err = listenUnix(a)
	default:
		l, err = net.Listen(a.Network, a.Address)
	}
	if err != nil {
		return nil, listenCause(err)
	}
	return []net.Listener{l}, nil
}

// takeInherited returns the sockets with a name that systemd has passed.
func takeInherited(name string) ([]net.Listener, error) {
	all, err := inherited()
	if err != nil {
		return nil, err
	}
	if len(all[name]) == 0 {
		return nil, errors.New("systemd has passed no socket with this FileDescriptorName; " +
			"start the service by its socket unit, and name the socket there (systemd.socket(5))")
	}
	return all[name], nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// errNotSocket means that there is a file at the path of a Unix socket.
var errNotSocket = errors.New("the path is taken by a file that is not a socket; remove it, or choose another path")

// errNoDirectory means that the directory of a Unix socket is missing.
var errNoDirectory = errors.New("the socket's directory does not exist; create it, " +
	"or under systemd name it in RuntimeDirectory=")

// listenUnix listens on a Unix socket. It replaces the socket of a process that has died.
func listenUnix(a config.Address) (net.Listener, error) {
	// Of two processes that start at once, only one may find the old socket and replace it.
	unlock, err := lockDirectory(filepath.Dir(a.Address))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoDirectory
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	switch info, err := os.Lstat(a.Address); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, errNotSocket
	default:
		c, err := net.DialTimeout("unix", a.Address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, syscall.EADDRINUSE
		}
		if err := os.Remove(a.Address); err != nil {
			return nil, err
		}
	}
	return bindUnix(a)
}

// bindUnix creates the socket. No other user can connect before it has its mode.
func bindUnix(a config.Address) (net.Listener, error) {
	options := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return restrictSocket(raw, a.Mode)
	}}
	l, err := options.Listen(context.Background(), "unix", a.Address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(a.Address, a.Mode); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// listenCause returns the cause of an error of [net.Listen] without the address, which may come
// from a variable and hold a secret by mistake.
func listenCause(err error) error {
	for _, cause := range []error{errNotSocket, errNoDirectory} {
		if errors.Is(err, cause) {
			return cause
		}
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(e.Err)
	}
	if e, ok := errors.AsType[*net.AddrError](err); ok {
		return errors.New(e.Err)
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e
	}
	return errors.New("cannot listen on this address")
}

// unixListener accepts connections whose remote address is [config.UnixProxy].
type unixListener struct{ *net.UnixListener }

// Accept implements [net.Listener].
func (l unixListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return unixConn{c}, nil
}

// unixConn is a connection to a Unix socket.
type unixConn struct{ *net.UnixConn }

// RemoteAddr implements [net.Conn].
func (unixConn) RemoteAddr() net.Addr { return unixAddr{} }

type unixAddr struct{}

// Network implements [net.Addr].
func (unixAddr) Network() string { return "unix" }

// String implements [net.Addr].
func (unixAddr) String() string { return config.UnixProxy }

// merge returns a listener that accepts from all listeners. If prepare is not nil, it replaces each
// connection; it may take its time, and closes the connections that it refuses.
func merge(listeners []net.Listener, prepare func(net.Conn) (net.Conn, error)) net.Listener {
	if len(listeners) == 1 && prepare == nil {
		return listeners[0]
	}
	return &merged{
		listeners: listeners,
		prepare:   prepare,
		results:   make(chan accepted),
		closed:    make(chan struct{}),
	}
}

// merged accepts from several listeners.
type merged struct {
	listeners   []net.Listener
	prepare     func(net.Conn) (net.Conn, error)
	results     chan accepted
	closed      chan struct{}
	start, stop sync.Once
}

// accepted is what Accept of one of the listeners returned.
type accepted struct {
	conn net.Conn
	err  error
}

// Accept implements [net.Listener].
func (m *merged) Accept() (net.Conn, error) {
	m.start.Do(func() {
		for _, l := range m.listeners {
			go m.acceptFrom(l)
		}
	})
	select {
	case a := <-m.results:
		return a.conn, a.err
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

// acceptFrom accepts from a listener until the listener is closed. The caller of Accept waits after
// an error, and the listener waits for the caller.
func (m *merged) acceptFrom(l net.Listener) {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil || m.prepare == nil:
			m.deliver(accepted{c, err})
		default:
			go func() {
				if c, err := m.prepare(c); err == nil {
					m.deliver(accepted{c, nil})
				}
			}()
		}
	}
}

func (m *merged) deliver(a accepted) {
	select {
	case m.results <- a:
	case <-m.closed:
		if a.conn != nil {
			_ = a.conn.Close()
		}
	}
}

// Close implements [net.Listener].
func (m *merged) Close() error {
	m.stop.Do(func() {
		close(m.closed)
		closeAll(m.listeners)
	})
	return nil
}

// Addr implements [net.Listener]. It returns the first address.
func (m *merged) Addr() net.Addr { return m.listeners[0].Addr() }

// addresses returns the addresses of a listener of [merge], for the log.
func addresses(l net.Listener) string {
	m, ok := l.(*merged)
	if !ok {
		return l.Addr().String()
	}
	var all []string
	for _, l := range m.listeners {
		all = append(all, l.Addr().String())
	}
	return strings.Join(all, ", ")
}
