// Package app is the running program without its listeners: the current configuration, everything
// that was built from it, and how both change while requests are served.
package app

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/sessionstore"
	"s3redirect/internal/viewer"
	"s3redirect/internal/wire"
	"s3redirect/metrics"
	"s3redirect/proxy"
)

// App answers clients with the current configuration and replaces that configuration on request.
// It implements [http.Handler], [proxy.Operator] and [console.Proxy], and is safe for concurrent
// use.
type App struct {
	version   string
	path      string // of the configuration file; "" if there is no file
	clock     func() time.Time
	random    func() float64     // nil means math/rand's
	transport http.RoundTripper  // nil means the network
	shared    integration.Shared // nil if replicas do not share sessions
	log       *slog.Logger
	level     *slog.LevelVar
	metrics   *metrics.Metrics
	refusals  *refusalLog
	accessLog *proxy.AccessLog // nil if requests are not logged
	audit     *proxy.AuditLog  // nil if there is none
	auditFile *proxy.AuditFile // nil if audit is nil or standard output
	sts       *integration.AWSSTS
	store     *sessionstore.Redis // shared, if this App has made it; else nil
	started   config.Config       // at start, without its integrations; see needRestart

	current     atomic.Pointer[generation]
	listen      atomic.Pointer[string]        // the clients' address; nil until it is open
	lastFailure atomic.Pointer[reloadFailure] // nil after a successful reload

	// mu serializes reloads and purges, the writers of current. It guards tried. Requests never
	// take it.
	mu sync.Mutex
	// tried holds the files at the last reload, whether it succeeded or failed. It is nil if they
	// could not be read.
	tried *config.Source
	// pollError is the error of the last poll, or "". It is guarded by mu.
	pollError string
}

// reloadFailure is a reload that kept the previous configuration.
type reloadFailure struct {
	at  time.Time
	err error
}

// generation is one configuration and everything that was built from it.
type generation struct {
	config       *config.Config
	read         time.Time
	integrations *integration.Set
	gate         *viewer.Gate
	handler      *proxy.Handler
}

// Options configure an [App].
type Options struct {
	// Path is the configuration file to follow, and Source is the source of Config. Both are zero
	// if the configuration does not come from a file.
	Path   string
	Source *config.Source
	// Config is the initial configuration. Required.
	Config *config.Config
	// Stdout receives the audit log if log.audit is stdout. Default os.Stdout.
	Stdout io.Writer
	// Stderr receives the logs. Required.
	Stderr io.Writer
	// Version is the program's version, shown in a metric and in the console.
	Version string
	// Clock is the wall clock. nil means time.Now.
	Clock func() time.Time
	// Random returns numbers uniform in [0, 1), for jitter. It must be safe for concurrent use. nil
	// means math/rand's.
	Random func() float64
	// Transport carries all requests to STS, stores and identity providers. nil means the network,
	// with AWS_CA_BUNDLE.
	Transport http.RoundTripper
	// Shared is the store through which replicas share sessions. nil means the one that cache.redis
	// of Config describes, if any.
	Shared integration.Shared
}

// ConfigError is a configuration that [Load] accepts but that cannot be used, for example because the
// htpasswd file was removed since. Its text starts with the configuration key.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// New returns an App that serves o.Config. The error is a [*ConfigError] if the configuration
// cannot be used.
func New(o Options) (_ *App, err error) {
	c := o.Config
	a := &App{
		version: o.Version,
		path:    o.Path,
		tried:   o.Source,
		started: *c,
		level:   &slog.LevelVar{},
		metrics: metrics.New(o.Version),

		clock:     o.Clock,
		random:    o.Random,
		transport: o.Transport,
		shared:    o.Shared,
	}
	if a.clock == nil {
		a.clock = time.Now
	}
	a.started.Integrations, a.started.Warnings = nil, nil // do not keep them in memory
	a.level.Set(c.Log.Level)
	a.log = newLogger(c.Log.Format, a.level, o.Stderr)
	a.sts = &integration.AWSSTS{Skew: a.noteSkew, Log: a.log, Clock: a.clock, Random: a.random}
	if a.transport != nil {
		a.sts.HTTPClient = &http.Client{Transport: a.transport, CheckRedirect: integration.NoRedirects}
	}
	a.refusals = &refusalLog{log: a.log, reasons: map[refusalKey]*refusalCount{}}
	defer func() {
		if err != nil {
			a.closeShared()
		}
	}()
	if r := c.Cache.Redis; r != nil && a.shared == nil {
		a.store, err = sessionstore.NewRedis(sessionstore.FromConfig(r, a.sts))
		if err != nil {
			return nil, &ConfigError{fmt.Errorf("cache.redis: %w", err)}
		}
		a.shared = a.store
	}
	if c.Log.Access {
		a.accessLog = proxy.NewAccessLog(o.Stderr,
			cmp.Or(c.Log.AccessFormat, c.Log.Format), a.log, a.metrics.AccessLogLost)
	}
	if err := a.openAudit(c.Log.Audit, o.Stdout); err != nil {
		return nil, err
	}
	g, err := a.newGeneration(c, nil)
	if err != nil {
		return nil, err
	}
	a.current.Store(g)
	a.metrics.ExportAll(c.Metrics.Integrations == config.MetricsAll)
	a.metrics.ConfigRead(true, a.clock())
	releaseMemory(c)
	return a, nil
}

