// Package check tries integrations step by step. For each step it reports whether it succeeded, why
// not, and what to do.
//
// It sends the requests that the proxy would send, with the same credentials and session policies,
// and then the requests that a browser would send. It changes nothing, except for keys in the store
// of shared sessions that it deletes.
package check

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

// Verdict is the outcome of a step.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning" // the step succeeded, but should be improved
	Failed  Verdict = "failed"  // what the step tries does not work
	Skipped Verdict = "skipped" // the step could not be tried, or does not apply
)

// Step is one step of a check.
type Step struct {
	// Integration is the name of the integration, or "" for a step of the whole configuration.
	Integration string  `json:"integration"`
	Name        string  `json:"step"`
	Verdict     Verdict `json:"verdict"`
	// Reason is what the step found.
	Reason string `json:"reason"`
	// Remedy is what to do. Every warning and every failure has one.
	Remedy string `json:"remedy,omitempty"`
	// Setting is a key of the integration that fixes the failure. Optional.
	Setting *Setting `json:"setting,omitempty"`
}

// Setting is a key of an integration's configuration and a value for it.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// String returns the setting as a line of YAML.
func (s *Setting) String() string { return s.Key + ": " + s.Value }

// Options are the options of a check.
type Options struct {
	// Config is the configuration. Required.
	Config *config.Config
	// Offline reports the configuration's warnings and sends nothing over the network.
	Offline bool
	// Program is how the user runs s3redirect, for the commands in remedies. The default is
	// s3redirect.
	Program string
	// ConfigFile is the name of the configuration file, for the commands in remedies. The default
	// is [config.DefaultPath].
	ConfigFile string
	// PolicyCommand returns the command that prints a document, for an integration that is not in
	// a file yet. Its argument contains the arguments of the policy command, such as
	// "cors --format cli". Optional.
	PolicyCommand func(args string) string
	// Services also tries what all integrations depend on: the store of shared sessions, the identity
	// providers and the file of passwords.
	Services bool
	// Integrations are the names of the integrations to check. The default is all of them.
	Integrations []string
	// Sample is an object to read. Optional; without it the steps that read are skipped.
	Sample *locator.Locator
	// Origin is the origin of a page that reads with fetch(). The default is the configuration's
	// origins.
	Origin string
	// Clock is the proxy's clock. Required.
	Clock func() time.Time
	// Transport sends all requests. The default is http.DefaultTransport with AWS_CA_BUNDLE.
	Transport http.RoundTripper
	// Report is called with each step as soon as its verdict is known. Required.
	Report func(Step)
}

// timeout bounds the requests of a step.
const timeout = 15 * time.Second

// Run checks the integrations one after the other, and reports whether no step failed. It returns
// an error if the options name an integration that does not exist or a sample that none of the
// chosen integrations serves, or if ctx ends.
func Run(ctx context.Context, o Options) (ok bool, err error) {
	chosen, err := o.choose()
	if err != nil {
		return false, err
	}
	ok = true
	report := o.Report
	o.Report = func(s Step) {
		ok = ok && s.Verdict != Failed
		report(s)
	}
	o.configuration()
	if o.Offline {
		return ok, nil
	}
	if o.Services {
		o.services(ctx)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
	}
	for _, i := range chosen {
		p := newProbe(&o, i)
		p.run(ctx)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
	}
	return ok, nil
}

// choose returns the integrations to check.
func (o *Options) choose() (chosen []*config.Integration, err error) {
	var names []string
	for _, i := range o.Config.Integrations {
		names = append(names, i.Name)
		if len(o.Integrations) == 0 || slices.Contains(o.Integrations, i.Name) {
			chosen = append(chosen, i)
		}
	}
	for _, name := range o.Integrations {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("there is no integration %s; the configuration has %s",
				name, strings.Join(names, ", "))
		}
	}
	if o.Sample == nil {
		return chosen, nil
	}
	if err := o.checkSample(chosen); err != nil {
		return nil, err
	}
	return chosen, nil
}

// configuration reports the configuration's warnings.
func (o *Options) configuration() {
	for _, w := range o.Config.Warnings {
		o.Report(Step{
			Name:    "configuration",
			Verdict: Warning,
			Reason:  w,
			Remedy:  "See the comments in the example config.yaml.",
		})
	}
	if len(o.Config.Warnings) == 0 {
		o.Report(Step{Name: "configuration", Verdict: OK, Reason: "loaded without warnings"})
	}
}

