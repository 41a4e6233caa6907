package console

import (
	"fmt"
	"html"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/locator"
)

// Asker is the viewer of a trial. The zero value is an anonymous client.
type Asker struct {
	User   string
	Groups []string
}

// Trial is what a viewer who requests an object would get.
type Trial struct {
	// Allowed reports whether the rules allow the viewer to read the object. Why names the rule
	// that decides.
	Allowed bool
	Why     string
	// Integration serves the bucket, "" if none does. Region is the region of the bucket, "" if it is
	// unknown. Origin is where a browser is redirected to.
	Integration, Region, Origin string
	// Session means that there is a session to sign with. The following fields are about its
	// window.
	Session bool
	// Hit means that the URL is in the cache.
	Hit bool
	// WindowEnds is when the URL changes, Expires is when it becomes invalid, and MaxAge is how
	// long the redirect may be cached.
	WindowEnds, Expires time.Time
	MaxAge              time.Duration
	// Bytes is the length of the URL.
	Bytes int
}

// trialAnswer is a trial with times in Unix milliseconds.
type trialAnswer struct {
	Now         int64  `json:"now"`
	Locator     string `json:"locator"`
	URL         string `json:"url"` // the proxy's, not the store's
	Allowed     bool   `json:"allowed"`
	Why         string `json:"why"`
	Integration string `json:"integration,omitempty"`
	Region      string `json:"region,omitempty"`
	Session     bool   `json:"session"`
	Hit         bool   `json:"hit"`
	WindowEnds  int64  `json:"window_ends"`
	Expires     int64  `json:"expires"`
	MaxAge      int64  `json:"max_age_seconds"`
	Bytes       int    `json:"bytes"`
	Preview     bool   `json:"preview"` // whether the page can show the object
}

func (c *Console) try(r *http.Request) (any, error) {
	l, err := parseLocator(r.URL.Query().Get("locator"))
	if err != nil {
		return nil, err
	}
	groups := strings.FieldsFunc(r.URL.Query().Get("groups"), func(r rune) bool { return r == ',' })
	for n := range groups {
		groups[n] = strings.TrimSpace(groups[n])
	}
	t := c.Proxy.Try(l, Asker{User: strings.TrimSpace(r.URL.Query().Get("user")), Groups: groups})
	a := trialAnswer{Now: c.Clock().UnixMilli(),
		Locator: l.String(), URL: c.viewersURL(r) + l.Path(), Allowed: t.Allowed, Why: t.Why,
		Integration: t.Integration, Region: t.Region,
		Session: t.Session, Hit: t.Hit, WindowEnds: milliseconds(t.WindowEnds),
		Expires: milliseconds(t.Expires), MaxAge: int64(t.MaxAge / time.Second), Bytes: t.Bytes,
		Preview: t.Integration != "" && kindOf(l.Key) != ""}
	return a, nil
}

// parseLocator parses s3://bucket/key, the path of a request, or a whole URL. It drops a link in the
// path, like one in the query.
func parseLocator(text string) (l locator.Locator, err error) {
	text = strings.TrimSpace(text)
	switch at := strings.Index(text, locator.PathPrefix); {
	case strings.HasPrefix(text, "s3://"):
		l, err = locator.Parse(text)
	case at == 0 ||
		at > 0 && (strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")):
		p, _, _ := strings.Cut(text[at:], "?")
		l, _, err = locator.ParseLinkPath(p)
	default:
		return l, &refusal{status: http.StatusBadRequest,
			text: "write the locator as s3://bucket/key or /s3/bucket/key"}
	}
	if err != nil {
		return l, &refusal{status: http.StatusBadRequest, text: err.Error()}
	}
	return l, nil
}

// viewersURL returns the URL at which the browser that sent a request reaches the proxy.
func (c *Console) viewersURL(r *http.Request) string {
	state := c.Proxy.State()
	if state.Config.PublicURL != "" {
		return strings.TrimSuffix(state.Config.PublicURL, "/")
	}
	host, port, err := net.SplitHostPort(state.Listen)
	if err != nil {
		return ""
	}
	// If the proxy listens on every address, use the host that the browser uses.
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = r.Host
		if h, _, err := net.SplitHostPort(r.Host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
	}
	scheme := "http"
	if state.Config.TLS.CertFile != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// previewKinds are the ways to show an object, by the extension of its key.
var previewKinds = map[string][]string{
	"image":    {".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".svg", ".bmp", ".ico"},
	"video":    {".mp4", ".webm", ".mov", ".m4v", ".ogv"},
	"audio":    {".mp3", ".wav", ".ogg", ".oga", ".m4a", ".flac"},
	"pdf":      {".pdf"},
	"document": {".txt", ".md", ".json", ".csv", ".log", ".html", ".htm", ".xml", ".yaml", ".yml"},
}

func kindOf(key string) string {
	ending := strings.ToLower(path.Ext(key))
	for kind, endings := range previewKinds {
		if slices.Contains(endings, ending) {
			return kind
		}
	}
	return ""
}

// previewTags show an object. Documents are in a sandboxed frame; the browser's PDF viewer would
// not run in one.
var previewTags = map[string]string{
	"image":    `<img src="%[1]s" alt="%[2]s">`,
	"video":    `<video src="%[1]s" aria-label="%[2]s" controls muted playsinline></video>`,
	"audio":    `<audio src="%[1]s" aria-label="%[2]s" controls></audio>`,
	"pdf":      `<iframe src="%[1]s" title="%[2]s"></iframe>`,
	"document": `<iframe src="%[1]s" title="%[2]s" sandbox></iframe>`,
}

const previewPage = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%[2]s</title>
<link rel="stylesheet" href="/static/console.css">
<script src="/static/preview.js" defer></script>
</head>
<body class="preview %[3]s">
%[4]s
<p role="status" id="failure" hidden>The object does not load in this browser.
<a href="%[1]s" target="_blank" rel="noreferrer">Open the redirect</a> to see the error.</p>
</body>
</html>
`

// preview is a page with one object, which the browser loads through the proxy like any viewer.
// Only this page may load from the origins of the proxy and the store.
func (c *Console) preview(w http.ResponseWriter, r *http.Request) {
	l, err := parseLocator(r.URL.Query().Get("locator"))
	if err != nil {
		c.refuse(w, err)
		return
	}
	trial, kind := c.Proxy.Try(l, Asker{}), kindOf(l.Key)
	if trial.Integration == "" || kind == "" {
		c.refuse(w, &refusal{status: http.StatusNotFound, text: "no preview is available"})
		return
	}
	store := trial.Origin
	if store == "" {
		store = "https:" // the host depends on the region, which is unknown until the first request
	}
	from := c.viewersURL(r) + " " + store
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'self'; script-src 'self'; img-src "+from+"; media-src "+
			from+"; frame-src "+from+
			"; base-uri 'none'; form-action 'none'; frame-ancestors 'self'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	url := html.EscapeString(c.viewersURL(r) + l.Path())
	name := html.EscapeString(locator.Printable(l.String()))
	fmt.Fprintf(w, previewPage, url, name, kind, fmt.Sprintf(previewTags[kind], url, name))
}
