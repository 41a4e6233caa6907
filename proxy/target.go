package proxy

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"s3redirect/internal/integration"
	"s3redirect/internal/presign"
)

// target is the path and the query of a request line, as they were sent: what net/http makes of them has lost what was
// encoded and what was not. A request line may also hold a whole URL (RFC 9112, section 3.2.2); its host is no concern of ours.
func target(r *http.Request) (path, query string) {
	t := r.RequestURI
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

// maxValue bounds a parameter's value, in bytes: all of them end up in the URL.
const maxValue = 1024

// parseParams reads the parameters that have a meaning into their canonical form for the signature. All others are ignored.
// cors is for URLs that scripts read across origins; attributed is the viewer whom the URL is to name, or "".
func parseParams(query string, i *integration.Integration, cors bool, attributed string) (canonical string, err error) {
	if query == "" && attributed == "" {
		return i.CanonicalParams(cors), nil
	}
	p := i.Params
	p.CORS, p.Viewer = cors, attributed
	var seen []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err = url.QueryUnescape(name); err != nil {
			continue // no name of ours needs an escape
		}
		field := paramField(&p, name)
		if field == nil && name != paramDownload {
			continue
		}
		if slices.Contains(seen, name) {
			return "", badQuery(name + " is given twice")
		}
		seen = append(seen, name)
		if value, err = url.QueryUnescape(value); err != nil {
			return "", badQuery(name + " has a '%' that two hexadecimal digits do not follow")
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
		return "", badQuery(paramDownload + " and " + paramDisposition + " exclude each other")
	}
	if err := checkOverrides(i.Overrides, seen, &p); err != nil {
		return "", err
	}
	return p.Canonical(), nil
}

const (
	paramDownload    = "download"
	paramVersionID   = "versionId"
	paramDisposition = "response-content-disposition"
	paramContentType = "response-content-type"
)

// paramField is where a parameter's value belongs, or nil for a name that has no meaning.
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
		return badQuery("versionId is not allowed here: the integration's file_versioning is off")
	case name == paramVersionID && value == "":
		return badQuery("versionId is empty")
	case len(value) > maxValue:
		return badQuery(name + " is longer than 1,024 bytes")
	case !utf8.ValidString(value):
		return badQuery(name + " is not valid UTF-8")
	// S3 answers with the value as a header: a line break would be the start of another.
	case strings.ContainsFunc(value, unicode.IsControl):
		return badQuery(name + " holds a control character")
	}
	return nil
}

// attachment is the Content-Disposition that has a browser save the object, under a name if there is one (RFC 6266; RFC 5987
// for a name that is not ASCII).
func attachment(name string) string {
	if name == "" {
		return "attachment"
	}
	return mime.FormatMediaType("attachment", map[string]string{"filename": name})
}