// probe checks one integration.
type probe struct {
	*Options
	i      *config.Integration
	client *http.Client
	sts    *integration.AWSSTS
	clocks *clockTransport

	caller        string // the ARN that STS returned; "" if unknown
	session       presign.Credentials
	expires       time.Time // of the session
	clockReported bool
	sample        *locator.Locator // nil if this integration does not serve the sample
	region        string           // of the sample's bucket; "" if unknown
	unreached     map[string]bool  // buckets that do not exist or whose store did not answer
}

func newProbe(o *Options, i *config.Integration) *probe {
	transport := o.Transport
	if transport == nil {
		transport = integration.NewTransport(http.DefaultTransport.(*http.Transport))
	}
	clocks := &clockTransport{transport: transport, now: o.Clock}
	client := &http.Client{
		Transport:     clocks,
		Timeout:       timeout,
		CheckRedirect: integration.NoRedirects,
	}
	p := &probe{
		Options:   o,
		i:         i,
		client:    client,
		clocks:    clocks,
		sts:       &integration.AWSSTS{HTTPClient: client},
		unreached: map[string]bool{},
	}
	if o.Sample != nil {
		if server, ok := o.Config.ServedBy(*o.Sample); ok && server == i {
			p.sample = o.Sample
		}
	}
	return p
}

func (p *probe) report(name string, v Verdict, e explanation) {
	p.Report(Step{
		Integration: p.i.Name,
		Name:        name,
		Verdict:     v,
		Reason:      e.reason,
		Remedy:      e.remedy,
	})
}

func (p *probe) fail(name string, e explanation) { p.report(name, Failed, e) }
func (p *probe) warn(name string, e explanation) { p.report(name, Warning, e) }

func (p *probe) ok(name, format string, args ...any) {
	p.report(name, OK, explanation{reason: fmt.Sprintf(format, args...)})
}

func (p *probe) skip(name, format string, args ...any) {
	p.report(name, Skipped, explanation{reason: fmt.Sprintf(format, args...)})
}

// policyCommand returns the command that prints one of the integration's documents.
func (p *probe) policyCommand(args string) string {
	if p.PolicyCommand != nil {
		return p.PolicyCommand(args)
	}
	command := cmp.Or(p.Program, "s3redirect") + " policy " + args
	if p.ConfigFile != "" && p.ConfigFile != config.DefaultPath {
		command += " --config " + p.ConfigFile
	}
	return command + " --integration " + p.i.Name
}

func (p *probe) run(ctx context.Context) {
	hasSession := p.assume(ctx)
	p.regions(ctx)
	switch {
	case !hasSession:
		p.skip("read", "there is no session")
	case p.sample == nil:
		p.skip("read", "there is no object to read; name one with --sample s3://%s/%skey",
			p.anyBucket("BUCKET"), p.i.Prefix)
	case p.region == "":
		p.skip("read", "the region of the sample's bucket is unknown")
	default:
		if p.read(ctx) {
			p.scope(ctx)
			p.front(ctx)
		}
	}
	p.reportClock()
	p.mixedContent()
	p.cors(ctx)
	p.contentSecurityPolicy()
}

// anyBucket returns the name of one of the integration's buckets, or otherwise if the integration
// has only patterns.
func (p *probe) anyBucket(otherwise string) string {
	if p.sample != nil {
		return p.sample.Bucket
	}
	for _, b := range p.i.Buckets() {
		if !locator.IsPattern(b) {
			return b
		}
	}
	return otherwise
}

// contentSecurityPolicy reports the origins that a page's Content-Security-Policy must allow.
func (p *probe) contentSecurityPolicy() {
	var origins []string
	for _, b := range p.i.Buckets() {
		region, name := p.i.FixedRegion(), b
		if region == "" && p.sample != nil && p.region != "" {
			region = p.region
		} else if region == "" {
			region = "REGION"
		}
		if locator.IsPattern(b) {
			name = "any-bucket" // a wildcard can only replace a whole label, and only the first
		}
		origin := strings.TrimSuffix(p.i.BucketEndpoint(name, region).Origin(), "/")
		if locator.IsPattern(b) {
			origin = strings.Replace(origin, "any-bucket.", "*.", 1)
		}
		if !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	p.ok("csp", "a page with a Content-Security-Policy must allow these origins in img-src, "+
		"media-src and connect-src, besides the proxy's origin: %s", strings.Join(origins, " "))
}