// manyIntegrations is the number from which loading a configuration allocates tens of megabytes.
const manyIntegrations = 1000

// releaseMemory returns to the system what loading c has allocated, unless that is little. Otherwise
// the process keeps several times as much memory as its integrations need.
func releaseMemory(c *config.Config) {
	if len(c.Integrations) >= manyIntegrations {
		debug.FreeOSMemory()
	}
}

// openAudit opens the audit log.
func (a *App) openAudit(to string, stdout io.Writer) (err error) {
	out := stdout
	switch {
	case to == "":
		return nil
	case to != config.AuditStdout:
		if a.auditFile, err = proxy.OpenAuditFile(to); err != nil {
			return &ConfigError{auditError(err)}
		}
		out = a.auditFile
	case out == nil:
		out = os.Stdout
	}
	a.audit = proxy.NewAuditLog(out, a.log, a.metrics.AuditLost)
	return nil
}

// newGeneration builds everything that c describes. It reuses from previous, which may be nil, what
// did not change: sessions, URLs, verified tokens and rate limits.
func (a *App) newGeneration(c *config.Config, previous *generation) (*generation, error) {
	g := &generation{config: c, read: a.clock()}
	o := integration.Options{
		Clock:     a.clock,
		Log:       a.log,
		Metrics:   a.metrics,
		STS:       a.sts,
		Transport: a.transport,
		Shared:    a.shared,
		Random:    a.random,
	}
	var err error
	if previous != nil && sameViewers(previous.config, c) {
		g.gate = previous.gate
		if err = g.gate.Reload(); err != nil {
			return nil, &ConfigError{err}
		}
	} else if g.gate, err = a.newGate(c); err != nil {
		return nil, &ConfigError{err}
	}
	var handler *proxy.Handler
	if previous != nil {
		handler = previous.handler
		g.integrations, err = previous.integrations.Next(c, o)
	} else {
		g.integrations, err = integration.NewSet(c, o)
	}
	if err == nil {
		g.handler, err = a.newHandler(g, handler)
	}
	if err != nil {
		if previous == nil {
			g.gate.Close()
		} else if previous.gate != g.gate {
			a.closeGateLocked(g)
		}
		return nil, err
	}
	return g, nil
}

// sameViewers reports whether a gate for a also serves b.
func sameViewers(a, b *config.Config) bool {
	return reflect.DeepEqual(a.Viewers, b.Viewers) && slices.Equal(a.Proxies, b.Proxies)
}

func (a *App) newHandler(g *generation, previous *proxy.Handler) (*proxy.Handler, error) {
	c := g.config
	return proxy.New(proxy.Options{
		Integrations:   g.integrations,
		Gate:           g.gate,
		Metrics:        a.metrics,
		Clock:          a.clock,
		Log:            a.log,
		Transport:      a.transport,
		AccessLog:      a.accessLog,
		Audit:          a.audit,
		URLs:           c.Cache.URLs,
		ReferrerPolicy: c.ReferrerPolicy,
		Attribution:    c.Viewers.Attribution,
		CORS:           c.CORS,
		PublicURL:      c.PublicURL,
		Previous:       previous,
	})
}

// TrustsProxy reports whether trusted_proxies of the current configuration has an address.
func (a *App) TrustsProxy(peer netip.Addr) bool {
	proxies := a.current.Load().config.Proxies
	return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// ServeHTTP implements [http.Handler]. One generation answers a request from start to finish.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.current.Load().handler.ServeHTTP(w, r)
}

// AppendResponse implements [wire.Handler].
func (a *App) AppendResponse(dst []byte, r *wire.Request) ([]byte, bool) {
	return a.current.Load().handler.AppendResponse(dst, r)
}

// Close cancels AssumeRole calls in flight and flushes the logs of requests.
func (a *App) Close() {
	g := a.current.Load()
	g.integrations.Close()
	g.gate.Close()
	a.closeShared()
}

// closeShared closes the session store and the logs of requests, which all generations share.
func (a *App) closeShared() {
	if a.store != nil {
		a.store.Close()
	}
	if a.accessLog != nil {
		a.accessLog.Close()
	}
	if a.audit != nil {
		a.audit.Close()
	}
	if a.auditFile != nil {
		_ = a.auditFile.Close() // its writes have succeeded, or their errors are logged
	}
}

// Log returns the program's logger.
func (a *App) Log() *slog.Logger { return a.log }

// Metrics returns the program's metrics.
func (a *App) Metrics() *metrics.Metrics { return a.metrics }

// Integrations returns the integrations of the current configuration.
func (a *App) Integrations() *integration.Set { return a.current.Load().integrations }

func newLogger(format string, level slog.Leveler, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// Summary returns a line per integration with the buckets or the prefix that it serves, for the log.
// It cuts long lists.
func Summary(integrations []*config.Integration) []string {
	const limit = 20
	var lines []string
	for n, i := range integrations {
		if n == limit {
			return append(lines, fmt.Sprintf("and %d more", len(integrations)-limit))
		}
		buckets := i.Buckets()
		if len(buckets) > limit {
			buckets = append(buckets[:limit:limit], "…")
		}
		line := i.Name + ": " + strings.Join(buckets, " ")
		if i.Prefix != "" {
			line += "/" + i.Prefix
		}
		lines = append(lines, line)
	}
	return lines
}
