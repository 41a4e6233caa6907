package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/wire"
	"s3redirect/metrics"
)

const (
	// These bound how long a slow client can hold a connection. The write timeout includes the time
	// that a request waits for STS.
	readTimeout  = 15 * time.Second
	writeTimeout = 30 * time.Second
	idleTimeout  = 2 * time.Minute
	// The server pings an HTTP/2 client that has been silent for pingAfter. The client must answer
	// within pongTimeout.
	pingAfter   = 30 * time.Second
	pongTimeout = 15 * time.Second
	// maxStreams and maxUpload bound the memory of an HTTP/2 connection: its requests in flight,
	// with headers of up to maxHeaderBytes each, and the unread parts of their bodies. S3 only
	// supports HTTP/1.1, so browsers load six objects of a bucket at a time, and more streams would
	// not make a page faster.
	maxStreams = 16
	maxUpload  = 256 << 10
	// maxHeaderBytes is enough for the path of any locator and for large cookies.
	maxHeaderBytes = 64 << 10
	// drainTimeout bounds how long Run waits for requests in flight.
	drainTimeout = 30 * time.Second
)

// Server serves viewers and administrators on two listeners.
type Server struct {
	// Addr and AdminAddr are the first addresses of the listeners.
	Addr, AdminAddr net.Addr

	viewers, admin                 *http.Server
	wire                           *wire.Server // nil: net/http answers all requests
	viewersListener, adminListener net.Listener
	ready                          atomic.Bool
	retired                        atomic.Bool // each response closes its connection
	drainDelay                     time.Duration
	log                            *slog.Logger
}

// ServerOptions configure a [Server].
type ServerOptions struct {
	// Listen and AdminListen are the addresses to listen on; see [config.ParseAddress].
	Listen, AdminListen []string
	// Announced reports whether connections to Listen from a peer (see [viewer.Peer]) may announce
	// the client's address in a PROXY header. If Announced is not nil, connections without one, and
	// those from other peers, are closed.
	Announced func(netip.Addr) bool
	// Viewers handles the requests on Listen.
	Viewers http.Handler
	// Wire answers plain requests for objects on Listen before net/http reads them. If nil, or if
	// Listen uses TLS, Viewers handles all requests.
	Wire    wire.Handler
	Metrics *metrics.Metrics
	Log     *slog.Logger
	// DrainDelay is how long the server continues to accept requests after /readyz has turned to
	// 503. Each response closes its connection then.
	DrainDelay time.Duration
	// TLS and AdminTLS name the certificate files of Listen and AdminListen, which are read again
	// when they change. A listener without files does not use TLS.
	TLS, AdminTLS config.TLS
	// Clock schedules checks of these files.
	Clock func() time.Time
	// Operator performs administrators' operations. If nil, there are none.
	Operator Operator
	// Console is the administrators' console. It serves /, /static/, /api/ and /preview. If nil,
	// there is no console.
	Console http.Handler
}

// Addresses returns all addresses of the viewers' and of the administrators' listener, for the log.
func (s *Server) Addresses() (viewers, admin string) {
	return addresses(s.viewersListener), addresses(s.adminListener)
}

