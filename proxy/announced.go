package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"

	"s3redirect/internal/viewer"
)

const (
	// announceTimeout bounds how long a load balancer may take to send its header. It sends the
	// header as the first thing on the connection.
	announceTimeout = 5 * time.Second
	// maxLine is the length of the longest header of version 1, and maxAnnouncement bounds the part
	// of a header of version 2 that has the addresses and further fields.
	maxLine         = 107
	maxAnnouncement = 4 << 10
)

// signatureV2 begins a header of version 2.
const signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"

var (
	errUntrustedPeer   = errors.New("the peer is not in trusted_proxies")
	errBadAnnouncement = errors.New("the connection does not begin with a valid PROXY header")
)

// announcer reads the PROXY headers of new connections.
// https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
type announcer struct {
	trusted func(netip.Addr) bool // whether the peer may announce a client's address
	log     *slog.Logger
}

// accept reads the header of a connection, and returns the connection with the address of the client
// as its remote address. It closes connections without a valid header, and those from other peers,
// which could claim any address.
func (a *announcer) accept(c net.Conn) (net.Conn, error) {
	announced, err := a.read(c)
	if err != nil {
		a.log.Debug("connection refused", "peer", c.RemoteAddr().String(), "error", err.Error())
		_ = c.Close()
		return nil, err
	}
	return announced, nil
}

func (a *announcer) read(c net.Conn) (net.Conn, error) {
	if !a.trusted(viewer.PeerOf(c.RemoteAddr().String())) {
		return nil, errUntrustedPeer
	}
	if err := c.SetReadDeadline(time.Now().Add(announceTimeout)); err != nil {
		return nil, err
	}
	text, err := readAnnouncement(c)
	if err != nil {
		return nil, errBadAnnouncement
	}
	header, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(text)))
	if err != nil {
		return nil, errBadAnnouncement
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	// A load balancer's own connections, such as health checks, have its own address.
	if header.Command.IsLocal() || header.TransportProtocol.IsUnspec() {
		return c, nil
	}
	source, ok := header.SourceAddr.(*net.TCPAddr)
	if !ok {
		return nil, errBadAnnouncement
	}
	return withRemote(c, &net.TCPAddr{IP: source.IP, Port: source.Port}), nil
}

// readAnnouncement reads a header and no byte more: the bytes after it are read from the socket by
// the server.
func readAnnouncement(r io.Reader) ([]byte, error) {
	text := make([]byte, len(signatureV2), maxLine)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, err
	}
	if string(text) == signatureV2 {
		return readV2(r, text)
	}
	if !bytes.HasPrefix(text, []byte("PROXY ")) {
		return nil, errBadAnnouncement
	}
	for text[len(text)-1] != '\n' {
		if len(text) == maxLine {
			return nil, errBadAnnouncement
		}
		text = append(text, 0)
		if _, err := io.ReadFull(r, text[len(text)-1:]); err != nil {
			return nil, err
		}
	}
	return text, nil
}

// readV2 reads the rest of a header of version 2: four bytes, of which the last two are the length
// of the rest.
func readV2(r io.Reader, text []byte) ([]byte, error) {
	var fixed [4]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(fixed[2:]))
	if length > maxAnnouncement {
		return nil, errBadAnnouncement
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, err
	}
	return append(append(text, fixed[:]...), rest...), nil
}

// withRemote returns c with another remote address. It is a socket if c is one, so that the wire can
// read from it without a buffer.
func withRemote(c net.Conn, remote net.Addr) net.Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return announcedTCP{c, remote}
	case unixConn:
		return announcedUnix{c.UnixConn, remote}
	}
	return announcedConn{c, remote}
}

type announcedTCP struct {
	*net.TCPConn
	remote net.Addr
}

// RemoteAddr implements [net.Conn].
func (c announcedTCP) RemoteAddr() net.Addr { return c.remote }

type announcedUnix struct {
	*net.UnixConn
	remote net.Addr
}

// RemoteAddr implements [net.Conn].
func (c announcedUnix) RemoteAddr() net.Addr { return c.remote }

type announcedConn struct {
	net.Conn
	remote net.Addr
}

// RemoteAddr implements [net.Conn].
func (c announcedConn) RemoteAddr() net.Addr { return c.remote }
