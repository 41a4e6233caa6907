package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

var (
	safeTypes = []string{
		"image/png", "IMAGE/JPEG", "image/avif", "image/vnd.microsoft.icon", "audio/mpeg",
		"video/mp4", "video/mp2t", "font/woff2", "model/gltf-binary", "model/gltf+json",
		"text/plain", "text/plain; charset=utf-8", "text/csv;charset=utf-8;header=present",
		"text/markdown", "text/vtt", "text/calendar",
		"application/octet-stream", "application/pdf", "application/json", "application/geo+json",
		"application/zip", "application/gzip", "application/epub+zip",
		"application/vnd.apple.mpegurl", "application/vnd.ms-excel",
		"application/vnd.openxmlformats-officedocument.wordprocessingml.document",
		"application/msword",
		"application/dicom", ` image/png `, "text/plain; charset=UTF-8",
		`text/plain; charset="utf-8"`, "text/csv; charset=us-ascii", "text/plain; charset=ISO-8859-1",
		"application/vnd.oasis.opendocument.text", "application/vnd.rar",
		"application/vnd.openxmlformats-officedocument.presentationml.presentation",
		"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
		"application/vnd.google-earth.kmz", "application/vnd.geo+json",
	}
	activeTypes = []string{
		"text/html", "TEXT/HTML", "text/html; charset=utf-8", "text/html;", " text/html",
		"application/xhtml+xml", "image/svg+xml", "image/SVG+XML; charset=utf-8", "image/svg",
		"text/xml", "application/xml", "application/rss+xml", "application/dash+xml",
		"application/vnd.wap.xhtml+xml", "model/x3d+xml", "application/mathml+xml", "text/xsl",
		"text/javascript", "application/javascript", "application/ecmascript",
		"application/x-javascript", "text/css", "application/wasm", "text/cache-manifest",
		"multipart/x-mixed-replace", "multipart/related", "message/rfc822",
		"application/x-shockwave-flash", "text/x-component", "application/hta",
		"application/vnd.x+html", "application/vnd.wap.xhtml", "application/vnd.wap.wml",
		"application/vnd.mozilla.xul", "application/vnd.new", "application/vnd.",
		// Charsets in which the bytes of harmless text can be a script, and unknown ones.
		"text/plain; charset=utf-7", "text/plain; charset=utf-16", "text/csv; charset=iso-2022-jp",
		"text/plain; charset=x-user-defined", `text/plain; charset=""`, "text/plain; charset=utf8",
		"text/plain; charset*=utf-7''x", "text/plain; charset*=utf-8''utf-7",
		"text/plain; charset*0=utf-; charset*1=7", "text/plain; charset*0*=utf-8''utf-7",
		// A percent sign is for a program that decodes the type again.
		"text%2Fhtml", "image/png%0d%0ax", "image/p%6eg", "text/plain; a=%3Cscript%3E",
		// Browsers guess at these, or parse them differently from the proxy.
		"*/*", "unknown/unknown", "application/unknown", "text", "text/", "/html", "html",
		"; charset=utf-8", "image/png, text/html", "image/png,text/html", `image/png; a=","`,
		"image/png; text/html", "image/png text/html", "image/png; charset", "image/", "x-new/type",
		"application/x-new",
	}
	attachments = []string{
		"attachment", "ATTACHMENT", "attachment; filename=a.html", " attachment ;",
		`attachment; filename="inline; x.html"`, "attachment;filename*=utf-8''a.svg",
	}
	inlines = []string{"inline", "INLINE", "inline; filename=a.html", " inline"}
	// Browsers show objects with some of these, and save those with others.
	oddDispositions = []string{
		"filename=a.html", "form-data", "attachment, inline", "inline, attachment",
		"attachmentx", "attach", ";", "; attachment", `"attachment"`, "attachment=1",
		"attachment\u00a0", "x",
	}
)

// withOverrides sets the overrides of every integration.
func withOverrides(overrides string) worldOption {
	return func(c *config.Config, _ *Options) {
		for n := range c.Integrations {
			c.Integrations[n].Overrides = overrides
		}
	}
}

// overridden returns a path with the given query parameters, in pairs of name and value.
func overridden(pairs ...string) string {
	var query []string
	for n := 0; n < len(pairs); n += 2 {
		query = append(query, pairs[n]+"="+url.QueryEscape(pairs[n+1]))
	}
	return "/s3/team-a/k?" + strings.Join(query, "&")
}

