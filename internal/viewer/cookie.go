package viewer

import "strings"

// cookieValue returns the value of a cookie in Cookie headers (RFC 6265, section 5.4), or "" if
// it is missing or given with two different values. Unlike [http.Request.Cookie] it allocates
// nothing.
func cookieValue(headers []string, name string) (value string) {
	for _, rest := range headers {
		for rest != "" {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			n, v, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if !ok || n != name {
				continue
			}
			v = strings.Trim(v, `"`)
			if value != "" && v != value {
				return "" // a sibling domain may have set one of them for the parent domain
			}
			value = v
		}
	}
	return value
}
