package viewer

import "strings"

// cookieValue is the value of a cookie, or "" where there is none, or two that differ (RFC 6265, section 5.4). Request.Cookie
// would allocate every cookie there is.
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
				return "" // one of them could be somebody else's: a neighbouring site's, set for the whole domain
			}
			value = v
		}
	}
	return value
}
