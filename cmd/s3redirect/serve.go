package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"s3redirect/internal/app"
	"s3redirect/internal/config"
	"s3redirect/proxy"
)

func serve(ctx context.Context, args []string, _, stderr io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	path := flags.String("config", "config.yaml", "the configuration `file`")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	source, err := config.Read(*path)
	if err != nil {
		return usageError{err}
	}
	c, err := source.Parse(os.LookupEnv)
	if err != nil {
		return usageError{err}
	}
	defer runtime.KeepAlive(newBallast(limitMemory()))
	p, err := app.New(app.Options{Path: *path, Source: source, Config: c, Stderr: stderr, Version: programVersion()})
	if wrong, ok := errors.AsType[*app.ConfigError](err); ok {
		return usageError{fmt.Errorf("%s: %w", *path, wrong)}
	} else if err != nil {
		return err
	}
	defer p.Close()
	log := p.Log()
	page := p.Console(os.LookupEnv)
	s, err := proxy.Listen(proxy.ServerOptions{
		Listen: c.Listen, AdminListen: c.AdminListen, Viewers: p, Metrics: p.Metrics(), Log: log, DrainDelay: c.DrainDelay,
		TLS: c.TLS, AdminTLS: c.Admin.TLS, Clock: time.Now, Operator: p, Console: page,
	})
	if err != nil {
		return err
	}
	p.Listening(s)
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	log.Info("serving", "version", programVersion(), "config", *path, "listen", s.Addr.String(), "admin_listen", s.AdminAddr.String(), "tls", c.TLS.CertFile != "",
		"admin_tls", c.Admin.TLS.CertFile != "", "integrations", app.Summary(c.Integrations))
	go p.Watch(ctx, app.WatchInterval)
	go page.Sample(ctx)
	go p.WatchClock(ctx, time.Now, app.SinceStart())
	if err := s.Run(ctx); err != nil {
		return err
	}
	p.Close() // which writes what is left of the access log
	log.Info("stopped")
	return nil
}

// ballastBytes is half of what the heap grows to before it is collected, whatever the caches hold.
const ballastBytes = 48 << 20

// roomForBallast is the memory limit from which on ballast does no harm: it counts, though it is never resident.
const roomForBallast = 512 << 20

// newBallast is memory that is never touched, and so never resident. The collector runs when the heap has doubled: with a
// few megabytes alive that is many times a second, each time holding up requests for milliseconds and taking a tenth of the
// rate in all. Whoever sets GOGC or GOMEMLIMIT has a view of their own.
func newBallast(limit int64) []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" || limit < roomForBallast {
		return nil
	}
	return make([]byte, ballastBytes)
}

// limitMemory has the collector keep below GOMEMLIMIT or, where that is not set, nine tenths of what the container may have. It
// returns the limit in bytes, the largest number where there is none.
func limitMemory() int64 {
	if os.Getenv("GOMEMLIMIT") == "" {
		_, _ = memlimit.Set(memlimit.WithProvider(memlimit.FromCgroup), memlimit.WithRatio(0.9)) // an error says that there is no such limit
	}
	return debug.SetMemoryLimit(-1) // which changes nothing
}
