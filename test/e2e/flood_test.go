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

const floodedConfig = longWindow + "\nintegrations: [{name: keys, bucket: flooded, region: eu-central-1, access_key_id: AKIA, secret_access_key: s}]\n"

// flooded is a proxy that needs no store, with or without TLS.
func flooded(t *testing.T, more string, env ...string) *proxy {
	t.Helper()
	return startProxy(t, more+floodedConfig, env...)
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// resident is how much memory the process has, in MB.
func (p *proxy) resident(t *testing.T) int {
	t.Helper()
	m := residentLine.FindStringSubmatch(readFile(t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)))
	if m == nil {
		t.Fatal("no VmRSS")
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n / 1024
}

func (p *proxy) wantService(t *testing.T) {
	t.Helper()
	if err := fetch(t, http.MethodGet, p.url("/s3/flooded/k")).checkRedirect(); err != nil {
		t.Errorf("others are not served: %v", err)
	}
}

// Ten thousand clients that say nothing, or half a word, cost memory within bounds, and others are served.
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
			_, err = io.WriteString(c, "GET /s3/flooded/k HTTP/1.1\r\nHost: h\r\n\r\n") // and never reads
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
		t.Errorf("%d connections cost %d MB, more than 40 kB each", connections, grown)
	}
	t.Logf("%d connections: from %d to %d MB", connections, before, p.resident(t))
}

// A header of a megabyte is turned away, and a thousand requests at once on one connection are answered in their order.
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
			go func() {
				_, _ = io.WriteString(c, "GET /s3/flooded/k HTTP/1.1\r\nHost: h\r\nX-Big: "+strings.Repeat("x", 1<<20)+"\r\n\r\n") // it hangs up in the middle
			}()
			answer, err := io.ReadAll(c)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) || len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 431 ")) {
				t.Errorf("%v %.100q", err, answer)
			}
		})
	}
	wg.Wait()
	p.wantService(t)
	if grown := p.resident(t) - before; grown > 100 {
		t.Errorf("50 headers of a megabyte cost %d MB", grown)
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
			t.Fatalf("answer %d: %v", n, err)
		}
		_ = resp.Body.Close()
		if !strings.Contains(resp.Header.Get("Location"), fmt.Sprintf("/%d?", n)) {
			t.Fatalf("answer %d is %d to %s", n, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
}

// HTTP/2's rapid reset (CVE-2023-44487): streams that are begun and given up at once cost no more than their bytes, and others are served.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	p := flooded(t, "tls: {cert_file: \"${CERTIFICATE}\", key_file: \"${KEY}\"}\n", "CERTIFICATE="+authority.certificate, "KEY="+authority.key)
	before := p.resident(t)
	secure := authority.client
	for range 5 {
		c, err := tls.Dial("tcp", p.host, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
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
			for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", p.host}, {":path", fmt.Sprintf("/s3/flooded/%d", n)}} {
				_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // into memory
			}
			id := uint32(2*n + 1)
			if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil || framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				break // the server had enough of it
			}
		}
		resp, err := secure.Get("https://" + p.host + "/s3/flooded/k")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Errorf("another client: %d", resp.StatusCode)
		}
		_ = c.Close()
	}
	if grown := p.resident(t) - before; grown > 150 {
		t.Errorf("100,000 streams cost %d MB", grown)
	}
	t.Logf("from %d to %d MB", before, p.resident(t))
}
