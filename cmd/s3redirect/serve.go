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
	"strings"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"s3redirect/config"
	"s3redirect/proxy"
)

func serve(ctx context.Context, args []string, _, stderr io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	path := flags.String("config", "config.yaml", "the configuration `file`")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	text, err := config.ReadFile(*path)
	if err != nil {
		return usageError{err}
	}
	c, err := config.Parse(*path, text, os.LookupEnv)
	if err != nil {
		return usageError{err}
	}
	defer runtime.KeepAlive(newBallast(limitMemory()))
	p, err := newRedirector(*path, text, c, stderr)
	if wrong, ok := errors.AsType[usageError](err); ok {
		return usageError{fmt.Errorf("%s: %w", *path, wrong)}
	} else if err != nil {
		return err
	}
	defer p.close()
	log := p.log
	page := p.newConsole(os.LookupEnv)
	s, err := proxy.Listen(proxy.ServerOptions{
		Listen: c.Listen, AdminListen: c.AdminListen, Viewers: p, Metrics: p.metrics, Log: log, DrainDelay: c.DrainDelay,
		TLS: c.TLS, AdminTLS: c.Admin.TLS, Clock: time.Now, Operator: p, Console: page,
	})
	if err != nil {
		return err
	}
	p.listening(s)
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	log.Info("serving", "version", programVersion(), "config", *path, "listen", s.Addr.String(), "admin_listen", s.AdminAddr.String(), "tls", c.TLS.CertFile != "",
		"admin_tls", c.Admin.TLS.CertFile != "", "integrations", summary(c.Integrations))
	go p.watch(ctx, watchInterval)
	go page.Sample(ctx)
	go p.watchClock(ctx, time.Now, sinceStart())
	if err := s.Run(ctx); err != nil {
		return err
	}
	p.close() // which writes what is left of the access log
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

// summary says which integration serves what, the first of them at least.
func summary(integrations []config.Integration) []string {
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
