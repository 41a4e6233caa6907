package viewer

import "strings"

// nextCookie returns the first cookie in a Cookie header (RFC 6265, section 5.4), and the rest of
// the header. The name is "" if it is not a cookie.
func nextCookie(header string) (name, value, rest string) {
	pair, rest, _ := strings.Cut(header, ";")
	name, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
	if !ok {
		return "", "", rest
	}
	return name, strings.Trim(value, `"`), rest
}

// cookieToken returns the token in a cookie or, if the cookie is missing, in its chunks. It returns
// "" if there is neither. The cookie's value is refused if it is given with two values, because a
// sibling domain may have set one of them for the parent domain. Unlike [http.Request.Cookie],
// cookieToken allocates nothing for a cookie without chunks. It reads the headers at most twice.
func cookieToken(headers []string, name string) (token string, refused *Refusal) {
	chunked := false
	for _, rest := range headers {
		for rest != "" {
			var n, v string
			n, v, rest = nextCookie(rest)
			switch {
			case n != name:
				_, _, ok := cutChunk(n, name)
				chunked = chunked || ok
			case token != "" && v != token:
				return "", errTwoCookies
			default:
				token = v
			}
		}
	}
	if token == "" && chunked {
		return joinChunks(headers, name)
	}
	return token, nil
}

// maxChunks bounds the number of a cookie's chunks.
const maxChunks = 100

// joinChunks joins the chunks of a cookie in the order of their numbers. Auth.js names them
// name.0, name.1 and so on, and oauth2-proxy name_0, name_1. An empty chunk is the same as a
// missing one.
func joinChunks(headers []string, name string) (token string, refused *Refusal) {
	var chunks [maxChunks]string
	var separator byte
	count, last, size := 0, 0, 0
	for _, rest := range headers {
		for rest != "" {
			var n, v string
			n, v, rest = nextCookie(rest)
			by, number, ok := cutChunk(n, name)
			if !ok || v == "" || v == chunks[number] && by == separator {
				continue
			}
			if chunks[number] != "" || separator != 0 && by != separator {
				return "", errChunks
			}
			chunks[number], separator = v, by
			count, last, size = count+1, max(last, number), size+len(v)
		}
	}
	switch {
	case count == 0:
		return "", nil
	case count != last+1:
		return "", errChunks
	case size > maxToken:
		return "", refuse(MethodJWT, ReasonTooLarge)
	}
	return strings.Join(chunks[:count], ""), nil
}

// cutChunk returns the separator and the number in the name of a cookie's chunk. ok reports whether
// it is one.
func cutChunk(chunk, cookie string) (separator byte, number int, ok bool) {
	const digits = 2 // maxChunks has one more
	n := len(cookie)
	if len(chunk) < n+2 || len(chunk) > n+1+digits || chunk[:n] != cookie ||
		chunk[n] != '.' && chunk[n] != '_' || chunk[n+1] == '0' && len(chunk) > n+2 {
		return 0, 0, false
	}
	for _, c := range []byte(chunk[n+1:]) {
		if c < '0' || c > '9' {
			return 0, 0, false
		}
		number = 10*number + int(c-'0')
	}
	return chunk[n], number, true
}
