package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"s3redirect/config"
	"s3redirect/integration"
	"s3redirect/metrics"
	"s3redirect/proxy"
	"s3redirect/viewer"
)

func serve(ctx context.Context, args []string, _, stderr io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	path := flags.String("config", "config.yaml", "the configuration `file`")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	c, err := config.Load(*path)
	if err != nil {
		return usageError{err}
	}
	defer runtime.KeepAlive(newBallast())
	log := newLogger(c.Log, stderr)
	p, err := newProxy(c, log, stderr)
	if wrong, ok := errors.AsType[usageError](err); ok {
		return usageError{fmt.Errorf("%s: %w", *path, wrong)}
	} else if err != nil {
		return err
	}
	defer p.close()
	s, err := proxy.Listen(proxy.ServerOptions{
		Listen: c.Listen, AdminListen: c.AdminListen, Viewers: p.handler, Metrics: p.metrics, Log: log, DrainDelay: c.DrainDelay,
		CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, Clock: time.Now,
	})
	if err != nil {
		return err
	}
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	log.Info("serving", "version", programVersion(), "config", *path, "listen", s.Addr.String(), "admin_listen", s.AdminAddr.String(), "tls", c.TLS.CertFile != "",
		"integrations", summary(c.Integrations))
	if err := s.Run(ctx); err != nil {
		return err
	}
	p.close() // which writes what is left of the access log
	log.Info("stopped")
	return nil
}

// ballastBytes is half of what the heap grows to before it is collected, whatever the caches hold.
const ballastBytes = 48 << 20

// newBallast is memory that is never touched, and so never resident. The collector runs when the heap has doubled: with a
// few megabytes alive that is many times a second, each time holding up requests for milliseconds and taking a tenth of the
// rate in all. Whoever sets GOGC or GOMEMLIMIT has a view of their own.
func newBallast() []byte {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			return nil
		}
	}
	return make([]byte, ballastBytes)
}

// redirector is a proxy without its listeners.
type redirector struct {
	handler      *proxy.Handler
	integrations *integration.Set
	gate         *viewer.Gate
	metrics      *metrics.Metrics
	accessLog    *proxy.AccessLog // nil means none
}

// close ends calls that are on their way, and writes what is left of the access log.
func (p *redirector) close() {
	p.integrations.Close()
	p.gate.Close()
	if p.accessLog != nil {
		p.accessLog.Close()
	}
}

func newProxy(c *config.Config, log *slog.Logger, stderr io.Writer) (*redirector, error) {
	m := metrics.New(programVersion())
	m.ConfigRead(true, time.Now())
	integrations, err := integration.NewSet(c, integration.Options{Clock: time.Now, Log: log, Metrics: m, STS: &integration.AWSSTS{}})
	if err != nil {
		return nil, err
	}
	gate, err := viewer.New(&c.Viewers, viewer.Options{Clock: time.Now, Log: log})
	if err != nil {
		integrations.Close()
		return nil, usageError{fmt.Errorf("viewers.basic.htpasswd_file: %w; htpasswd -B writes such a file", err)}
	}
	p := &redirector{integrations: integrations, gate: gate, metrics: m}
	if c.Log.Access {
		p.accessLog = proxy.NewAccessLog(stderr, c.Log.Format, log, m.AccessLogLost)
	}
	p.handler, err = proxy.New(proxy.Options{
		Integrations: integrations, Metrics: m, Clock: time.Now, Log: log, URLs: c.Cache.URLs, ReferrerPolicy: c.ReferrerPolicy,
		AccessLog: p.accessLog, Gate: gate, Attribution: c.Viewers.Attribution, CORS: c.CORS, PublicURL: c.PublicURL,
	})
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func newLogger(c config.Log, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
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
