package viewer

import (
	"context"
	"net/http"
	"net/netip"
)

// Header holds the fields of a request's header. [http.Header] implements it.
type Header interface {
	// Values returns the values of a field in the order in which the client sent them, or nil. The
	// caller must not modify the slice. The strings are valid until the request is answered: a
	// caller that keeps one must clone it.
	Values(name string) []string
}

// Request is what a [Gate] reads of a request.
type Request struct {
	Header Header
	// RemoteAddr is the address at the other end of the connection, as host:port, or
	// [config.UnixProxy] for a client of a Unix socket.
	RemoteAddr string
	// Peer is the address in RemoteAddr in canonical form; see [Peer].
	Peer netip.Addr
	// Context ends when the request need not be answered any more. A Gate returns its cause instead
	// of waiting for longer.
	Context context.Context
}

// NewRequest returns what a [Gate] reads of r. It is short enough to be inlined, so that the result
// need not be allocated.
func NewRequest(r *http.Request) *Request {
	q := &Request{}
	q.read(r)
	return q
}

func (q *Request) read(r *http.Request) {
	*q = Request{
		Header:     r.Header,
		RemoteAddr: r.RemoteAddr,
		Peer:       PeerOf(r.RemoteAddr),
		Context:    r.Context(),
	}
}
