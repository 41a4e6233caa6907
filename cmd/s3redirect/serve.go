package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"s3redirect/internal/config"
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
	limitMemory()
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
		CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, Clock: time.Now, Operator: p, Console: page,
	})
	if err != nil {
		return err
	}
	p.listening(s)
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	log.Info("serving", "version", programVersion(), "config", *path, "listen", s.Addr.String(), "admin_listen", s.AdminAddr.String(), "tls", c.TLS.CertFile != "",
		"integrations", summary(c.Integrations))
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

// limitMemory sets the garbage collector's memory limit to nine tenths of the container's memory
// limit. GOMEMLIMIT takes precedence.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		// An error means that the container has no limit.
		_, _ = memlimit.Set(memlimit.WithProvider(memlimit.FromCgroup), memlimit.WithRatio(0.9))
	}
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
