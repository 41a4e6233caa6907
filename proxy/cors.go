package proxy

import (
	"net/http"
	"strings"

	"s3redirect/internal/config"
)

// cors answers the questions that browsers ask on behalf of pages of other origins (the Fetch standard,
// https://fetch.spec.whatwg.org/#http-cors-protocol). Its zero value allows nothing.
type cors struct {
	every   bool
	origins map[string][]string // an origin, and the header's value for it
}

func newCORS(c *config.CORS) cors {
	if c == nil {
		return cors{}
	}
	a := cors{origins: map[string][]string{}}
	for _, origin := range c.AllowedOrigins {
		if origin == "*" {
			a.every = true
		}
		a.origins[origin] = []string{origin}
	}
	return a
}

const (
	// preflightAge is for how long, in seconds, a browser need not ask again. Chromium allows two hours at most.
	preflightAge = "7200"
	// maxAskedHeaders bounds what is repeated to who asks.
	maxAskedHeaders = 1024
)

var (
	everyOrigin = []string{"*"}
	isTrue      = []string{"true"}
)

// allow puts the headers on an answer, whatever it is, by which the page may read it, and says whether it may. Origins are
// compared whole: evil-example.com ends like example.com.
func (c *cors) allow(header http.Header, r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) != 1 || c.origins == nil {
		return false
	}
	if c.every {
		header["Access-Control-Allow-Origin"] = everyOrigin // with which browsers send no cookies
		return true
	}
	value, ok := c.origins[origins[0]]
	if ok {
		header["Access-Control-Allow-Origin"], header["Access-Control-Allow-Credentials"] = value, isTrue
	}
	return ok
}

// readsAsScript tells whether what is asked for will be held to the rules of CORS: by fetch(), or by an element with the
// attribute crossorigin. Browsers say so in Sec-Fetch-Mode (https://www.w3.org/TR/fetch-metadata/#sec-fetch-mode-header), except
// to plain http; then Origin tells, unless the page and we have one origin.
func readsAsScript(r *http.Request) bool {
	if mode := r.Header["Sec-Fetch-Mode"]; len(mode) > 0 {
		return mode[0] == "cors"
	}
	return len(r.Header["Origin"]) > 0
}

// forElement tells whether an element of the page asks (an image with the attribute crossorigin, a font, …), and no script: elements
// never send HEAD. Browsers say so in Sec-Fetch-Dest (https://www.w3.org/TR/fetch-metadata/#sec-fetch-dest-header), next to
// Sec-Fetch-Mode.
func forElement(r *http.Request) bool {
	destination := r.Header["Sec-Fetch-Dest"]
	return len(destination) > 0 && destination[0] != "empty"
}

// preflight adds what an OPTIONS request asks about.
func (c *cors) preflight(header http.Header, r *http.Request, methods string) {
	if r.Header.Get("Access-Control-Request-Method") == "" {
		return
	}
	header.Set("Access-Control-Allow-Methods", methods)
	header.Set("Access-Control-Max-Age", preflightAge)
	if asked := strings.Join(r.Header["Access-Control-Request-Headers"], ","); asked != "" && len(asked) <= maxAskedHeaders && isList(asked) {
		// Whatever a page's tracing adds: nothing but Authorization and cookies means anything here.
		header.Set("Access-Control-Allow-Headers", asked)
	}
	header["Vary"] = []string{header["Vary"][0] + ", Access-Control-Request-Method, Access-Control-Request-Headers"}
}

// isList tells whether a text is names of headers, separated by commas (RFC 9110, section 5.6.2).
func isList(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r != ',' && r != ' ' && r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
