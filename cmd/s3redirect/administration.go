package main

import (
	"context"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/console"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
	"s3redirect/proxy"
)

// newConsole is the administrators' page of a proxy. Getenv looks up what the configuration names.
func (p *redirector) newConsole(getenv func(string) (string, bool)) *console.Console {
	return console.New(console.Options{Proxy: p, Metrics: p.metrics, Log: p.log, Clock: time.Now, Version: programVersion(), Getenv: getenv})
}

// listening notes where viewers are served.
func (p *redirector) listening(s *proxy.Server) {
	address := s.Addr.String()
	p.listen.Store(&address)
}

// State implements [console.Proxy].
func (p *redirector) State() console.State {
	g := p.current.Load()
	s := console.State{Config: g.config, Integrations: g.integrations, File: p.path, Read: g.read}
	if listen := p.listen.Load(); listen != nil {
		s.Listen = *listen
	}
	if r := p.refused.Load(); r != nil {
		s.Refused, s.Problem = r.at, strings.TrimSpace(r.err.Error())
	}
	return s
}

// CallerIdentity implements [console.Proxy].
func (p *redirector) CallerIdentity(ctx context.Context, i *config.Integration) (string, error) {
	return p.sts.CallerIdentity(ctx, i)
}

// Try implements [console.Proxy].
func (p *redirector) Try(l locator.Locator, asker console.Asker) (t console.Trial) {
	g := p.current.Load()
	t.Allowed, t.Why = verdict(g.config, viewer.As(asker.User, asker.Groups...), l)
	met, ok := g.handler.Peek(l, asker.User)
	if !ok {
		return t
	}
	t.Integration, t.Region, t.Session, t.Hit = met.Integration, met.Region, met.Session, met.Hit
	t.WindowEnds, t.Expires, t.MaxAge, t.Bytes = met.WindowEnds, met.Expires, met.MaxAge, met.Bytes
	if i, ok := g.config.ServedBy(l.Bucket); ok && met.Region != "" {
		t.Origin = strings.TrimSuffix(i.BucketEndpoint(l.Bucket, met.Region).Origin(), "/")
	}
	return t
}
