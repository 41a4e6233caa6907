package proxy

import (
	"mime"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"s3redirect/internal/integration"
	"s3redirect/internal/presign"
)

// splitTarget returns the path and the query of a request line's target, undecoded:
// [http.Request.URL] does not tell which characters were escaped. The target may also be an
// absolute URL (RFC 9112, section 3.2.2). splitTarget ignores its host.
func splitTarget(t string) (path, query string) {
	if !strings.HasPrefix(t, "/") {
		_, t, _ = strings.Cut(t, "://")
		end := strings.IndexAny(t, "/?#")
		if end < 0 {
			return "", ""
		}
		t = t[end:]
	}
	path, query, _ = strings.Cut(t, "?")
	return path, query
}

// maxValue bounds a parameter's value, in bytes. Values become part of the URL.
const maxValue = 1024

// parseParams returns the canonical query of a key's URL with a request's known parameters. It
// ignores all others.
// cors is true for URLs that scripts read across origins. attributed is the ID of the viewer that
// the URL names, or "" for none.
func parseParams(
	query, key string, i *integration.Integration, cors bool, attributed string,
) (canonical string, err error) {
	if query == "" && attributed == "" {
		return i.CanonicalParams(key, cors), nil
	}
	p := i.ParamsOf(key)
	configuredType := p.ResponseContentType
	p.ResponseContentType = ""
	p.CORS, p.Viewer = cors, attributed
	var seen []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err = url.QueryUnescape(name); err != nil {
			continue // no known name needs an escape
		}
		field := paramField(&p, name)
		if field == nil && name != paramDownload {
			continue
		}
		if slices.Contains(seen, name) {
			return "", badQuery(name + " is repeated")
		}
		seen = append(seen, name)
		if value, err = url.QueryUnescape(value); err != nil {
			return "", badQuery(name + " has a '%' without two hexadecimal digits after it")
		}
		if err := checkValue(name, value, i); err != nil {
			return "", err
		}
		if name == paramDownload {
			p.ResponseContentDisposition = attachment(value)
		} else {
			*field = value
		}
	}
	if slices.Contains(seen, paramDownload) && slices.Contains(seen, paramDisposition) {
		return "", badQuery(paramDownload + " and " + paramDisposition + " are mutually exclusive")
	}
	if err := checkOverrides(i.Overrides, seen, &p); err != nil {
		return "", err
	}
	// An empty type is the same as none: it does not bring back a stored type that the operator has
	// replaced.
	if p.ResponseContentType == "" {
		p.ResponseContentType = configuredType
	}
	return p.Canonical(), nil
}

const (
	paramDownload    = "download"
	paramVersionID   = "versionId"
	paramDisposition = "response-content-disposition"
	paramContentType = "response-content-type"
)

// paramField returns the field for a parameter, or nil if its name is unknown or not a field's.
func paramField(p *presign.Params, name string) *string {
	switch name {
	case paramVersionID:
		return &p.VersionID
	case "response-cache-control":
		return &p.ResponseCacheControl
	case paramDisposition:
		return &p.ResponseContentDisposition
	case "response-content-encoding":
		return &p.ResponseContentEncoding
	case "response-content-language":
		return &p.ResponseContentLanguage
	case paramContentType:
		return &p.ResponseContentType
	case "response-expires":
		return &p.ResponseExpires
	}
	return nil
}

func checkValue(name, value string, i *integration.Integration) error {
	switch {
	case name == paramVersionID && !i.Versions:
		return badQuery("versionId is not allowed: the integration has file_versioning: false")
	case name == paramVersionID && value == "":
		return badQuery("versionId is empty")
	case len(value) > maxValue:
		return badQuery(name + " is longer than 1,024 bytes")
	case !utf8.ValidString(value):
		return badQuery(name + " is not valid UTF-8")
	// S3 sends the value as a header. A line break would start another header.
	case strings.ContainsFunc(value, unicode.IsControl):
		return badQuery(name + " contains a control character")
	}
	return nil
}

// attachment returns the Content-Disposition that makes browsers save the object, under name if it
// is not empty (RFC 6266; RFC 5987 for names that are not ASCII).
func attachment(name string) string {
	if name == "" {
		return "attachment"
	}
	return mime.FormatMediaType("attachment", map[string]string{"filename": name})
}
