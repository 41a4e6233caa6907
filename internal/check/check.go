// Package check tries integrations step by step, and says of each step whether it went well, why not, and what to do.
//
// It does what the proxy does, with the same credentials and the same documents, and what a browser would do after it. It
// changes nothing anywhere.
package check

import (
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

// Verdict is how a step went.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning" // it works, and could be better
	Failed  Verdict = "failed"  // something must be mended
	Skipped Verdict = "skipped" // it could not be tried, or there was nothing to try
)

// Step is one thing that was tried.
type Step struct {
	Integration string  `json:"integration"`
	Name        string  `json:"step"`
	Verdict     Verdict `json:"verdict"`
	Reason      string  `json:"reason"`           // what was seen
	Remedy      string  `json:"remedy,omitempty"` // what to do; with every warning and every failure
}

// Options say what is to be checked.
type Options struct {
	Config *config.Config
	// ConfigFile is the file's name, for the commands that remedies name. Optional: they look for config.yaml otherwise.
	ConfigFile string
	// PolicyCommand is the command line that prints a document, for an integration that is in no file yet: the words are such as
	// "cors --format cli". Optional.
	PolicyCommand func(words string) string
	// Integrations are the names of those to try. None means all.
	Integrations []string
	// Sample is an object to read. Without one, reading is not tried.
	Sample *locator.Locator
	// Origin is that of a page that reads with fetch(). Optional: it is the configuration's otherwise.
	Origin string
	// Clock is the proxy's own. Required.
	Clock func() time.Time
	// Transport carries all requests. nil means http.DefaultTransport.
	Transport http.RoundTripper
	// Report is called with each step, as soon as its verdict is known. Required.
	Report func(Step)
}

// timeout bounds each step's requests.
const timeout = 15 * time.Second

// Run tries the integrations, one after the other. It tells whether nothing must be mended. Its error is about the options:
// an integration that is not there, or a sample that none of them serves.
func Run(ctx context.Context, o Options) (sound bool, err error) {
	chosen, err := o.choose()
	if err != nil {
		return false, err
	}
	sound = true
	report := o.Report
	o.Report = func(s Step) {
		sound = sound && s.Verdict != Failed
		report(s)
	}
	o.configuration()
	for _, i := range chosen {
		p := newProbe(&o, i)
		p.run(ctx)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
	}
	return sound, nil
}

func (o *Options) choose() (chosen []*config.Integration, err error) {
	var names []string
	for n := range o.Config.Integrations {
		i := &o.Config.Integrations[n]
		names = append(names, i.Name)
		if len(o.Integrations) == 0 || slices.Contains(o.Integrations, i.Name) {
			chosen = append(chosen, i)
		}
	}
	for _, name := range o.Integrations {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("there is no integration %s; there are %s", name, strings.Join(names, ", "))
		}
	}
	if o.Sample == nil {
		return chosen, nil
	}
	server, ok := o.Config.ServedBy(o.Sample.Bucket)
	if !ok || !slices.Contains(chosen, server) {
		return nil, fmt.Errorf("none of these integrations serves the bucket of the sample, %s", o.Sample.Bucket)
	}
	return chosen, nil
}

// configuration repeats what loading it had to say.
func (o *Options) configuration() {
	for _, w := range o.Config.Warnings {
		o.Report(Step{Name: "configuration", Verdict: Warning, Reason: w, Remedy: "See the comments in the example config.yaml."})
	}
	if len(o.Config.Warnings) == 0 {
		o.Report(Step{Name: "configuration", Verdict: OK, Reason: "it loads, without a warning"})
	}
}

// probe tries one integration.
type probe struct {
	*Options
	i      *config.Integration
	client *http.Client
	sts    *integration.AWSSTS
	clocks *clocks

	who         string // the caller's ARN, where STS tells it
	session     presign.Credentials
	expires     time.Time
	clockJudged bool
	sample      *locator.Locator // nil: there is none of this integration
	region      string           // of the sample's bucket
	unreached   map[string]bool  // buckets that are not there, or whose store does not answer
}

func newProbe(o *Options, i *config.Integration) *probe {
	transport := o.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	clocks := &clocks{transport: transport, now: o.Clock}
	client := &http.Client{Transport: clocks, Timeout: timeout, CheckRedirect: integration.NoRedirects}
	p := &probe{Options: o, i: i, client: client, clocks: clocks, sts: &integration.AWSSTS{HTTPClient: client}, unreached: map[string]bool{}}
	if o.Sample != nil {
		if server, ok := o.Config.ServedBy(o.Sample.Bucket); ok && server == i {
			p.sample = o.Sample
		}
	}
	return p
}

func (p *probe) say(name string, v Verdict, reason, remedy string) {
	p.Report(Step{Integration: p.i.Name, Name: name, Verdict: v, Reason: reason, Remedy: remedy})
}

func (p *probe) ok(name, format string, args ...any) {
	p.say(name, OK, fmt.Sprintf(format, args...), "")
}

func (p *probe) skip(name, format string, args ...any) {
	p.say(name, Skipped, fmt.Sprintf(format, args...), "")
}

// policy is the command line that prints one of the integration's documents.
func (p *probe) policy(words string) string {
	if p.PolicyCommand != nil {
		return p.PolicyCommand(words)
	}
	command := "s3redirect policy " + words
	if p.ConfigFile != "" && p.ConfigFile != "config.yaml" {
		command += " --config " + p.ConfigFile
	}
	return command + " --integration " + p.i.Name
}

func (p *probe) run(ctx context.Context) {
	have := p.assume(ctx)
	p.regions(ctx)
	switch {
	case !have:
		p.skip("read", "there is no session to read with")
	case p.sample == nil:
		p.skip("read", "there is no object to read: name one with --sample s3://%s/key", p.anyBucket("BUCKET"))
	case p.region == "":
		p.skip("read", "it is not known where the bucket of the sample is")
	default:
		p.read(ctx)
	}
	p.judgeClock()
	p.cors(ctx)
	p.contentSecurityPolicy()
}

// anyBucket is a bucket of the integration that has a name, or the text.
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

// contentSecurityPolicy says which origins a page must let its images, media and scripts load from.
func (p *probe) contentSecurityPolicy() {
	var origins []string
	for _, b := range p.i.Buckets() {
		region, name := p.i.Region, b
		if region == config.RegionAuto && p.sample != nil && p.region != "" {
			region = p.region
		} else if region == config.RegionAuto {
			region = "REGION"
		}
		if locator.IsPattern(b) {
			name = "any-bucket" // a host may hold a * for its first label and nowhere else
		}
		origin := strings.TrimSuffix(p.i.BucketEndpoint(name, region).Origin(), "/")
		if locator.IsPattern(b) {
			origin = strings.Replace(origin, "any-bucket.", "*.", 1)
		}
		if !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	p.ok("csp", "a page with a Content-Security-Policy needs these in img-src, media-src and connect-src, beside the proxy's origin: %s", strings.Join(origins, " "))
}
