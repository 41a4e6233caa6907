package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// neverReads opens an HTTP/2 connection and sends requests, but reads no answer. It returns when it has sent them all,
// or when the server has closed the connection.
func neverReads(p *proxy) (io.Closer, error) {
	// A small receive buffer fills quickly.
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		small := func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) }
		if err := c.Control(small); err != nil {
			return err
		}
		return err
	}}
	raw, err := d.Dial("tcp", p.host)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := c.Handshake(); err != nil {
		return raw, err
	}
	framer := http2.NewFramer(c, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	send := func(n int, method, path, kind, big, body string) error {
		block.Reset()
		for _, f := range [][2]string{
			{":method", method}, {":scheme", "https"}, {":authority", p.host}, {":path", path},
			{"content-type", kind}, {"x-big", big},
		} {
			field := hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: f[0] == "x-big"}
			if err := encoder.WriteField(field); err != nil {
				return err
			}
		}
		stream := uint32(2*n + 1)
		err := framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: stream, BlockFragment: block.Bytes(), EndStream: body == "", EndHeaders: true,
		})
		for err == nil && body != "" {
			part := body[:min(len(body), 16<<10)]
			body = body[len(part):]
			err = framer.WriteData(stream, body == "", []byte(part))
		}
		return err
	}
	const all = 1<<31 - 1
	if err := errors.Join(done(io.WriteString(c, http2.ClientPreface)),
		framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: all}),
		framer.WriteWindowUpdate(0, all-65535)); err != nil {
		return raw, err
	}
	locators := strings.Repeat(`"s3://flooded/a/key/of/usual/length",`, 1000)
	batch := `{"locators":[` + strings.TrimSuffix(locators, ",") + `]}`
	for n := range 300 { // far more than a connection may have in flight
		if n < 5 {
			err = send(n, http.MethodPost, "/presign", "application/json", "", batch)
		} else {
			err = send(n, http.MethodGet, fmt.Sprintf("/s3/flooded/%d", n), "", strings.Repeat("|", 8000), "")
		}
		if err != nil {
			break // the server has closed the connection
		}
	}
	return raw, nil
}

// In 256 MiB, a hundred HTTP/2 connections that send requests and read nothing do not kill the proxy. It serves others
// meanwhile, and closes these connections.
func TestHTTP2ThatIsNeverRead(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	p := contained(t, "tls: {cert_file: \"${CERTIFICATE}\", key_file: \"${KEY}\"}\n",
		"CERTIFICATE="+authority.certificate, "KEY="+authority.key)
	serves := func() {
		t.Helper()
		resp, err := authority.client.Get("https://" + p.host + "/s3/flooded/k")
		if err != nil {
			t.Fatalf("others are not served: %v", err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Errorf("others: got %d, want 302", resp.StatusCode)
		}
	}
	serves()
	before := p.files(t)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			c, err := neverReads(p)
			if err != nil {
				t.Error(err)
			}
			if c != nil {
				t.Cleanup(func() { _ = c.Close() })
			}
		})
	}
	wg.Wait()
	most := 0
	awaitThat(t, "the proxy closes every connection", func() bool {
		most = max(most, p.resident(t))
		serves()
		return p.files(t) <= before+5
	})
	t.Logf("%d MB at most", most)
}

// files is how many files, connections included, the process has open.
func (p *proxy) files(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
