package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
	"s3redirect/proxy"
)

const (
	// WatchInterval is how often [App.Watch] reads the configuration files.
	WatchInterval = 2 * time.Second
	// requestTimeout is longer than any request takes. What the requests in flight use of the
	// previous generation is released after it.
	requestTimeout = time.Minute
)

// Reload implements [proxy.Operator]. It reads the configuration files and applies them. If that
// fails, the previous configuration is kept.
func (a *App) Reload() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	source, err := a.read(a.tried)
	unchanged := err == nil && source.Equal(a.tried) && a.lastFailure.Load() == nil
	if err = a.applyLocked(source, err); err == nil && unchanged {
		a.log.Info("the configuration is unchanged; the other files were read again", "config", a.path)
	}
	return err
}

// applyLocked applies source, unless reading it failed with readErr. The caller holds a.mu.
func (a *App) applyLocked(source *config.Source, readErr error) error {
	a.tried = source
	previous := a.current.Load()
	c, g, err := a.parse(source, readErr, previous)
	if err != nil {
		a.metrics.ConfigRead(false, a.clock())
		a.lastFailure.Store(&reloadFailure{at: a.clock(), err: err})
		for line := range strings.Lines(err.Error()) {
			a.log.Error("reload failed; keeping the previous configuration",
				"error", strings.TrimSuffix(line, "\n"))
		}
		return err
	}
	a.level.Set(c.Log.Level)
	a.current.Store(g)
	a.metrics.ExportAll(c.Metrics.Integrations == config.MetricsAll)
	a.lastFailure.Store(nil)
	previous.integrations.Retire(g.integrations)
	a.sts.Keep(c.Integrations)
	a.sts.Reload()
	purged := g.handler.Purge()
	// Requests that loaded the previous generation before the swap still use its gate, and create
	// series of its integrations.
	if previous.gate != g.gate {
		time.AfterFunc(requestTimeout, func() { a.closeGate(previous) })
	}
	if removed := a.forgetLocked(names(previous.config)); len(removed) > 0 {
		time.AfterFunc(requestTimeout, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.forgetLocked(removed)
		})
	}
	a.metrics.ConfigRead(true, a.clock())
	for _, w := range c.Warnings {
		a.log.Warn(w)
	}
	for _, key := range needRestart(&a.started, c) {
		a.log.Warn("this change takes effect only after a restart", "key", key)
	}
	a.log.Info("reloaded",
		"config", a.path,
		"integrations", Summary(c.Integrations),
		"urls_purged", purged)
	releaseMemory(c)
	return nil
}

// parse returns the configuration in source and the generation built from it.
func (a *App) parse(
	source *config.Source, readErr error, previous *generation,
) (*config.Config, *generation, error) {
	if readErr != nil {
		return nil, nil, readErr
	}
	c, err := parse(source)
	if err != nil {
		return nil, nil, err
	}
	g, err := a.newGeneration(c, previous)
	return c, g, err
}

// forgetLocked deletes the metric series of those integrations that the current configuration no
// longer has, and returns their names. The caller holds a.mu.
func (a *App) forgetLocked(integrations []string) (removed []string) {
	current := map[string]bool{}
	for _, name := range names(a.current.Load().config) {
		current[name] = true
	}
	for _, name := range integrations {
		if !current[name] {
			a.metrics.Forget(name)
			removed = append(removed, name)
		}
	}
	return removed
}

// names returns the names of c's integrations.
func names(c *config.Config) (names []string) {
	for n := range c.Integrations {
		names = append(names, c.Integrations[n].Name)
	}
	return names
}

