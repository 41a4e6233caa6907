// Package console is the administrators' page: every integration and how it stands, its documents, checks, a place to try
// locators, and, for whoever signs in, a way to add, change and remove integrations.
//
// The page is static and asks for JSON, so that a text from outside, be it a name, a bucket or an answer of STS, is never HTML: its
// scripts put texts into the page, and nothing else. No secret is ever part of an answer.
package console

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/metrics"
)

// Proxy is what the console shows, and changes.
type Proxy interface {
	// State is the configuration in use, and what it makes.
	State() State
	// Reload reads the configuration's file again. Its error is about the new one, and the old one goes on.
	Reload() error
	// Try tells what a viewer who asks for an object would meet. It asks nobody for it.
	Try(l locator.Locator, asker Asker) Trial
	// CallerIdentity is the ARN of whoever assumes an integration's role, as STS tells it.
	CallerIdentity(ctx context.Context, i *config.Integration) (arn string, err error)
}

// State is the configuration in use, and what it makes.
type State struct {
	Config       *config.Config
	Integrations *integration.Set
	// Listen is the address that viewers are served at.
	Listen string
	// File is the configuration's, "" where it is no file's, so that it cannot be changed.
	File string
	// Read is when the configuration in use was read.
	Read time.Time
	// Refused is when a newer one was read that was refused, and Problem why; zero and "" where none was.
	Refused time.Time
	Problem string
}

// Options are what a [Console] needs. All but Transport are required.
type Options struct {
	Proxy   Proxy
	Metrics *metrics.Metrics
	Log     *slog.Logger
	Clock   func() time.Time
	Version string
	// Getenv looks up the environment variables that a configuration names.
	Getenv func(string) (string, bool)
	// Transport carries the requests of checks. nil means http.DefaultTransport.
	Transport http.RoundTripper
}

// Console serves the page. Make it with [New].
type Console struct {
	Options
	started time.Time
	samples samples
	users   sessions
	checks  chan struct{} // a place for each check, or question to STS, that may run
	saving  chan struct{} // holds a place from when the file is read until it is written, and in use
	mux     *http.ServeMux
}

//go:embed static
var static embed.FS

// staticTypes are the media types of the page's parts. What the machine's own tables say of them differs, and browsers are strict.
var staticTypes = map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func serveStatic(w http.ResponseWriter, name string) {
	text, err := static.ReadFile("static/" + name)
	if err != nil {
		refuse(w, &refusal{status: http.StatusNotFound, text: "there is no such part of the page"})
		return
	}
	w.Header().Set("Content-Type", staticTypes[path.Ext(name)])
	_, _ = w.Write(text) // whoever hung up does not want it
}

// maxChecks bounds the checks that run at once: each of them calls STS.
const maxChecks = 4

// New makes a console.
func New(o Options) *Console {
	c := &Console{Options: o, started: o.Clock(), checks: make(chan struct{}, maxChecks), saving: make(chan struct{}, 1), mux: http.NewServeMux()}
	c.sample()
	c.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { serveStatic(w, "index.html") })
	c.mux.HandleFunc("GET /static/{name}", func(w http.ResponseWriter, r *http.Request) { serveStatic(w, r.PathValue("name")) })
	c.mux.HandleFunc("GET /preview", c.preview)
	for pattern, answer := range map[string]answerer{
		"GET /api/session": c.session, "GET /api/overview": c.overview, "GET /api/integrations": c.integrations,
		"GET /api/draft": c.draft, "GET /api/questions": c.questions, "GET /api/try": c.try,
		"POST /api/documents": c.documents,
	} {
		c.mux.Handle(pattern, c.answered(answer))
	}
	c.mux.HandleFunc("POST /api/sign-in", c.signIn)
	c.mux.HandleFunc("POST /api/sign-out", c.signOut)
	c.mux.HandleFunc("POST /api/check", c.check)
	c.mux.Handle("POST /api/changes", c.answered(c.change))
	return c
}

// contentSecurityPolicy lets the page load what is its own. Only the preview, a page of its own, may load objects.
const contentSecurityPolicy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// ServeHTTP implements [http.Handler].
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if !c.ownHost(r.Host) {
		refuse(w, &refusal{status: http.StatusMisdirectedRequest, text: "the console is not known by this name: open it by its address or as localhost, or put the name into admin.hosts"})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !sameOrigin(r) {
		refuse(w, &refusal{status: http.StatusForbidden, text: "this is for the console's own page: its origin is not that of the request, or the reverse proxy in between does not keep Host"})
		return
	}
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			c.Log.Error("console: panic", "panic", fmt.Sprintf("a %T", v), "stack", string(debug.Stack())) // what it says could hold anything
			c.refuse(w, errInternal)
		}
	}()
	c.mux.ServeHTTP(w, r)
}

var errInternal = &refusal{status: http.StatusInternalServerError, text: "something went wrong; the log has it"}

// ownHost tells whether a browser that believes to talk to a host talks to us. An address is always right; a name could be a
// page's own, which leads here only since its owner says so (DNS rebinding).
func (c *Console) ownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return addr.Zone() == "" // which could be any text
	}
	if localName.MatchString(name) {
		return true
	}
	state := c.Proxy.State().Config
	listen, _, _ := net.SplitHostPort(state.AdminListen)
	for _, own := range append([]string{listen}, state.Admin.Hosts...) {
		if name != "" && strings.EqualFold(own, name) {
			return true
		}
	}
	return false
}

// localName is a name that browsers look for on their own machine (RFC 6761, section 6.3).
var localName = regexp.MustCompile(`^([a-z0-9-]+\.)*localhost$`)

// sameOrigin tells whether a request that could change something comes from our own page. Browsers send Origin with every
// such request; whoever sends none is no page of ours.
func sameOrigin(r *http.Request) bool {
	_, host, ok := strings.Cut(r.Header.Get("Origin"), "://")
	site := r.Header.Get("Sec-Fetch-Site")
	return ok && strings.EqualFold(host, r.Host) && (site == "" || site == "same-origin")
}

// refusal is an answer that is a no.
type refusal struct {
	status int
	text   string
	// keys are what is wrong with single keys of an integration.
	keys map[string]string
}

func (r *refusal) Error() string { return r.text }

// answerer makes an answer of a request. An error that is no [refusal] is told to nobody but the log.
type answerer func(r *http.Request) (any, error)

func (c *Console) answered(answer answerer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := answer(r)
		if err != nil {
			c.refuse(w, err)
			return
		}
		writeJSON(w, http.StatusOK, v)
	})
}

// maxBody bounds a request's body, in bytes.
const maxBody = 64 << 10

func (c *Console) refuse(w http.ResponseWriter, err error) {
	no, ok := errors.AsType[*refusal](err)
	if !ok {
		c.Log.Error("console: internal error", "error", err.Error())
		no = errInternal
	}
	refuse(w, no)
}

func refuse(w http.ResponseWriter, no *refusal) {
	writeJSON(w, no.status, map[string]any{"error": no.text, "keys": no.keys})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever hung up does not want it
}

// readJSON reads a request's body. That it must say to be JSON keeps forms of other pages out.
func readJSON(r *http.Request, into any) error {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "application/json" {
		return &refusal{status: http.StatusUnsupportedMediaType, text: "a body of application/json is expected"}
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		// net/http notices that a client hangs up once the body was read to its end.
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &refusal{status: http.StatusRequestEntityTooLarge, text: "that is more than 64 kB"}
	}
	return &refusal{status: http.StatusBadRequest, text: "the body is not the JSON that is expected here"}
}
