// Package console serves the administrators' page. It shows all integrations with their state and
// documents, checks them, tries locators, and lets users who sign in add, change and remove
// integrations.
//
// The page is static and fetches JSON. Its scripts insert texts as text nodes only, so a text from
// outside, such as a bucket's name or an answer of STS, is never interpreted as HTML. No response
// contains a secret.
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
	"slices"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/metrics"
)

// Proxy is the running proxy that the console shows and changes.
type Proxy interface {
	// State returns the configuration in use and what was built from it.
	State() State
	// Reload reads the configuration again. If it returns an error, the previous configuration is
	// kept.
	Reload() error
	// Try returns what a viewer who requests an object would get. It makes no requests.
	Try(l locator.Locator, asker Asker) Trial
	// CallerIdentity returns the ARN of the principal that assumes an integration's role, from STS.
	CallerIdentity(ctx context.Context, i *config.Integration) (arn string, err error)
}

// State is the configuration in use and what was built from it.
type State struct {
	Config       *config.Config
	Integrations *integration.Set
	// Listen is the address that viewers are served at.
	Listen string
	// File is the path of the configuration. It is "" if the configuration does not come from a
	// file, and then cannot be changed.
	File string
	// Read is when the configuration in use was read.
	Read time.Time
	// Refused is when a newer configuration was rejected, and Problem is why. Both are zero if none
	// was.
	Refused time.Time
	Problem string
}

// Options configure a [Console]. All fields but Transport are required.
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

// Console serves the page. Create it with [New].
type Console struct {
	Options
	started time.Time
	samples samples
	users   sessions
	checks  chan struct{} // semaphore of the running checks and calls of STS
	saving  chan struct{} // held from reading the file until the proxy has reloaded it
	mux     *http.ServeMux
}

//go:embed static
var static embed.FS

// staticTypes are the media types of the page's files. The operating system's tables differ, and
// browsers are strict.
var staticTypes = map[string]string{".html": "text/html; charset=utf-8",
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func serveStatic(w http.ResponseWriter, name string) {
	text, err := static.ReadFile("static/" + name)
	if err != nil {
		refuse(w, &refusal{status: http.StatusNotFound, text: "not found"})
		return
	}
	w.Header().Set("Content-Type", staticTypes[path.Ext(name)])
	_, _ = w.Write(text) // fails only if the client has disconnected
}

// maxChecks bounds the concurrent checks, each of which calls STS.
const maxChecks = 4

// New returns a console.
func New(o Options) *Console {
	c := &Console{Options: o, started: o.Clock(), checks: make(chan struct{}, maxChecks),
		saving: make(chan struct{}, 1), mux: http.NewServeMux()}
	c.sample()
	c.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		serveStatic(w, "index.html")
	})
	c.mux.HandleFunc("GET /static/{name}",
		func(w http.ResponseWriter, r *http.Request) { serveStatic(w, r.PathValue("name")) })
	c.mux.HandleFunc("GET /preview", c.preview)
	for pattern, answer := range map[string]answerer{
		"GET /api/session": c.session, "GET /api/overview": c.overview,
		"GET /api/integrations": c.integrations,
		"GET /api/draft":        c.draft, "GET /api/questions": c.questions, "GET /api/try": c.try,
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

// contentSecurityPolicy lets the page load only its own files. The preview, a separate page, may
// load objects.
const contentSecurityPolicy = "default-src 'self'; base-uri 'none'; form-action 'self'; " +
	"frame-ancestors 'none'; object-src 'none'"

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
		refuse(w, &refusal{status: http.StatusMisdirectedRequest,
			text: "unknown host name: open the console by its IP address or as localhost, or add " +
				"the name to admin.hosts"})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !sameOrigin(r) {
		refuse(w, &refusal{status: http.StatusForbidden,
			text: "only the console's own page may send this: the request has another origin, or a " +
				"reverse proxy does not keep the Host header"})
		return
	}
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			// The panic value is not logged, because it could contain a secret.
			c.Log.Error("console: panic",
				"panic", fmt.Sprintf("a %T", v), "stack", string(debug.Stack()))
			c.refuse(w, errInternal)
		}
	}()
	c.mux.ServeHTTP(w, r)
}

var errInternal = &refusal{status: http.StatusInternalServerError,
	text: "internal error; see the log"}

// ownHost reports whether host is a name of this listener. IP addresses always are. An attacker's
// page could make its own name resolve to this address (DNS rebinding), so other names must be
// configured.
func (c *Console) ownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return addr.Zone() == "" // a zone can be any text
	}
	if localName.MatchString(name) {
		return true
	}
	state := c.Proxy.State().Config
	owned := slices.Clone(state.Admin.Hosts)
	for _, address := range state.AdminListen {
		if a, err := config.ParseAddress(address); err == nil && a.Network == "tcp" {
			listen, _, _ := net.SplitHostPort(a.Address)
			owned = append(owned, listen)
		}
	}
	for _, own := range owned {
		if name != "" && strings.EqualFold(own, name) {
			return true
		}
	}
	return false
}

// localName matches names that browsers resolve to their own machine (RFC 6761, section 6.3).
var localName = regexp.MustCompile(`^([a-z0-9-]+\.)*localhost$`)

// sameOrigin reports whether a request was sent by the console's own page. Browsers send Origin
// with every request that could change something.
func sameOrigin(r *http.Request) bool {
	_, host, ok := strings.Cut(r.Header.Get("Origin"), "://")
	site := r.Header.Get("Sec-Fetch-Site")
	return ok && strings.EqualFold(host, r.Host) && (site == "" || site == "same-origin")
}

// refusal is an error response.
type refusal struct {
	status int
	text   string
	// keys are the problems of single keys of an integration.
	keys map[string]string
}

func (r *refusal) Error() string { return r.text }

// answerer answers a request. An error that is not a [refusal] is logged and not sent to the
// client.
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

// maxBody bounds the body of a request, in bytes.
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
	_ = json.NewEncoder(w).Encode(v) // fails only if the client has disconnected
}

// readJSON decodes the body of a request. It requires the media type of JSON, which forms of other
// pages cannot send.
func readJSON(r *http.Request, into any) error {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if strings.TrimSpace(kind) != "application/json" {
		return &refusal{status: http.StatusUnsupportedMediaType,
			text: "the media type must be application/json"}
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		// Read to the end of the body. Only then does net/http detect that the client disconnects.
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &refusal{status: http.StatusRequestEntityTooLarge,
			text: "the body is larger than 64 KiB"}
	}
	return &refusal{status: http.StatusBadRequest,
		text: "the body is not valid JSON for this request"}
}
