// Package app is the running program without its listeners: a configuration, what was made of it, and how both change while it
// serves.
package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"s3redirect/cache"
	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
	"s3redirect/proxy"
)

// App is a proxy without its listeners, whose configuration can change while it serves.
type App struct {
	version   string
	path      string // of the configuration; "" where it is no file's
	log       *slog.Logger
	level     *slog.LevelVar
	metrics   *metrics.Metrics
	accessLog *proxy.AccessLog // nil means none
	sts       *integration.AWSSTS
	vault     *cache.Vault // nil means that nothing is shared
	started   *config.Config

	current atomic.Pointer[generation]
	listen  atomic.Pointer[string]  // the address that viewers are served at; nil before they are
	refused atomic.Pointer[refusal] // the last reload that was refused; nil since one was not
	mu      sync.Mutex              // held by whoever changes current
	tried   []byte                  // the file's text when it was last read, good or bad
}

// refusal is a reload that changed nothing.
type refusal struct {
	at  time.Time
	err error
}

// generation is a configuration and all that was made of it.
type generation struct {
	config       *config.Config
	read         time.Time
	integrations *integration.Set
	gate         *viewer.Gate
	handler      *proxy.Handler
}

// Options are what an [App] needs.
type Options struct {
	// Path is the configuration file that is followed, and Text is what it held when Config was read from it. A configuration that
	// is not a file's has neither.
	Path string
	Text []byte
	// Config is the configuration to begin with. Required.
	Config *config.Config
	// Stderr receives the logs. Required.
	Stderr io.Writer
	// Version is the program's version, for a metric and the console.
	Version string
}

// ConfigError reports a configuration that loads but cannot be used, such as one whose htpasswd file is unreadable. Its text begins
// with the key.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// New returns a running proxy. Its error is a [*ConfigError] if the configuration is to blame.
func New(o Options) (*App, error) {
	c := o.Config
	a := &App{path: o.Path, tried: o.Text, started: c, version: o.Version, level: &slog.LevelVar{}, metrics: metrics.New(o.Version)}
	a.sts = &integration.AWSSTS{Skew: a.noteSkew}
	a.level.Set(c.Log.Level)
	a.log = newLogger(c.Log.Format, a.level, o.Stderr)
	if c.Log.Access {
		a.accessLog = proxy.NewAccessLog(o.Stderr, c.Log.Format, a.log, a.metrics.AccessLogLost)
	}
	if r := c.Cache.Redis; r != nil {
		var err error
		if a.vault, err = cache.NewVault(cache.VaultOptions{URL: string(r.URL), Keys: r.Keys(), Clock: time.Now}); err != nil {
			return nil, &ConfigError{fmt.Errorf("cache.redis: %w", err)}
		}
	}
	g, err := a.generation(c, nil)
	if err != nil {
		if a.accessLog != nil {
			a.accessLog.Close()
		}
		return nil, err
	}
	a.current.Store(g)
	a.metrics.ConfigRead(true, time.Now())
	return a, nil
}

// generation makes what a configuration describes, with what the one before knew.
func (a *App) generation(c *config.Config, before *generation) (*generation, error) {
	g := &generation{config: c, read: time.Now()}
	o := integration.Options{Clock: time.Now, Log: a.log, Metrics: a.metrics, STS: a.sts}
	if a.vault != nil {
		o.Shared = a.vault
	}
	var err error
	if before != nil && reflect.DeepEqual(before.config.Viewers, c.Viewers) {
		g.gate = before.gate // with its keys and its counts
	} else if g.gate, err = viewer.New(&c.Viewers, viewer.Options{Clock: time.Now, Log: a.log}); err != nil {
		return nil, &ConfigError{fmt.Errorf("viewers.basic.htpasswd_file: %w; htpasswd -B writes such a file", err)}
	}
	var previous *proxy.Handler
	if before != nil {
		previous = before.handler
		g.integrations, err = before.integrations.Next(c, o)
	} else {
		g.integrations, err = integration.NewSet(c, o)
	}
	if err == nil {
		g.handler, err = a.handler(g, previous)
	}
	if err != nil {
		if before == nil || before.gate != g.gate {
			g.gate.Close()
		}
		return nil, err
	}
	return g, nil
}

func (a *App) handler(g *generation, previous *proxy.Handler) (*proxy.Handler, error) {
	c := g.config
	return proxy.New(proxy.Options{
		Integrations: g.integrations, Metrics: a.metrics, Clock: time.Now, Log: a.log, URLs: c.Cache.URLs, ReferrerPolicy: c.ReferrerPolicy,
		AccessLog: a.accessLog, Gate: g.gate, Attribution: c.Viewers.Attribution, CORS: c.CORS, PublicURL: c.PublicURL, Previous: previous,
	})
}

// ServeHTTP implements [http.Handler]: a request is answered by one configuration, from its beginning to its end.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.current.Load().handler.ServeHTTP(w, r)
}

// Close ends calls that are on their way, and writes what is left of the access log.
func (a *App) Close() {
	g := a.current.Load()
	g.integrations.Close()
	g.gate.Close()
	if a.vault != nil {
		a.vault.Close()
	}
	if a.accessLog != nil {
		a.accessLog.Close()
	}
}

// Reload implements [proxy.Operator]: it reads the file again. With a mistake in it, all goes on as before.
func (a *App) Reload() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	text, err := config.ReadFile(a.path)
	return a.apply(text, err)
}

