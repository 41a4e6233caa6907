package wire

import (
	"net/netip"
	"strings"
	"time"
	"unsafe"
)

// Request is a plain request.
type Request struct {
	// Method is GET or HEAD.
	Method string
	// Target is the request target as the client sent it: a path with or without a query.
	Target string
	// Host is the value of the Host field, as in [net/http.Request].
	Host string
	// RemoteAddr is the address of the peer, as in [net/http.Request].
	RemoteAddr string
	// Peer is the address in RemoteAddr, or the zero address if it has none.
	Peer netip.Addr

	server *Server
	head   []byte // begins with the head
	size   int    // the bytes of head that were read so far
	target span
	host   int // the index of the Host field
	fields []field
	values []string // what Values returned

	hosts, connections int  // the number of fields with these names
	closes             bool // the connection closes after the response
	announced          bool // the response has a Connection field already
}

// reset prepares r for the next head.
func (r *Request) reset() {
	*r = Request{fields: r.fields[:0], values: r.values[:0]}
}

// Values returns the values of a field in the order in which the client sent them, or nil. It
// compares names without regard to case. Like [net/http.Header], it has no Host. It does not
// allocate, unless it is called for many fields.
func (r *Request) Values(name string) []string {
	first := len(r.values)
	for _, f := range r.fields {
		if int(f.name.end-f.name.start) != len(name) ||
			!strings.EqualFold(view(r.head[f.name.start:f.name.end]), name) {
			continue
		}
		r.values = append(r.values, view(r.head[f.value.start:f.value.end]))
	}
	if len(r.values) == first || strings.EqualFold(name, "Host") {
		return nil
	}
	return r.values[first:len(r.values):len(r.values)]
}

// Retired reports whether the response must have the field Connection: close, because of
// [Server.Retire]. The field belongs where net/http sorts it if a handler sets it: with the handler's
// other fields, by name.
func (r *Request) Retired() bool {
	// A server that drains closes the connection of every response; see AppendEnd.
	if r.server.retired.Load() && !r.server.draining.Load() {
		r.closes, r.announced = true, true
	}
	return r.announced
}

// AppendEnd appends the end of a response's head: Date, Connection: close if the connection closes
// after the response, and the empty line.
func (r *Request) AppendEnd(dst []byte, now time.Time) []byte {
	dst = r.server.dates.append(append(dst, "Date: "...), now)
	if r.server.draining.Load() {
		r.closes = true
	}
	if r.closes && !r.announced {
		dst = append(dst, "\r\nConnection: close"...)
	}
	return append(dst, "\r\n\r\n"...)
}

// view returns b as a string without copying it. The string is valid until b is overwritten, which
// happens when the response to b's request has been appended: the buffer belongs to the
// connection's goroutine, and no other goroutine gets the request. A handler that keeps a string
// must clone it. Tests overwrite each request after its response to find strings that were kept.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// detached is the server of the requests that ReadRequest returns.
var detached Server

// peerOf returns the address in a RemoteAddr, or the zero address if there is none.
func peerOf(remoteAddr string) netip.Addr {
	a, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr()
}

// ReadRequest returns the plain request in head, for tests and benchmarks of a [Handler]. ok is
// false if head is not exactly one plain request.
func ReadRequest(
	head []byte, prefixes []string, remoteAddr string,
) (r *Request, ok bool) {
	r = &Request{
		RemoteAddr: remoteAddr,
		Peer:       peerOf(remoteAddr),
		server:     &detached,
		values:     make([]string, 0, 16),
	}
	return r, r.read(head, prefixes) == plain && r.size == len(head)
}
