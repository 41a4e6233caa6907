package wire

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

var dateField = regexp.MustCompile(`\r\nDate: [^\r]*\r\n`)

// conversation sends segments to a server, closes the sending side, and returns all that the server
// sends until it closes the connection, without dates.
func conversation(t *testing.T, address string, segments [][]byte) string {
	t.Helper()
	c := dial(t, address)
	defer c.Close()
	for _, s := range segments {
		if _, err := c.Write(s); err != nil {
			break // the server has closed the connection
		}
	}
	_ = c.CloseWrite()
	answer, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("after %q: %v", answer, err)
	}
	return dateField.ReplaceAllString(string(answer), "\r\nDate: -\r\n")
}

// cut cuts data into segments. The bits of cuts choose where.
func cut(data []byte, cuts uint64) (segments [][]byte) {
	for cuts != 0 && len(data) > 1 {
		n := 1 + int(cuts%67)%(len(data)-1)
		segments, data = append(segments, data[:n]), data[n:]
		cuts /= 67
	}
	return append(segments, data)
}

// FuzzWireEqualsNetHTTP sends bytes to a server with the wire and to one without. Both must answer
// with the same bytes, and keep or close the connection alike: a further request at the end is
// answered by both or by neither.
func FuzzWireEqualsNetHTTP(f *testing.F) {
	for _, seeds := range []map[string]string{clients, oddities} {
		for _, text := range seeds {
			f.Add([]byte(text), uint64(0))
			f.Add([]byte(text), uint64(0xfedcba9876543210))
			f.Add([]byte(clients["curl"]+text+clients["Chromium"]), uint64(77777))
		}
	}
	f.Add([]byte(plainGet("k", "Cookie: a\r\n", "X-Mixed: 1\r\n", "cookie: b\r\n")), uint64(0))
	f.Add([]byte(plainGet("k", "A: "+strings.Repeat("a", maxHead)+"\r\n")), uint64(3))
	f.Add([]byte(plainGet("k", "A: "+strings.Repeat("a", 80<<10)+"\r\n")), uint64(3))
	f.Add([]byte(plainGet("k")+"00"), uint64(0)) // net/http waits for four bytes
	f.Add([]byte(plainGet("k")+"\r\n"), uint64(0))
	f.Add(bytes.Repeat([]byte(clients["wrk"]), 300), uint64(12345678901))
	wired := newServer(echo{}).startOn(f, listen(f))
	l := listen(f)
	pure := newHTTP(echo{})
	go func() { _ = pure.Serve(l) }()
	f.Cleanup(func() { _ = pure.Close() })
	sentinel := []byte(plainGet("sentinel"))
	f.Fuzz(func(t *testing.T, data []byte, cuts uint64) {
		for _, more := range [][]byte{nil, sentinel} {
			segments := cut(append(bytes.Clone(data), more...), cuts)
			got := conversation(t, wired, segments)
			if want := conversation(t, l.Addr().String(), segments); got != want {
				t.Errorf("%q in %d segments:\nthe wire answers %q\nnet/http answers %q",
					bytes.Join(segments, nil), len(segments), got, want)
			}
		}
	})
}