// needRestart returns the keys that differ between a and b and need a restart, sorted.
func needRestart(a, b *config.Config) (keys []string) {
	for key, changed := range map[string]bool{
		"listen":            !slices.Equal(a.Listen, b.Listen),
		"admin_listen":      !slices.Equal(a.AdminListen, b.AdminListen),
		"proxy_protocol":    a.ProxyProtocol != b.ProxyProtocol,
		"tls":               a.TLS != b.TLS,
		"admin.tls":         a.Admin.TLS != b.Admin.TLS,
		"drain_delay":       a.DrainDelay != b.DrainDelay,
		"cache.redis":       !reflect.DeepEqual(a.Cache.Redis, b.Cache.Redis),
		"log.format":        a.Log.Format != b.Log.Format,
		"log.access":        a.Log.Access != b.Log.Access,
		"log.audit":         a.Log.Audit != b.Log.Audit,
		"log.access_format": a.Log.AccessFormat != b.Log.AccessFormat,
	} {
		if changed {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// AdminToken implements [proxy.Operator]. It returns the token of the current configuration.
func (a *App) AdminToken() config.Secret { return a.current.Load().config.Admin.Token }

// Purge implements [proxy.Operator].
func (a *App) Purge(name, text string) (proxy.Purged, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.current.Load()
	switch {
	case name != "" && text != "":
		return proxy.Purged{}, errors.New("pass either an integration or a locator, not both")
	case text != "":
		target, err := viewer.ParseTarget(text)
		if err != nil {
			return proxy.Purged{}, fmt.Errorf("locator: %w", err)
		}
		return a.purgeLocked(g, servers(g.config, target))
	}
	return a.purgeLocked(g, []string{name})
}

// servers returns the names of the integrations that serve t or, if it is a folder, any object in it.
func servers(c *config.Config, t viewer.Target) (names []string) {
	if i, ok := c.ServedBy(t.Locator); ok {
		names = append(names, i.Name)
	}
	for _, i := range c.Integrations {
		if t.Prefix && i.Bucket == t.Bucket && strings.HasPrefix(i.Prefix, t.Key) &&
			!slices.Contains(names, i.Name) {
			names = append(names, i.Name)
		}
	}
	return names
}

// purgeLocked drops the sessions and the URLs of the named integrations of the current generation;
// the name "" stands for all. The caller holds a.mu.
func (a *App) purgeLocked(g *generation, names []string) (purged proxy.Purged, err error) {
	for _, name := range names {
		purged.Integrations = append(purged.Integrations, g.integrations.Purge(name)...)
	}
	if len(purged.Integrations) == 0 {
		return purged, proxy.ErrNothingToPurge
	}
	purged.URLs = g.handler.Purge()
	a.log.Info("purged", "integrations", purged.Integrations, "urls", purged.URLs)
	return purged, nil
}

// Watch reloads the configuration on SIGHUP and whenever one of its files changes, is added or is
// removed, until ctx ends. It polls the files, which also detects a file that an editor replaced by
// rename and a symbolic link that Kubernetes moved. It loads a change once two consecutive polls
// return the same content, so that it does not load a file that is half written.
func (a *App) Watch(ctx context.Context, interval time.Duration) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err == nil && isMountPoint(mounts, a.path) {
		a.log.Warn("the configuration file is mounted as a single file: the container does not see it "+
			"when an editor replaces it, and it cannot be saved; mount its folder", "config", a.path)
	}
	var last *config.Source
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			_ = a.Reload() // it logs the error
		case <-ticks.C:
			last = a.poll(last)
		}
	}
}

// poll reads the files and reloads if they differ from the last reload's and equal those of the
// previous poll, last. It returns the files, or nil if they cannot be read.
func (a *App) poll(last *config.Source) *config.Source {
	known := last
	if known == nil {
		a.mu.Lock()
		known = a.tried // so that the two share the content of unchanged files
		a.mu.Unlock()
	}
	source, err := a.read(known)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.noteUnreadableLocked(err)
		return nil
	}
	a.pollError = ""
	if !source.Equal(a.tried) && source.Equal(last) {
		_ = a.applyLocked(source, nil) // it logs the error
	}
	return source
}

// noteUnreadableLocked reports an error of reading the configuration, once, when two consecutive
// polls return it: a file may be between two renames. The next file that can be read is then
// applied, since none has been tried. The caller holds a.mu.
func (a *App) noteUnreadableLocked(err error) {
	text := err.Error()
	failed := a.lastFailure.Load()
	reported := a.tried == nil && failed != nil && failed.err.Error() == text
	if a.pollError == text && !reported {
		_ = a.applyLocked(nil, err) // it logs the error
	}
	a.pollError = text
}

// read reads the files. It reuses the content of files that did not change since known, which may be
// nil.
func (a *App) read(known *config.Source) (*config.Source, error) {
	if known == nil {
		return config.Read(a.path)
	}
	return known.Reread()
}

// isMountPoint reports whether a file is a mount point according to /proc/self/mountinfo, whose fifth
// field it is (proc(5)). Docker makes one for a bind mount of a single file.
func isMountPoint(mountinfo []byte, path string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	escaped := strings.NewReplacer("\\", `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(path)
	for line := range strings.Lines(string(mountinfo)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == escaped {
			return true
		}
	}
	return false
}
