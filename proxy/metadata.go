package proxy

import (
	"strings"

	"s3redirect/internal/viewer"
)

// isCORS reports whether the browser will apply CORS checks to the object: for fetch(), and for
// elements with the crossorigin attribute. Browsers send Sec-Fetch-Mode
// (https://www.w3.org/TR/fetch-metadata/#sec-fetch-mode-header), except over plain HTTP. There,
// isCORS relies on Origin, which browsers send unless the page has the proxy's origin.
func isCORS(header viewer.Header) bool {
	if mode := header.Values("Sec-Fetch-Mode"); len(mode) > 0 {
		return mode[0] == "cors"
	}
	return len(header.Values("Origin")) > 0
}

// mayStore reports whether the browser may store the redirect, by what it is for. Browsers send
// Sec-Fetch-Dest (https://www.w3.org/TR/fetch-metadata/#sec-fetch-dest-header) together with
// Sec-Fetch-Mode.
func mayStore(header viewer.Header, cors bool) bool {
	destination := header.Values("Sec-Fetch-Dest")
	if len(destination) == 0 {
		return !cors
	}
	switch destination[0] {
	case "empty":
		// A browser would answer a script's HEAD with the redirect that it stored for GET (RFC
		// 9111, section 4), whose URL S3 rejects for HEAD. Elements never send HEAD.
		return !cors
	case "audio", "document", "embed", "frame", "iframe", "object", "track", "video":
		// When a user goes back or restores a tab, a browser may use a stored redirect that is no
		// longer fresh (RFC 9111, section 6), and thereby a URL that has expired. Redirects of
		// images stay cached, because pages have many; docs/browsers.md has what that leaves.
		return false
	}
	return true
}

// blocked reports whether the browser would not follow the redirect to the exchange's object: a
// request with the mode same-origin fails when it is redirected to another origin
// (https://fetch.spec.whatwg.org/#concept-http-redirect-fetch). It compares hosts with ports, not
// schemes, because the proxy may be behind TLS. If the request's own host is unknown, blocked
// returns false.
func (h *Handler) blocked(x *exchange) bool {
	mode := x.Header.Values("Sec-Fetch-Mode")
	if len(mode) == 0 || mode[0] != "same-origin" {
		return false
	}
	store := x.object.Endpoint.Host
	_, public, _ := strings.Cut(h.publicURL, "://")
	return (x.host != "" || public != "") &&
		!strings.EqualFold(x.host, store) && !strings.EqualFold(public, store)
}
