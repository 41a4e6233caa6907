package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"s3redirect/internal/app"
	"s3redirect/proxy"
)

// serve serves clients until ctx ends.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	path := configFlag(flags)
	onWire := flags.Bool("wire", true,
		"answer plain requests for objects on the connection; with --wire=false, net/http answers all")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	source, c, err := app.Load(*path)
	if err != nil {
		return usageError{err}
	}
	limitMemory()
	p, err := app.New(app.Options{
		Path:    *path,
		Source:  source,
		Config:  c,
		Stdout:  stdout,
		Stderr:  stderr,
		Version: programVersion(),
	})
	if configErr, ok := errors.AsType[*app.ConfigError](err); ok {
		return usageError{fmt.Errorf("%s: %w", *path, configErr)}
	} else if err != nil {
		return err
	}
	defer p.Close()
	log := p.Log()
	page := p.Console(os.LookupEnv)
	o := proxy.ServerOptions{
		Listen:      c.Listen,
		AdminListen: c.AdminListen,
		TLS:         c.TLS,
		AdminTLS:    c.Admin.TLS,
		DrainDelay:  c.DrainDelay,
		Viewers:     p,
		Operator:    p,
		Console:     page,
		Metrics:     p.Metrics(),
		Log:         log,
		Clock:       time.Now,
	}
	if *onWire {
		o.Wire = p
	}
	if c.ProxyProtocol {
		o.Announced = p.TrustsProxy
	}
	s, err := proxy.Listen(o)
	if err != nil {
		return err
	}
	p.Listening(s)
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	listen, adminListen := s.Addresses()
	log.Info("serving",
		"version", programVersion(),
		"config", *path,
		"listen", listen,
		"admin_listen", adminListen,
		"tls", c.TLS.CertFile != "",
		"admin_tls", c.Admin.TLS.CertFile != "",
		"integrations", app.Summary(c.Integrations))
	go p.Watch(ctx, app.WatchInterval)
	go page.Sample(ctx)
	go p.WatchClock(ctx, time.Now, app.SinceStart())
	if err := s.Run(ctx); err != nil {
		return err
	}
	p.Close() // flushes the logs of requests before the last log line
	log.Info("stopped")
	return nil
}

// limitMemory sets the garbage collector's memory limit to nine tenths of the container's memory
// limit. GOMEMLIMIT takes precedence.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		// An error means that the container has no limit.
		_, _ = memlimit.Set(memlimit.WithProvider(memlimit.FromCgroup), memlimit.WithRatio(0.9))
	}
}
