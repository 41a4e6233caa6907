package main

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

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/sessionstore"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
	"s3redirect/proxy"
)

// redirector is a proxy without its listeners, whose configuration can change while it serves.
type redirector struct {
	path      string // of the configuration; "" where it is no file's
	log       *slog.Logger
	level     *slog.LevelVar
	metrics   *metrics.Metrics
	accessLog *proxy.AccessLog // nil means none
	sts       *integration.AWSSTS
	store     *sessionstore.Redis // nil: replicas do not share sessions
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

// newRedirector makes a proxy of a configuration; its file is followed, if it is one's, beginning with the text that it was
// read from.
func newRedirector(path string, text []byte, c *config.Config, stderr io.Writer) (*redirector, error) {
	p := &redirector{path: path, tried: text, started: c, level: &slog.LevelVar{}, metrics: metrics.New(programVersion())}
	p.sts = &integration.AWSSTS{Skew: p.noteSkew}
	p.level.Set(c.Log.Level)
	p.log = newLogger(c.Log.Format, p.level, stderr)
	if c.Log.Access {
		p.accessLog = proxy.NewAccessLog(stderr, c.Log.Format, p.log, p.metrics.AccessLogLost)
	}
	if r := c.Cache.Redis; r != nil {
		var err error
		if p.store, err = sessionstore.NewRedis(sessionstore.Options{
			URL:   string(r.URL),
			Keys:  r.Keys(),
			Clock: time.Now,
		}); err != nil {
			return nil, usageError{fmt.Errorf("cache.redis: %w", err)}
		}
	}
	g, err := p.generation(c, nil)
	if err != nil {
		if p.accessLog != nil {
			p.accessLog.Close()
		}
		return nil, err
	}
	p.current.Store(g)
	p.metrics.ConfigRead(true, time.Now())
	return p, nil
}

// generation makes what a configuration describes, with what the one before knew.
func (p *redirector) generation(c *config.Config, before *generation) (*generation, error) {
	g := &generation{config: c, read: time.Now()}
	o := integration.Options{Clock: time.Now, Log: p.log, Metrics: p.metrics, STS: p.sts}
	if p.store != nil {
		o.Shared = p.store
	}
	var err error
	if before != nil && reflect.DeepEqual(before.config.Viewers, c.Viewers) {
		g.gate = before.gate // with its keys and its counts
	} else if g.gate, err = viewer.New(&c.Viewers, viewer.Options{Clock: time.Now, Log: p.log}); err != nil {
		return nil, usageError{fmt.Errorf("viewers.basic.htpasswd_file: %w; htpasswd -B writes such a file", err)}
	}
	var previous *proxy.Handler
	if before != nil {
		previous = before.handler
		g.integrations, err = before.integrations.Next(c, o)
	} else {
		g.integrations, err = integration.NewSet(c, o)
	}
	if err == nil {
		g.handler, err = p.handler(g, previous)
	}
	if err != nil {
		if before == nil || before.gate != g.gate {
			g.gate.Close()
		}
		return nil, err
	}
	return g, nil
}

func (p *redirector) handler(g *generation, previous *proxy.Handler) (*proxy.Handler, error) {
	c := g.config
	return proxy.New(proxy.Options{
		Integrations: g.integrations, Metrics: p.metrics, Clock: time.Now, Log: p.log, URLs: c.Cache.URLs, ReferrerPolicy: c.ReferrerPolicy,
		AccessLog: p.accessLog, Gate: g.gate, Attribution: c.Viewers.Attribution, CORS: c.CORS, PublicURL: c.PublicURL, Previous: previous,
	})
}

// ServeHTTP implements [http.Handler]: a request is answered by one configuration, from its beginning to its end.
func (p *redirector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.current.Load().handler.ServeHTTP(w, r)
}

// close ends calls that are on their way, and writes what is left of the access log.
func (p *redirector) close() {
	g := p.current.Load()
	g.integrations.Close()
	g.gate.Close()
	if p.store != nil {
		p.store.Close()
	}
	if p.accessLog != nil {
		p.accessLog.Close()
	}
}

// Reload implements [proxy.Operator]: it reads the file again. With a mistake in it, all goes on as before.
func (p *redirector) Reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, err := config.ReadFile(p.path)
	return p.apply(text, err)
}

// apply puts a new text of the file to use. The lock is held.
func (p *redirector) apply(text []byte, err error) error {
	p.tried = text
	var c *config.Config
	if err == nil {
		c, err = config.Parse(p.path, text, os.LookupEnv)
	}
	before := p.current.Load()
	var g *generation
	if err == nil {
		g, err = p.generation(c, before)
	}
	if err != nil {
		p.metrics.ConfigRead(false, time.Now())
		p.refused.Store(&refusal{at: time.Now(), err: err})
		for line := range strings.Lines(err.Error()) {
			p.log.Error("reload refused: the old configuration goes on", "mistake", strings.TrimSuffix(line, "\n"))
		}
		return err
	}
	p.level.Set(c.Log.Level)
	p.current.Store(g)
	p.refused.Store(nil)
	before.integrations.Retire(g.integrations)
	p.sts.Keep(c.Integrations)
	purged := g.handler.Purge()
	// Requests that began before may still ask its gate, and be counted.
	if before.gate != g.gate {
		time.AfterFunc(requestsLast, before.gate.Close)
	}
	if gone := p.forget(names(before.config)); len(gone) > 0 {
		time.AfterFunc(requestsLast, func() { p.mu.Lock(); defer p.mu.Unlock(); p.forget(gone) })
	}
	p.metrics.ConfigRead(true, time.Now())
	for _, w := range c.Warnings {
		p.log.Warn(w)
	}
	for _, key := range needRestart(p.started, c) {
		p.log.Warn("this takes effect after a restart only", "key", key)
	}
	p.log.Info("reloaded", "config", p.path, "integrations", summary(c.Integrations), "urls_purged", purged)
	return nil
}

// requestsLast is longer than any request takes.
const requestsLast = time.Minute

// forget ends the series of those integrations that are not in the current configuration, and names them. The lock is held.
func (p *redirector) forget(integrations []string) (gone []string) {
	there := map[string]bool{}
	for _, name := range names(p.current.Load().config) {
		there[name] = true
	}
	for _, name := range integrations {
		if !there[name] {
			p.metrics.Forget(name)
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
func (p *redirector) Purge(name, text string) (proxy.Purged, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.current.Load()
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
	p.log.Info("purged", "integrations", done.Integrations, "urls", done.URLs)
	return done, nil
}

// watchInterval is how often the file is looked at.
const watchInterval = 2 * time.Second

// watch reloads at SIGHUP, and when the file's text has changed: it is read now and then, which sees what editors do (a new
// file under the old name) and what Kubernetes does (a link that leads elsewhere). A text counts once it was the same twice, so that
// one that is half written does not.
func (p *redirector) watch(ctx context.Context, interval time.Duration) {
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
			_ = p.Reload() // the log has it
		case <-ticks.C:
			last = p.look(last)
		}
	}
}

// look reads the file, and reloads if its text is new and was the same at the last look. It returns the text.
func (p *redirector) look(last []byte) []byte {
	text, err := config.ReadFile(p.path)
	if err != nil {
		return nil // between two links, or two files; SIGHUP would say so
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !bytes.Equal(text, p.tried) && bytes.Equal(text, last) {
		_ = p.apply(text, nil) // the log has it
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