// Listen loads the certificates and listens on all addresses. Errors begin with the configuration
// key at fault.
func Listen(o ServerOptions) (_ *Server, err error) {
	s := &Server{drainDelay: o.DrainDelay, log: o.Log}
	s.viewers = newServer(s.closeWhenRetired(o.Viewers), o.Log)
	s.admin = newServer(s.closeWhenRetired(s.adminHandler(o)), o.Log)
	s.viewers.TLSConfig, err = tlsConfig(o.TLS, o.Clock, o.Log.With("key", "tls"))
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	s.admin.TLSConfig, err = tlsConfig(o.AdminTLS, o.Clock, o.Log.With("key", "admin.tls"))
	if err != nil {
		return nil, fmt.Errorf("admin.tls: %w", err)
	}
	viewers, err := open(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	admin, err := open(o.AdminListen)
	if err != nil {
		closeAll(viewers)
		return nil, fmt.Errorf("admin_listen: %w", err)
	}
	var prepare func(net.Conn) (net.Conn, error)
	if o.Announced != nil {
		prepare = (&announcer{trusted: o.Announced, log: o.Log}).accept
	}
	s.viewersListener, s.adminListener = merge(viewers, prepare), merge(admin, nil)
	s.Addr, s.AdminAddr = s.viewersListener.Addr(), s.adminListener.Addr()
	if o.Wire != nil && s.viewers.TLSConfig == nil {
		s.wire = newWire(o, s.viewers)
	}
	return s, nil
}

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Over HTTP/2, WriteTimeout resets the stream, and to do so the server must write a frame.
		// Only WriteByteTimeout closes a connection whose client does not read.
		HTTP2: &http.HTTP2Config{
			WriteByteTimeout:              writeTimeout,
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pongTimeout,
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              16 << 10,
			MaxReceiveBufferPerConnection: maxUpload,
			MaxReceiveBufferPerStream:     maxUpload,
		},
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// newWire returns a server that answers plain requests for objects, and hands all other connections
// over to viewers.
func newWire(o ServerOptions, viewers *http.Server) *wire.Server {
	viewers.ConnContext = wire.ConnContext
	return &wire.Server{
		Handler:       o.Wire,
		Prefixes:      plainPrefixes,
		HTTP:          viewers,
		Log:           o.Log,
		HeaderTimeout: readTimeout,
		WriteTimeout:  writeTimeout,
		IdleTimeout:   idleTimeout,
	}
}

// adminHandler returns the handler of the administrators' listener.
func (s *Server) adminHandler(o ServerOptions) http.Handler {
	mux := http.NewServeMux()
	if o.Operator != nil {
		handleOperations(mux, o.Operator, o.Log)
		handleProfiles(mux, o.Operator, o.Log)
	}
	if o.Console != nil {
		for _, path := range []string{"/{$}", "/static/", "/api/", "/preview"} {
			mux.Handle(path, o.Console)
		}
	}
	mux.Handle("GET /metrics", o.Metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeState(w, true)
	})
	// Ready means configured and listening. A failure of STS does not change it, since that would
	// take every replica out of service at once.
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		writeState(w, s.ready.Load())
	})
	return mux
}

func writeState(w http.ResponseWriter, ok bool) {
	if !ok {
		writeText(w, http.StatusServiceUnavailable, "draining")
		return
	}
	writeText(w, http.StatusOK, "ok")
}

// closeWhenRetired returns a handler that closes its connections after the server has retired: over
// HTTP/1.1 after the response, which carries Connection: close, and over HTTP/2, for which net/http
// sends GOAWAY instead, after the last stream. SetKeepAlivesEnabled would at once close the idle
// connections, on which a load balancer may be sending a request.
func (s *Server) closeWhenRetired(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.retired.Load() {
			w.Header()["Connection"] = connectionClose
		}
		h.ServeHTTP(w, r)
	})
}

// retire turns /readyz to 503, and makes each further response close its connection.
func (s *Server) retire() {
	s.ready.Store(false)
	s.retired.Store(true)
	if s.wire != nil {
		s.wire.Retire()
	}
}

// serveViewers serves connections of the viewers' listener.
func (s *Server) serveViewers() error {
	if s.wire == nil {
		return serve(s.viewers, lazyListener{s.viewersListener})
	}
	return s.wire.Serve(s.viewersListener, func(l net.Listener) error {
		return serve(s.viewers, lazyListener{l})
	})
}

// drainViewers waits for the requests of viewers in flight, and then closes their connections.
func (s *Server) drainViewers(ctx context.Context) error {
	if s.wire == nil {
		return s.viewers.Shutdown(ctx)
	}
	return s.wire.Shutdown(ctx)
}

// closeViewers closes the viewers' listener and connections.
func (s *Server) closeViewers() error {
	if s.wire == nil {
		return s.viewers.Close()
	}
	return s.wire.Close()
}

// serve serves connections of a listener, over TLS if the server has a certificate.
func serve(s *http.Server, l net.Listener) error {
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "")
	}
	return s.Serve(l)
}

// Run serves until ctx is canceled, and then drains: /readyz turns to 503, responses close their
// connections, and the viewers' listener closes after the drain delay. Run waits for requests in
// flight and closes the administrators' listener last.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, 2)
	go func() { failed <- s.serveViewers() }()
	go func() { failed <- serve(s.admin, s.adminListener) }()
	s.ready.Store(true)
	select {
	case err := <-failed:
		return errors.Join(err, s.closeViewers(), s.admin.Close())
	case <-ctx.Done():
	}
	s.retire()
	s.log.Info("draining", "delay", s.drainDelay.String())
	time.Sleep(s.drainDelay)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := s.drainViewers(drain)
	if err != nil {
		err = fmt.Errorf("requests were still in flight after %v: %w",
			drainTimeout, errors.Join(err, s.closeViewers()))
	}
	return errors.Join(err, s.admin.Shutdown(drain))
}
