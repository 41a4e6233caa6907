package proxy

import (
	"cmp"
	"net/http"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

const (
	pathLink    = "/link"
	maxLinkBody = 16 << 10
)

// parsePath parses the path of the exchange's object. If links are on, the path may have one.
func (h *Handler) parsePath(x *exchange, path string) (err error) {
	if h.gate.Links() == nil {
		x.locator, err = locator.ParsePath(path)
		return err
	}
	x.locator, x.token, err = locator.ParseLinkPath(path)
	return err
}

// hasLink reports whether the request has a link in its path or query.
func (h *Handler) hasLink(x *exchange) bool {
	return h.gate.Links() != nil && (x.token != "" || viewer.HasLink(x.query))
}

// admitLink admits the viewer if the link in the path or the query is valid for the exchange's
// object.
func (h *Handler) admitLink(x *exchange) (err error) {
	// The request counts against the client's address, whether its link is valid or not.
	if err := h.gate.Limit(&x.viewer, &x.Request, 1, x.now); err != nil {
		return err
	}
	x.viewer, err = h.gate.FromLink(&x.Request, x.token, x.query, x.locator, x.now)
	if err != nil {
		return errLink
	}
	return nil
}

// admitCookie admits the viewer if the link in the cookie is valid for the exchange's object.
// Otherwise it returns denied, which is why the viewer may not read the object without a link.
// counted reports whether the request has already taken a token from a rate limit.
func (h *Handler) admitCookie(x *exchange, denied error, counted bool) error {
	if !h.gate.HasLinkCookie(&x.Request) {
		return denied
	}
	if !counted {
		if err := h.gate.Limit(&viewer.Viewer{}, &x.Request, 1, x.now); err != nil {
			return err
		}
	}
	linked, err := h.gate.FromLinkCookie(&x.Request, x.query, x.locator, x.now)
	if err != nil {
		return denied
	}
	x.viewer = linked
	return nil
}

// madeLink is a signed link. Query is for the form query, and Cookie for the form cookie.
type madeLink struct {
	URL       string      `json:"url"`
	Query     string      `json:"query,omitempty"`
	Cookie    *linkCookie `json:"cookie,omitempty"`
	ExpiresAt time.Time   `json:"expires_at"`
}

// linkCookie describes a cookie with a link.
type linkCookie struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Path  string `json:"path"`
}

// link answers POST /link with a signed link. The viewer must be identified, and must be allowed to
// read everything that the link gives access to.
func (h *Handler) link(w http.ResponseWriter, r *http.Request, x *exchange) error {
	if h.gate.Links() == nil {
		return errNotFound
	}
	if err := h.identify(x, 1); err != nil {
		return err
	}
	var asked struct{ locator, lifetime, form string }
	b, err := h.readBody(w, r, x, maxLinkBody, map[string]func(*body) error{
		"locator":  func(b *body) error { return b.text(&asked.locator) },
		"lifetime": func(b *body) error { return b.text(&asked.lifetime) },
		"form":     func(b *body) error { return b.text(&asked.form) },
	})
	if err != nil {
		return err
	}
	b.release() // the values are small
	target, err := viewer.ParseTarget(asked.locator)
	if err != nil {
		return badRequest("locator: " + err.Error())
	}
	form := viewer.LinkForm(cmp.Or(asked.form, string(viewer.LinkQuery)))
	if err := h.gate.Links().CheckForm(form); err != nil {
		return badRequest(err.Error())
	}
	lifetime := h.gate.Links().MaxLifetime()
	if asked.lifetime != "" {
		if lifetime, err = config.ParseDuration(asked.lifetime); err != nil {
			return badRequest("lifetime is not a duration; write it as 30m, 24h or 30d")
		}
	}
	switch {
	case x.viewer.ID == "" && h.gate.CanChallenge():
		return x.viewer.Unknown()
	case x.viewer.ID == "", !h.gate.AllowTarget(&x.viewer, target):
		return errDenied
	}
	if err := h.checkTarget(target, x.now); err != nil {
		return err
	}
	made, err := h.makeLink(target, form, x.now, x.now.Add(lifetime).Truncate(time.Second))
	if err != nil {
		return badRequest(err.Error())
	}
	return h.writeJSON(w, x, made)
}

// checkTarget returns an error if no object of t is served. Several integrations may serve the objects
// of a folder, and some objects may be blocked: that is decided for each request with the link.
func (h *Handler) checkTarget(t viewer.Target, now time.Time) error {
	if h.integrations.Blocked(t.Locator) {
		return errDenied
	}
	_, served := h.integrations.Find(t.Locator, now)
	if served || t.Prefix && h.integrations.ServesWithin(t.Locator) {
		return nil
	}
	return errBucket
}

// makeLink returns a link to t that expires at until.
func (h *Handler) makeLink(
	t viewer.Target, form viewer.LinkForm, now, until time.Time,
) (*madeLink, error) {
	query, err := h.gate.Links().Query(t, now, until)
	if err != nil {
		return nil, err
	}
	made := &madeLink{URL: h.publicURL, ExpiresAt: until.UTC()}
	switch form {
	case viewer.LinkPath:
		made.URL += t.LinkPath(viewer.Token(query))
	case viewer.LinkCookie:
		c := h.gate.Links().Cookie(t, query, now, until)
		made.URL += t.Path()
		made.Cookie = &linkCookie{Name: c.Name, Value: c.Value, Path: c.Path}
	default:
		made.URL += t.Path() + "?" + query
		made.Query = query
	}
	return made, nil
}
