package integration

import (
	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// canonicalParams are parameters in canonical form, without and with CORS. They are computed once,
// because each request needs one of them.
type canonicalParams struct{ plain, cors string }

func newCanonicalParams(p presign.Params) canonicalParams {
	withCORS := p
	withCORS.CORS = true
	return canonicalParams{plain: p.Canonical(), cors: withCORS.Canonical()}
}

// typedParams are the parameters of the keys that end in a suffix.
type typedParams struct {
	config.ContentType
	params    presign.Params
	canonical canonicalParams
}

// setParams computes the parameters of a new integration's URLs.
func (i *Integration) setParams(c *config.Integration) {
	i.Params = c.Params()
	i.canonical = newCanonicalParams(i.Params)
	for _, t := range c.SortedContentTypes() {
		p := i.Params
		p.ResponseContentType = t.Type
		i.types = append(i.types, typedParams{t, p, newCanonicalParams(p)})
	}
}

// ParamsOf returns the parameters of a key's URLs, whatever the request: [Integration.Params], with
// the content type that is configured for the key.
func (i *Integration) ParamsOf(key string) presign.Params {
	for n := range i.types {
		if i.types[n].Matches(key) {
			return i.types[n].params
		}
	}
	return i.Params
}

// CanonicalParams returns [Integration.ParamsOf] in canonical form, for scripts that read across
// origins if cors is true. It does not allocate.
func (i *Integration) CanonicalParams(key string, cors bool) string {
	c := &i.canonical
	for n := range i.types {
		if i.types[n].Matches(key) {
			c = &i.types[n].canonical
			break
		}
	}
	if cors {
		return c.cors
	}
	return c.plain
}
