package wire

import (
	"bytes"
	"encoding/binary"
	"strings"
)

const (
	maxHead   = 16 << 10 // bytes
	maxFields = 100
)

// verdict is what the bytes of a head, as far as they were read, say about it.
type verdict int

const (
	incomplete verdict = iota // it may still become plain
	plain
	odd // it is not plain
)

// span is a part of a head.
type span struct{ start, end uint16 }

// field is a line of a head.
type field struct{ name, value span }

// read reads a head at the start of b, which may be followed by further requests. It continues
// where the last call stopped, if that returned incomplete; b must then begin with the same bytes.
// A line that is not plain is noticed as soon as it is complete: net/http may answer it before the
// head ends.
func (r *Request) read(b []byte, prefixes []string) verdict {
	r.head = b
	for {
		length := bytes.IndexByte(b[r.size:], '\n')
		if length < 0 {
			return incomplete
		}
		start, end := r.size, r.size+length-1
		r.size += length + 1
		if length == 0 || b[end] != '\r' {
			return odd
		}
		switch {
		case start == 0:
			if !r.readRequestLine(b[:end], prefixes) {
				return odd
			}
		case start == end:
			return r.complete()
		case !r.readField(start, end):
			return odd
		}
	}
}

// complete is called when all lines were read.
func (r *Request) complete() verdict {
	if r.hosts != 1 {
		return odd
	}
	r.Target = view(r.head[r.target.start:r.target.end])
	host := r.fields[r.host].value
	r.Host = view(r.head[host.start:host.end])
	return plain
}

func (r *Request) readRequestLine(line []byte, prefixes []string) bool {
	const version = " HTTP/1.1"
	switch {
	case bytes.HasPrefix(line, []byte("GET ")):
		r.Method = "GET"
	case bytes.HasPrefix(line, []byte("HEAD ")):
		r.Method = "HEAD"
	default:
		return false
	}
	start, end := len(r.Method)+1, len(line)-len(version)
	if end < start || string(line[end:]) != version {
		return false
	}
	target := line[start:end]
	if !hasPrefix(target, prefixes) || !isTarget(target) {
		return false
	}
	r.target = span{uint16(start), uint16(end)}
	return true
}

// hasPrefix reports whether a target begins with one of the prefixes.
func hasPrefix(target []byte, prefixes []string) bool {
	for _, p := range prefixes {
		if len(target) >= len(p) && string(target[:len(p)]) == p {
			return true
		}
	}
	return false
}

// isTarget reports whether a target is plain. net/http itself answers targets with bad escapes.
func isTarget(target []byte) bool {
	if !isText(target) || bytes.IndexByte(target, ' ') >= 0 || bytes.IndexByte(target, '#') >= 0 {
		return false
	}
	path := target
	if query := bytes.IndexByte(path, '?'); query >= 0 {
		path = path[:query]
	}
	for {
		n := bytes.IndexByte(path, '%')
		if n < 0 {
			return true
		}
		if len(path) < n+3 || !isHex(path[n+1]) || !isHex(path[n+2]) {
			return false
		}
		path = path[n+3:]
	}
}

// readField reads the line of a field.
func (r *Request) readField(start, end int) bool {
	line := r.head[start:end]
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || len(r.fields) == maxFields {
		return false
	}
	name := line[:colon]
	for _, c := range name {
		if !isToken[c] {
			return false
		}
	}
	first, last := colon+1, len(line)
	for first < last && isSpace(line[first]) {
		first++
	}
	for last > first && isSpace(line[last-1]) {
		last--
	}
	value := line[first:last]
	if !isText(value) && !isTabbedText(value) || !r.allows(view(name), value) {
		return false
	}
	r.fields = append(r.fields, field{
		name:  span{uint16(start), uint16(start + colon)},
		value: span{uint16(start + first), uint16(start + last)},
	})
	return true
}

// allows reports whether a plain request may have a field.
func (r *Request) allows(name string, value []byte) bool {
	switch len(name) {
	case len("TE"):
		return !strings.EqualFold(name, "TE")
	case len("Host"):
		if !strings.EqualFold(name, "Host") {
			return true
		}
		r.hosts++
		r.host = len(r.fields) // readField appends it
		return r.hosts == 1 && isHost(value)
	case len("Expect"):
		return !strings.EqualFold(name, "Expect")
	case len("Trailer"): // and Upgrade
		return !strings.EqualFold(name, "Trailer") && !strings.EqualFold(name, "Upgrade")
	case len("Connection"):
		if !strings.EqualFold(name, "Connection") {
			return true
		}
		r.connections++
		r.closes = strings.EqualFold(view(value), "close")
		return r.connections == 1 && (r.closes || strings.EqualFold(view(value), "keep-alive"))
	case len("Content-Length"):
		return !strings.EqualFold(name, "Content-Length")
	case len("Transfer-Encoding"):
		return !strings.EqualFold(name, "Transfer-Encoding")
	}
	return true
}

// isHost reports whether all characters of a Host are among those that host names, IP addresses
// and ports consist of.
func isHost(value []byte) bool {
	for _, c := range value {
		if !isAlphanumeric(c) && strings.IndexByte("._:[]-", c) < 0 {
			return false
		}
	}
	return len(value) > 0
}

const (
	every01 = 0x0101010101010101
	every20 = every01 * 0x20
	every7f = every01 * 0x7f
	every80 = every01 * 0x80
)

// isText reports whether b consists of visible ASCII characters and spaces. It checks eight bytes
// at a time. For a byte x below 0x80, the highest bit of (x-0x20)&^x is set if x is below 0x20. With
// y = x^0x7f, the highest bit of (y-1)&^y is set if x is 0x7f. A borrow can set a further bit only
// if a lower byte has set one already.
func isText(b []byte) bool {
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		y := x ^ every7f
		if (x|(x-every20)&^x|(y-every01)&^y)&every80 != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c < 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// isTabbedText reports whether b consists of visible ASCII characters, spaces and tabs.
func isTabbedText(b []byte) bool {
	for _, c := range b {
		if (c < 0x20 || c >= 0x7f) && c != '\t' {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isToken holds the characters of tokens (RFC 9110, section 5.6.2).
var isToken = func() (set [256]bool) {
	for c := range 256 {
		set[c] = isAlphanumeric(byte(c)) || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return set
}()
