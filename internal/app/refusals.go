package app

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

const (
	// refusalInterval is the average time between two log lines for one reason, and refusalBurst
	// the number of lines that may be logged at once. Any client can cause them.
	refusalInterval = time.Second
	refusalBurst    = 10
)

// refusalLog logs why credentials are refused. It is safe for concurrent use.
type refusalLog struct {
	log *slog.Logger

	mu      sync.Mutex // guards reasons and what is in it
	reasons map[refusalKey]*refusalCount
}

type refusalKey struct {
	method viewer.Method
	reason viewer.Reason
}

type refusalCount struct {
	limiter    *rate.Limiter
	suppressed int // since the last line
}

// add logs a refusal, unless there were too many for its reason.
func (l *refusalLog) add(r *viewer.Request, f *viewer.Refusal, now time.Time) {
	suppressed, ok := l.count(refusalKey{f.Method, f.Reason}, now)
	if !ok {
		return
	}
	attributes := []any{"method", string(f.Method), "reason", string(f.Reason)}
	for _, a := range []struct{ name, value string }{
		{"issuer", f.Issuer},
		{"audience", f.Audience},
		{"kid", f.KeyID},
		{"claim", f.Claim},
	} {
		if a.value != "" {
			attributes = append(attributes, a.name, a.value)
		}
	}
	attributes = append(attributes, "peer", peerText(r.Peer), "remedy", f.Remedy())
	if suppressed > 0 {
		attributes = append(attributes, "suppressed", suppressed)
	}
	l.log.Info("credential refused", attributes...)
}

// count counts a refusal. ok reports whether it may be logged; suppressed is then the number of
// refusals with the same reason that were not logged since the last line.
func (l *refusalLog) count(key refusalKey, now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.reasons[key]
	if c == nil {
		c = &refusalCount{limiter: rate.NewLimiter(rate.Every(refusalInterval), refusalBurst)}
		l.reasons[key] = c
	}
	if !c.limiter.AllowN(now, 1) {
		c.suppressed++
		return 0, false
	}
	suppressed, c.suppressed = c.suppressed, 0
	return suppressed, true
}

// newGate returns the gate for a configuration. Its refusals are logged and counted, and so are its
// fetches of keys.
func (a *App) newGate(c *config.Config) (*viewer.Gate, error) {
	g, err := viewer.New(&c.Viewers, viewer.Options{
		Clock:          a.clock,
		Log:            a.log,
		TrustedProxies: c.Proxies,
		Refused: func(r *viewer.Request, f *viewer.Refusal) {
			a.metrics.ViewerRefused(string(f.Method), string(f.Reason))
			a.refusals.add(r, f, a.clock())
		},
		KeysFetched: func(issuer string, err error) {
			a.metrics.KeysFetched(issuer, err, a.clock())
		},
		Transport: a.transport,
	})
	if err != nil {
		return nil, err
	}
	for n := range c.Viewers.JWT {
		a.metrics.AddIssuer(c.Viewers.JWT[n].Issuer)
	}
	return g, nil
}

// closeGateLocked closes the gate of a previous configuration, and deletes the metric series of the
// issuers that the current one does not have. The caller holds a.mu. Otherwise, while a reload
// brings an issuer back, its gate creates the series, closeGateLocked deletes them because the
// current configuration still lacks the issuer, and the reload becomes the current configuration.
func (a *App) closeGateLocked(previous *generation) {
	previous.gate.Close()
	current := map[string]bool{}
	for _, j := range a.current.Load().config.Viewers.JWT {
		current[j.Issuer] = true
	}
	for _, j := range previous.config.Viewers.JWT {
		if !current[j.Issuer] {
			a.metrics.ForgetIssuer(j.Issuer)
		}
	}
}

// closeGate calls closeGateLocked when no reload is in progress.
func (a *App) closeGate(previous *generation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closeGateLocked(previous)
}

// peerText returns a peer's address, as trusted_proxies has it.
func peerText(peer netip.Addr) string {
	if peer == config.UnixPeer {
		return config.UnixProxy
	}
	return peer.String()
}