// wantOverride requests an object and checks that the response is a URL with the parameters if they
// are allowed, and a problem otherwise.
func (w *world) wantOverride(allowed bool, pairs ...string) {
	w.t.Helper()
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		resp := w.ask(method, overridden(pairs...))
		if !allowed {
			if resp.StatusCode != http.StatusBadRequest {
				w.t.Errorf("%s %q: got %d, want 400", method, pairs, resp.StatusCode)
				continue
			}
			p := problemIn(w.t, resp)
			if p.Code != "bad_query" || !strings.Contains(p.Detail, "overrides") {
				w.t.Errorf("%s %q: got %s %q, want bad_query that names overrides",
					method, pairs, p.Code, p.Detail)
			}
			continue
		}
		u, err := resp.Location()
		if err != nil || resp.StatusCode != http.StatusFound {
			w.t.Errorf("%s %q: got %d, want 302", method, pairs, resp.StatusCode)
			continue
		}
		for n := 0; n < len(pairs); n += 2 {
			got := u.Query().Get(pairs[n])
			if strings.HasPrefix(pairs[n], "response-") && got != pairs[n+1] {
				w.t.Errorf("%s %q: the URL has %s=%q, want %q", method, pairs, pairs[n], got,
					pairs[n+1])
			}
		}
	}
}

const (
	asType        = "response-content-type"
	asDisposition = "response-content-disposition"
)

// By default no override can make a browser run scripts in an object.
func TestSafeOverrides(t *testing.T) {
	for _, overrides := range []string{"", "safe"} {
		w := newWorld(t, withOverrides(overrides))
		for _, kind := range safeTypes {
			w.wantOverride(true, asType, kind)
			w.wantOverride(true, asType, kind, asDisposition, "inline")
			w.wantOverride(true, asDisposition, "inline; filename=a.pdf", asType, kind)
		}
		for _, kind := range activeTypes {
			w.wantOverride(false, asType, kind)
			w.wantOverride(false, asType, kind, asDisposition, "attachment")
			w.wantOverride(false, asType, kind, "download", "")
			w.wantOverride(false, asType, kind, asDisposition, "inline")
		}
		for _, disposition := range attachments {
			w.wantOverride(true, asDisposition, disposition)
		}
		for _, disposition := range inlines {
			// The object may be stored as text/html with attachment.
			w.wantOverride(false, asDisposition, disposition)
			w.wantOverride(false, asDisposition, disposition, asType, "")
			w.wantOverride(true, asDisposition, disposition, asType, "application/pdf")
		}
		for _, disposition := range oddDispositions {
			w.wantOverride(false, asDisposition, disposition)
			w.wantOverride(false, asDisposition, disposition, asType, "application/pdf")
		}
		w.wantOverride(true, "response-cache-control", "no-store",
			"response-content-encoding", "gzip", "response-content-language", "de",
			"response-expires", "0")
		w.wantOverride(true, "download", "page.html")
		w.wantOverride(true, "download", "page.html", asType, "application/octet-stream")
		w.wantOverride(true, "versionId", "1")
	}
}

func TestAllOverrides(t *testing.T) {
	w := newWorld(t, withOverrides("all"))
	for _, kind := range append(activeTypes, safeTypes...) {
		w.wantOverride(true, asType, kind, asDisposition, "inline")
	}
	for _, disposition := range append(inlines, oddDispositions...) {
		w.wantOverride(true, asDisposition, disposition)
	}
}

func TestNoOverrides(t *testing.T) {
	w := newWorld(t, withOverrides("none"))
	for _, name := range []string{
		"response-cache-control", asDisposition, "response-content-encoding",
		"response-content-language", asType, "response-expires", "download",
	} {
		w.wantOverride(false, name, "")
		w.wantOverride(false, name, "text/plain")
		w.wantOverride(false, "versionId", "1", name, "attachment")
	}
	w.wantOverride(true, "versionId", "1")
	w.wantOverride(true, "_", "1")
}

// The same overrides are allowed with a signed link as without.
func TestOverridesWithLinks(t *testing.T) {
	w := newWorld(t, withViewers)
	target, err := viewer.ParseTarget("s3://bucket/users/ann/k")
	if err != nil {
		t.Fatal(err)
	}
	query, err := w.gate.Links().Query(target, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	link := target.Path() + "?" + query
	for more, status := range map[string]int{
		"": 302, "&response-content-type=image/png": 302, "&download": 302,
		"&response-content-type=text/html": 400, "&response-content-disposition=inline": 400,
	} {
		if resp := w.as("", http.MethodGet, link+more); resp.StatusCode != status {
			t.Errorf("a link with %q: got %d, want %d", more, resp.StatusCode, status)
		}
	}
}
