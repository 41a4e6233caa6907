package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"s3redirect/internal/app"
	"s3redirect/internal/config"
	"s3redirect/internal/demo"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
	"s3redirect/proxy"
)

// Values that the demo's configuration and its stand-in for AWS share.
const (
	demoAccessKey  = "AKIADEMODEMODEMODEMO"
	demoSecret     = "demo/secret"
	demoMediaRole  = "arn:aws:iam::123456789012:role/media"
	demoTeamRole   = "arn:aws:iam::123456789012:role/teams"
	demoMediaID    = "5f0e4e39-8d4c-4b53-9c6e-2b1f0a7c9d10"
	demoTeamID     = "0b9a6f2e-73d1-4a55-8f0a-6f3f2f8f6c21"
	demoRegion     = "us-east-1"
	demoConfigName = "demo"
)

// demoConfig is the demo's configuration. Its windows are two minutes long, so that one can watch
// them turn over.
const demoConfig = `
listen: %[1]q
admin_listen: %[2]q
url_lifetime: 3m
min_remaining: 1m
integrations:
  - name: media                     # one bucket
    bucket: demo-media
    role_arn: arn:aws:iam::123456789012:role/media
    external_id: 5f0e4e39-8d4c-4b53-9c6e-2b1f0a7c9d10
    session_duration: 15m
    in_place: {suffixes: [.m3u8]}   # so that the segments of the film are found
    endpoint: %[3]s
    sts_endpoint: %[4]s
    path_style: true
    access_key_id: AKIADEMODEMODEMODEMO
    secret_access_key: ${DEMO_SECRET}
  - name: teams                     # all buckets that match a pattern
    permitted_buckets: ["team-*"]
    role_arn: arn:aws:iam::123456789012:role/teams
    external_id: 0b9a6f2e-73d1-4a55-8f0a-6f3f2f8f6c21
    session_duration: 15m
    file_versioning: true
    endpoint: %[3]s
    sts_endpoint: %[4]s
    path_style: true
    access_key_id: AKIADEMODEMODEMODEMO
    secret_access_key: ${DEMO_SECRET}
viewers: {anonymous: true}
log: {level: warn, format: text}
`

// runDemo serves the demo until ctx ends.
func runDemo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8080",
		"the `address` of the gallery and the proxy; port 0 picks a free port")
	adminListen := flags.String("admin-listen", "127.0.0.1:9090",
		"the `address` of metrics and health; port 0 picks a free port")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	samples := demo.Samples()
	cloud := demoCloud(samples)
	s3, err := serveStandIn(cloud.S3())
	if err != nil {
		return err
	}
	defer s3.Close()
	sts, err := serveStandIn(cloud.STS())
	if err != nil {
		return err
	}
	defer sts.Close()

	text := fmt.Appendf(nil, demoConfig, *listen, *adminListen, s3.URL, sts.URL)
	c, err := config.Parse(demoConfigName, text, demoEnvironment)
	if err != nil {
		return usageError{err}
	}
	p, err := app.New(app.Options{Config: c, Stderr: stderr, Version: programVersion()})
	if err != nil {
		return err
	}
	defer p.Close()
	page := p.Console(demoEnvironment)
	s, err := proxy.Listen(proxy.ServerOptions{
		Listen:      c.Listen,
		AdminListen: c.AdminListen,
		Viewers:     withGallery(p, cloud, samples),
		Metrics:     p.Metrics(),
		Log:         p.Log(),
		Console:     page,
	})
	if err != nil {
		return fmt.Errorf("%w\n"+
			"Try --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 to use free ports", err)
	}
	p.Listening(s)
	go page.Sample(ctx)
	printBanner(stdout, s, s3.URL, sts.URL, samples)
	return s.Run(ctx)
}

// demoEnvironment looks up the only environment variable of demoConfig.
func demoEnvironment(name string) (string, bool) { return demoSecret, name == "DEMO_SECRET" }

// demoCloud returns a stand-in for AWS with two roles that trust the proxy, and with the samples.
func demoCloud(samples []demo.Sample) *fakeaws.Cloud {
	cloud := fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: demoAccessKey, SecretAccessKey: demoSecret})
	cloud.AddRole(fakeaws.Role{
		ARN:        demoMediaRole,
		ExternalID: demoMediaID,
		Trusts:     []string{demoAccessKey},
		Buckets:    []string{demo.MediaBucket},
	})
	cloud.AddRole(fakeaws.Role{
		ARN:        demoTeamRole,
		ExternalID: demoTeamID,
		Trusts:     []string{demoAccessKey},
		Buckets:    []string{"team-*"},
		Versions:   true,
	})
	demo.AddSamples(cloud, samples, demoRegion, time.Now())
	return cloud
}

// standIn is an HTTP server of one of the stand-in's endpoints.
type standIn struct {
	*http.Server
	URL string
}

// serveStandIn serves h on a free port of the loopback interface.
func serveStandIn(h http.Handler) (*standIn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &standIn{
		Server: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second},
		URL:    "http://" + l.Addr().String(),
	}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("stand-in server failed", "error", err)
		}
	}()
	return s, nil
}

// withGallery returns a handler that serves the proxy and, on the same origin, the gallery.
func withGallery(p *app.App, cloud *fakeaws.Cloud, samples []demo.Sample) http.Handler {
	gallery := demo.Gallery(samples, func() demo.Stats {
		total, calls, now := p.Metrics().Total(), cloud.Calls(), time.Now()
		s := demo.Stats{
			Requests:    total.Requests,
			URLHits:     total.URLHits,
			URLMisses:   total.URLMisses,
			AssumeRoles: calls.AssumeRole,
			S3Requests:  calls.S3Served,
		}
		if b, ok := p.Integrations().Find(locator.Locator{Bucket: demo.MediaBucket}, now); ok {
			s.WindowEnds = b.Integration.WindowEnd(now)
		}
		return s
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.RequestURI, locator.PathPrefix) {
			p.ServeHTTP(w, r)
		} else {
			gallery.ServeHTTP(w, r)
		}
	})
}

// printBanner prints the addresses of the demo and the URLs of its samples.
func printBanner(w io.Writer, s *proxy.Server, s3URL, stsURL string, samples []demo.Sample) {
	fmt.Fprintf(w, `s3redirect demo: the proxy with stand-ins for S3 and STS. Press Ctrl-C to stop.

  gallery   http://%[1]s/
  console   http://%[2]s/
  metrics   http://%[2]s/metrics
  health    http://%[2]s/readyz
  S3        %[3]s   (verifies every presigned URL)
  STS       %[4]s   (checks role, external ID and duration)

Objects (curl -L follows the redirect, curl -i shows it):
`, s.Addr, s.AdminAddr, s3URL, stsURL)
	for _, sample := range samples {
		fmt.Fprintf(w, "  http://%s%s\n", s.Addr, sample.Locator.Path())
	}
}
