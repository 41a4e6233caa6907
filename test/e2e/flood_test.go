package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const floodedConfig = longWindow + `
integrations:
  - name: keys
    bucket: flooded
    region: eu-central-1
    access_key_id: AKIA
    secret_access_key: s
`

// flooded starts a proxy that needs no store, with additional configuration.
func flooded(t *testing.T, config string, env ...string) *proxy {
	t.Helper()
	return startProxy(t, config+floodedConfig, env...)
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// resident returns the process's resident memory in MB.
func (p *proxy) resident(t *testing.T) int {
	t.Helper()
	status := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	m := residentLine.FindStringSubmatch(readFile(t, status))
	if m == nil {
		t.Fatalf("%s has no VmRSS", status)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n / 1024
}

// wantService checks that the proxy serves another client.
func (p *proxy) wantService(t *testing.T) {
	t.Helper()
	if err := fetch(t, http.MethodGet, p.url("/s3/flooded/k")).checkRedirect(); err != nil {
		t.Errorf("another client is not served: %v", err)
	}
}

// TestIdleConnections opens ten thousand connections that send nothing or half a request, or read
// no response. They cost a bounded amount of memory, and other clients are served.
func TestIdleConnections(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	connections := min(10_000, int(limit.Cur)-500)
	p := flooded(t, "")
	p.wantService(t)
	before := p.resident(t)
	var open []net.Conn
	t.Cleanup(func() {
		for _, c := range open {
			_ = c.Close()
		}
	})
	for n := range connections {
		c, err := net.Dial("tcp", p.host)
		if err != nil {
			t.Fatalf("connection %d: %v", n, err)
		}
		open = append(open, c)
		switch n % 3 {
		case 0:
			_, err = io.WriteString(c, "GET /s3/flooded/k HTTP/1.1\r\nHost: h\r\nX-Slow: ")
		case 1:
			// The response is never read.
			_, err = io.WriteString(c, "GET /s3/flooded/k HTTP/1.1\r\nHost: h\r\n\r\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		if n%1000 == 0 {
			p.wantService(t)
		}
	}
	p.wantService(t)
	if grown := p.resident(t) - before; grown > connections*40/1024 {
		t.Errorf("%d connections cost %d MB, want at most 40 kB each", connections, grown)
	}
	t.Logf("%d connections: memory grew from %d to %d MB", connections, before, p.resident(t))
}

// TestBigHeadersAndPipelines checks that a header of 1 MB is rejected, and that a thousand
// pipelined requests are answered in order.
func TestBigHeadersAndPipelines(t *testing.T) {
	t.Parallel()
	p := flooded(t, "")
	before := p.resident(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			c, err := net.Dial("tcp", p.host)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			request := "GET /s3/flooded/k HTTP/1.1\r\nHost: h\r\nX-Big: " +
				strings.Repeat("x", 1<<20) + "\r\n\r\n"
			go func() {
				_, _ = io.WriteString(c, request) // fails when the proxy closes the connection
			}()
			response, err := io.ReadAll(c)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("reading the response: %v, want a response or a reset connection", err)
			}
			if len(response) > 0 && !bytes.HasPrefix(response, []byte("HTTP/1.1 431 ")) {
				t.Errorf("response to a header of 1 MB = %.100q, want status 431", response)
			}
		})
	}
	wg.Wait()
	p.wantService(t)
	if grown := p.resident(t) - before; grown > 100 {
		t.Errorf("50 headers of 1 MB cost %d MB, want at most 100", grown)
	}

	const requests = 1000
	c, err := net.Dial("tcp", p.host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		var all strings.Builder
		for n := range requests {
			fmt.Fprintf(&all, "GET /s3/flooded/%d HTTP/1.1\r\nHost: h\r\n\r\n", n)
		}
		_, _ = io.WriteString(c, all.String())
	}()
	in := bufio.NewReader(c)
	for n := range requests {
		resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
		if err != nil {
			t.Fatalf("response %d: %v", n, err)
		}
		_ = resp.Body.Close()
		if location := resp.Header.Get("Location"); !strings.Contains(location, fmt.Sprintf("/%d?", n)) {
			t.Fatalf("response %d: %d to %s, want a redirect to object %[1]d",
				n, resp.StatusCode, location)
		}
	}
}

// TestRapidReset opens many HTTP/2 streams and resets them at once (CVE-2023-44487). They cost a
// bounded amount of memory, and other clients are served.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	p := flooded(t, "tls: {cert_file: \"${CERTIFICATE}\", key_file: \"${KEY}\"}\n",
		"CERTIFICATE="+authority.certificate, "KEY="+authority.key)
	before := p.resident(t)
	secure := authority.client
	for range 5 {
		c, err := tls.Dial("tcp", p.host,
			&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		go func() { _, _ = io.Copy(io.Discard, c) }()
		if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		framer := http2.NewFramer(c, nil)
		if err := framer.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for n := range 20_000 {
			block.Reset()
			for _, f := range []hpack.HeaderField{
				{Name: ":method", Value: "GET"},
				{Name: ":scheme", Value: "https"},
				{Name: ":authority", Value: p.host},
				{Name: ":path", Value: fmt.Sprintf("/s3/flooded/%d", n)},
			} {
				_ = encoder.WriteField(f) // cannot fail: block is in memory
			}
			headers := http2.HeadersFrameParam{
				StreamID:      uint32(2*n + 1),
				BlockFragment: block.Bytes(),
				EndStream:     true,
				EndHeaders:    true,
			}
			if framer.WriteHeaders(headers) != nil ||
				framer.WriteRSTStream(headers.StreamID, http2.ErrCodeCancel) != nil {
				break // the server has closed the connection
			}
		}
		resp, err := secure.Get("https://" + p.host + "/s3/flooded/k")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Errorf("status for another client = %d, want 302", resp.StatusCode)
		}
		_ = c.Close()
	}
	if grown := p.resident(t) - before; grown > 150 {
		t.Errorf("100,000 streams cost %d MB, want at most 150", grown)
	}
	t.Logf("memory grew from %d to %d MB", before, p.resident(t))
}
