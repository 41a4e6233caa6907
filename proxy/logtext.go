package proxy

import (
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendJSON appends text with JSON's escapes (RFC 8259, section 7). It also escapes the control
// characters that JSON allows, U+007F to U+009F, because terminals interpret them. Bytes that are
// not valid UTF-8 become U+FFFD.
func appendJSON(b []byte, text string) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c < 0x20 || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			default:
				b = append(b, c)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		if r < 0xa0 { // U+0080 to U+009F
			b = append(b, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		} else {
			b = utf8.AppendRune(b, r) // U+FFFD for an invalid byte
		}
		i += size
	}
	return b
}

// appendApache appends text like Apache's log: quotes and backslashes get a backslash; control
// characters, and all bytes that are not ASCII, become \xhh. An empty text becomes -.
func appendApache(b []byte, text string) []byte {
	if text == "" {
		return append(b, '-')
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c >= 0x7f:
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

// appendApacheWord is like appendApache for a field without quotes: it also escapes spaces, which
// would shift the fields after it.
func appendApacheWord(b []byte, text string) []byte {
	for {
		word, rest, more := strings.Cut(text, " ")
		if word != "" || !more {
			b = appendApache(b, word)
		}
		if !more {
			return b
		}
		b = append(b, `\x20`...)
		text = rest
		if text == "" {
			return b
		}
	}
}
