package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"s3redirect/internal/config"
	"s3redirect/metrics"
)

const (
	// A slow client may hold a connection for so long, and no longer. Answers may have to wait for STS.
	readTimeout  = 15 * time.Second
	writeTimeout = 30 * time.Second
	idleTimeout  = 2 * time.Minute
	// An HTTP/2 client that is silent for pingAfter is sent a ping, and must answer it within pongTimeout.
	pingAfter   = 30 * time.Second
	pongTimeout = 15 * time.Second
	// maxStreams and maxUpload bound the memory of an HTTP/2 connection: its requests in flight, with
	// headers of up to maxHeaderBytes each, and the parts of their bodies that were not read. Browsers load
	// six objects of a bucket at once, as S3 speaks HTTP/1.1 only: more streams would not make a page faster.
	maxStreams = 16
	maxUpload  = 256 << 10
	// maxHeaderBytes is enough for any path that could be a locator's, and for big cookies besides.
	maxHeaderBytes = 64 << 10
	// drainTimeout bounds how long running requests are waited for.
	drainTimeout = 30 * time.Second
)

// Server is the two listeners: the viewers' and the administrators'.
type Server struct {
	// Addr and AdminAddr are where they listen.
	Addr, AdminAddr net.Addr

	viewers, admin                 *http.Server
	viewersListener, adminListener net.Listener
	ready                          atomic.Bool
	drainDelay                     time.Duration
	log                            *slog.Logger
}

// ServerOptions are what a [Server] needs.
type ServerOptions struct {
	Listen, AdminListen string // host:port
	// Viewers answers on Listen.
	Viewers http.Handler
	Metrics *metrics.Metrics
	Log     *slog.Logger
	// DrainDelay is how long viewers are served on after readiness has turned.
	DrainDelay time.Duration
	// TLS and AdminTLS are the certificates of Listen and AdminListen, which are read again when
	// they change. Without files there is no TLS.
	TLS, AdminTLS config.TLS
	// Clock is for looking at these files now and then.
	Clock func() time.Time
	// Operator does what administrators ask for. nil means that they can ask for nothing.
	Operator Operator
	// Console is the administrators' page, with its own paths /static/, /api/ and /preview. nil means none.
	Console http.Handler
}

// Listen binds both addresses. An error names the one that could not be had.
func Listen(o ServerOptions) (_ *Server, err error) {
	s := &Server{drainDelay: o.DrainDelay, log: o.Log, viewers: newServer(o.Viewers, o.Log)}
	s.admin = newServer(s.administration(o), o.Log)
	if s.viewers.TLSConfig, err = tlsConfig(o.TLS, o.Clock, o.Log.With("key", "tls")); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if s.admin.TLSConfig, err = tlsConfig(o.AdminTLS, o.Clock, o.Log.With("key", "admin.tls")); err != nil {
		return nil, fmt.Errorf("admin.tls: %w", err)
	}
	if s.viewersListener, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if s.adminListener, err = net.Listen("tcp", o.AdminListen); err != nil {
		_ = s.viewersListener.Close()
		return nil, fmt.Errorf("admin_listen: %w", err)
	}
	s.Addr, s.AdminAddr = s.viewersListener.Addr(), s.adminListener.Addr()
	return s, nil
}

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// Over HTTP/2, WriteTimeout resets streams, which needs a connection that can be written to. Only
		// WriteByteTimeout closes one whose client does not read.
		HTTP2: &http.HTTP2Config{
			WriteByteTimeout: writeTimeout, SendPingTimeout: pingAfter, PingTimeout: pongTimeout,
			MaxConcurrentStreams: maxStreams, MaxReadFrameSize: 16 << 10,
			MaxReceiveBufferPerConnection: maxUpload, MaxReceiveBufferPerStream: maxUpload,
		},
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// administration is the administrators' side.
func (s *Server) administration(o ServerOptions) http.Handler {
	mux := http.NewServeMux()
	if o.Operator != nil {
		operate(mux, o.Operator, o.Log)
	}
	if o.Console != nil {
		for _, path := range []string{"/{$}", "/static/", "/api/", "/preview"} {
			mux.Handle(path, o.Console)
		}
	}
	mux.Handle("GET /metrics", o.Metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeState(w, true) })
	// Ready means configured and listening. That STS fails is no reason to take every replica out at once.
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { writeState(w, s.ready.Load()) })
	return mux
}

func writeState(w http.ResponseWriter, ok bool) {
	if !ok {
		writeText(w, http.StatusServiceUnavailable, "draining")
		return
	}
	writeText(w, http.StatusOK, "ok")
}

// serve answers on a listener, over TLS if the server has a certificate.
func serve(s *http.Server, l net.Listener) error {
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "")
	}
	return s.Serve(l)
}

// Run serves until the context ends, and then drains: readiness turns first, running requests finish, and the
// administrators' side goes last.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, 2)
	go func() { failed <- serve(s.viewers, lazyListener{s.viewersListener}) }()
	go func() { failed <- serve(s.admin, s.adminListener) }()
	s.ready.Store(true)
	select {
	case err := <-failed:
		return errors.Join(err, s.viewers.Close(), s.admin.Close())
	case <-ctx.Done():
	}
	s.ready.Store(false)
	s.log.Info("draining", "delay", s.drainDelay.String())
	time.Sleep(s.drainDelay)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := s.viewers.Shutdown(drain)
	if err != nil {
		err = fmt.Errorf("requests still ran after %v: %w", drainTimeout, errors.Join(err, s.viewers.Close()))
	}
	return errors.Join(err, s.admin.Shutdown(drain))
}
