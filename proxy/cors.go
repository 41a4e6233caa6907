package proxy

import (
	"net/http"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

// cors implements the server's side of the CORS protocol of the Fetch standard
// (https://fetch.spec.whatwg.org/#http-cors-protocol). Its zero value allows no origin.
type cors struct {
	every   bool                // allow all origins, without cookies
	origins map[string][]string // the header's values by allowed origin
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
	// preflightAge is how long browsers may cache a preflight, in seconds. Chromium caches it for
	// at most two hours.
	preflightAge = "7200"
	// maxRequestHeaders bounds an Access-Control-Request-Headers that is repeated, in bytes.
	maxRequestHeaders = 1024
)

var (
	everyOrigin = []string{"*"}
	isTrue      = []string{"true"}
)

// allow returns the Access-Control-Allow-Origin of the response, or nil if the requesting page may
// not read it. It compares entire origins: evil-example.com ends like example.com.
func (c *cors) allow(header viewer.Header) (origin []string) {
	if c.origins == nil {
		return nil
	}
	switch origins := header.Values("Origin"); {
	case len(origins) != 1:
		return nil
	case c.every:
		return everyOrigin
	default:
		return c.origins[origins[0]]
	}
}

// write adds the header fields that let a page of an origin that allow returned read the response.
func (c *cors) write(header http.Header, origin []string) {
	if origin == nil {
		return
	}
	header["Access-Control-Allow-Origin"] = origin
	if !c.every { // with *, browsers do not send cookies
		header["Access-Control-Allow-Credentials"] = isTrue
	}
}

// preflight adds the headers of a response to a preflight request.
func (c *cors) preflight(header http.Header, r *http.Request, methods string) {
	if r.Header.Get("Access-Control-Request-Method") == "" {
		return
	}
	header.Set("Access-Control-Allow-Methods", methods)
	header.Set("Access-Control-Max-Age", preflightAge)
	// Allow any header that a page adds, for example for tracing: the proxy reads only
	// Authorization and cookies.
	names := strings.Join(r.Header["Access-Control-Request-Headers"], ",")
	if names != "" && len(names) <= maxRequestHeaders && isList(names) {
		header.Set("Access-Control-Allow-Headers", names)
	}
	header["Vary"] = []string{header["Vary"][0] +
		", Access-Control-Request-Method, Access-Control-Request-Headers"}
}

// isList reports whether text consists of header names separated by commas (RFC 9110, section
// 5.6.2).
func isList(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r != ',' && r != ' ' && r != '-' && r != '_' &&
			(r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
