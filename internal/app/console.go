package app

import (
	"context"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/console"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
	"s3redirect/proxy"
)

// Console returns the administrators' page. getenv looks up the environment variables that the
// configuration names.
func (a *App) Console(getenv func(string) (string, bool)) *console.Console {
	return console.New(console.Options{
		Proxy:   a,
		Metrics: a.metrics,
		Log:     a.log,
		Clock:   a.clock,
		Version: a.version,
		Getenv:  getenv,

		Transport: a.transport,
	})
}

// Listening records the address that s serves clients at, for the console.
func (a *App) Listening(s *proxy.Server) {
	address := s.Addr.String()
	a.listen.Store(&address)
}

// State implements [console.Proxy].
func (a *App) State() console.State {
	g := a.current.Load()
	s := console.State{Config: g.config, Integrations: g.integrations, File: a.path, Read: g.read}
	if listen := a.listen.Load(); listen != nil {
		s.Listen = *listen
	}
	if f := a.lastFailure.Load(); f != nil {
		s.Refused, s.Problem = f.at, strings.TrimSpace(f.err.Error())
	}
	return s
}

// CallerIdentity implements [console.Proxy].
func (a *App) CallerIdentity(ctx context.Context, i *config.Integration) (string, error) {
	return a.sts.CallerIdentity(ctx, i)
}

// Try implements [console.Proxy].
func (a *App) Try(l locator.Locator, asker console.Asker) (t console.Trial) {
	g := a.current.Load()
	t.Allowed, t.Why = Verdict(g.config, viewer.As(asker.User, asker.Groups...), l)
	met, ok := g.handler.Peek(l, asker.User)
	if !ok {
		return t
	}
	t.Integration, t.Region, t.Session, t.Hit = met.Integration, met.Region, met.Session, met.Hit
	t.WindowEnds, t.Expires, t.MaxAge, t.Bytes = met.WindowEnds, met.Expires, met.MaxAge, met.Bytes
	if i, ok := g.config.ServedBy(l); ok && met.Region != "" {
		t.Origin = strings.TrimSuffix(i.BucketEndpoint(l.Bucket, met.Region).Origin(), "/")
	}
	return t
}
