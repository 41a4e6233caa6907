package proxy

import (
	"math/rand/v2"

	"s3redirect/internal/viewer"
)

// requestID identifies a request in the logs and in its problem. The zero value means that no log
// needs one.
type requestID struct {
	given string // by a trusted proxy
	made  uint64 // by this program, if given is empty
}

// maxRequestID bounds an X-Request-ID, in bytes.
const maxRequestID = 128

// newRequestID returns the ID of a request: the X-Request-ID of a trusted proxy, or a random one. An
// ID is public, so it need not be hard to guess.
func newRequestID(gate *viewer.Gate, r *viewer.Request) requestID {
	if gate.Trusts(r) {
		if v := r.Header.Values("X-Request-Id"); len(v) == 1 && isRequestID(v[0]) {
			return requestID{given: v[0]}
		}
	}
	for {
		if n := rand.Uint64(); n != 0 {
			return requestID{made: n}
		}
	}
}

// isRequestID reports whether an ID is safe in every log and header.
func isRequestID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case c == '.', c == '_', c == ':', c == '/', c == '+', c == '=', c == '@', c == '-':
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxRequestID
}

// append appends the ID: the given one, or 16 hexadecimal digits.
func (id requestID) append(b []byte) []byte {
	if id.given != "" {
		return append(b, id.given...)
	}
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[id.made>>shift&15])
	}
	return b
}

// traceOf returns the trace ID in a request's traceparent, and whether the caller samples the trace.
// The ID is "" if the request has no valid traceparent.
// https://www.w3.org/TR/trace-context/#traceparent-header
func traceOf(h viewer.Header) (id string, sampled bool) {
	// version "-" trace-id "-" parent-id "-" trace-flags, and in later versions perhaps more
	const version, trace, parent, flags, end = 0, 3, 36, 53, 55
	values := h.Values("Traceparent")
	if len(values) != 1 || len(values[0]) < end {
		return "", false
	}
	v := values[0]
	if !isLowerHex(v[version:trace-1]) || !isLowerHex(v[trace:parent-1]) ||
		!isLowerHex(v[parent:flags-1]) || !isLowerHex(v[flags:end]) ||
		v[trace-1] != '-' || v[parent-1] != '-' || v[flags-1] != '-' {
		return "", false
	}
	switch more := v[end:]; {
	case v[:2] == "ff", v[:2] == "00" && more != "", more != "" && more[0] != '-',
		isZeros(v[trace : parent-1]), isZeros(v[parent : flags-1]):
		return "", false
	}
	low := v[end-1] // its lowest bit is the flag sampled
	if low >= 'a' {
		low = low - 'a' + 10
	}
	return v[trace : parent-1], low&1 == 1
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZeros(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}