// apply puts a new text of the file to use. The lock is held.
func (a *App) apply(text []byte, err error) error {
	a.tried = text
	var c *config.Config
	if err == nil {
		c, err = config.Parse(a.path, text, os.LookupEnv)
	}
	before := a.current.Load()
	var g *generation
	if err == nil {
		g, err = a.generation(c, before)
	}
	if err != nil {
		a.metrics.ConfigRead(false, time.Now())
		a.refused.Store(&refusal{at: time.Now(), err: err})
		for line := range strings.Lines(err.Error()) {
			a.log.Error("reload refused: the old configuration goes on", "mistake", strings.TrimSuffix(line, "\n"))
		}
		return err
	}
	a.level.Set(c.Log.Level)
	a.current.Store(g)
	a.refused.Store(nil)
	before.integrations.Retire(g.integrations)
	a.sts.Keep(c.Integrations)
	purged := g.handler.Purge()
	// Requests that began before may still ask its gate, and be counted.
	if before.gate != g.gate {
		time.AfterFunc(requestsLast, before.gate.Close)
	}
	if gone := a.forget(names(before.config)); len(gone) > 0 {
		time.AfterFunc(requestsLast, func() { a.mu.Lock(); defer a.mu.Unlock(); a.forget(gone) })
	}
	a.metrics.ConfigRead(true, time.Now())
	for _, w := range c.Warnings {
		a.log.Warn(w)
	}
	for _, key := range needRestart(a.started, c) {
		a.log.Warn("this takes effect after a restart only", "key", key)
	}
	a.log.Info("reloaded", "config", a.path, "integrations", Summary(c.Integrations), "urls_purged", purged)
	return nil
}

// requestsLast is longer than any request takes.
const requestsLast = time.Minute

// forget ends the series of those integrations that are not in the current configuration, and names them. The lock is held.
func (a *App) forget(integrations []string) (gone []string) {
	there := map[string]bool{}
	for _, name := range names(a.current.Load().config) {
		there[name] = true
	}
	for _, name := range integrations {
		if !there[name] {
			a.metrics.Forget(name)
			gone = append(gone, name)
		}
	}
	return gone
}

// names are those of a configuration's integrations.
func names(c *config.Config) (names []string) {
	for n := range c.Integrations {
		names = append(names, c.Integrations[n].Name)
	}
	return names
}

// needRestart names the keys that are not what they were when the process started, and that only a restart can follow.
func needRestart(a, b *config.Config) (keys []string) {
	for key, changed := range map[string]bool{
		"listen": a.Listen != b.Listen, "admin_listen": a.AdminListen != b.AdminListen, "tls": a.TLS != b.TLS, "drain_delay": a.DrainDelay != b.DrainDelay,
		"cache.redis": !reflect.DeepEqual(a.Cache.Redis, b.Cache.Redis), "log.format": a.Log.Format != b.Log.Format, "log.access": a.Log.Access != b.Log.Access,
	} {
		if changed {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Purge implements [proxy.Operator].
func (a *App) Purge(name, text string) (proxy.Purged, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.current.Load()
	switch {
	case name != "" && text != "":
		return proxy.Purged{}, errors.New("name an integration or a locator, not both")
	case text != "":
		target, err := viewer.ParseTarget(text)
		if err != nil {
			return proxy.Purged{}, fmt.Errorf("locator: %w", err)
		}
		i, ok := g.config.ServedBy(target.Bucket)
		if !ok {
			return proxy.Purged{}, proxy.ErrNothingToPurge
		}
		name = i.Name
	}
	done := proxy.Purged{Integrations: g.integrations.Purge(name)}
	if len(done.Integrations) == 0 {
		return done, proxy.ErrNothingToPurge
	}
	done.URLs = g.handler.Purge()
	a.log.Info("purged", "integrations", done.Integrations, "urls", done.URLs)
	return done, nil
}

// WatchInterval is how often the file is looked at.
const WatchInterval = 2 * time.Second

// Watch reloads at SIGHUP, and when the file's text has changed: it is read now and then, which sees what editors do (a new
// file under the old name) and what Kubernetes does (a link that leads elsewhere). A text counts once it was the same twice, so that
// one that is half written does not.
func (a *App) Watch(ctx context.Context, interval time.Duration) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	var last []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			_ = a.Reload() // the log has it
		case <-ticks.C:
			last = a.look(last)
		}
	}
}

// look reads the file, and reloads if its text is new and was the same at the last look. It returns the text.
func (a *App) look(last []byte) []byte {
	text, err := config.ReadFile(a.path)
	if err != nil {
		return nil // between two links, or two files; SIGHUP would say so
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !bytes.Equal(text, a.tried) && bytes.Equal(text, last) {
		_ = a.apply(text, nil) // the log has it
	}
	return text
}

func newLogger(format string, level slog.Leveler, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// Log returns the program's logger.
func (a *App) Log() *slog.Logger { return a.log }

// Metrics returns the program's metrics.
func (a *App) Metrics() *metrics.Metrics { return a.metrics }

// Integrations returns those of the current configuration.
func (a *App) Integrations() *integration.Set { return a.current.Load().integrations }

// Summary says which integration serves what, the first of them at least.
func Summary(integrations []config.Integration) []string {
	const most = 20
	var lines []string
	for n, i := range integrations {
		if n == most {
			return append(lines, fmt.Sprintf("and %d more", len(integrations)-most))
		}
		buckets := i.PermittedBuckets
		if i.Bucket != "" {
			buckets = []string{i.Bucket}
		}
		if len(buckets) > most {
			buckets = append(buckets[:most:most], "…")
		}
		lines = append(lines, i.Name+": "+strings.Join(buckets, " "))
	}
	return lines
}
