// Package locator parses the names of objects. A locator has the form s3://bucket/key, or, as a
// path, /s3/bucket/key with a percent-encoded key. The package rejects invalid bucket names, and
// keys that a browser would rewrite.
package locator

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// PathPrefix is the prefix of locators' paths.
	PathPrefix = "/s3/"
	// Scheme is the prefix of locators.
	Scheme = "s3://"
	// TokenPrefix begins the segment of a path that holds a link. No bucket's name begins with it,
	// so a path never has both meanings.
	TokenPrefix = "~"
	// MaxKeyBytes is the maximum length of a key in bytes of UTF-8.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
	MaxKeyBytes = 1024
)

// Errors of invalid locators. They do not contain parts of the locator.
var (
	ErrNotLocator = errors.New("not a locator: it must begin with " + Scheme)
	ErrNotPath    = errors.New("not a locator's path: it must begin with " + PathPrefix)
	ErrEmptyKey   = errors.New("the key is empty: " +
		"a locator consists of a bucket, a slash and a key")
	ErrLongKey    = errors.New("the key is longer than S3's limit of 1,024 bytes")
	ErrDotSegment = errors.New("the key contains a segment '.' or '..', " +
		"which browsers remove from paths")
	ErrNUL         = errors.New("the key contains NUL, which is never served")
	ErrControl     = errors.New("the path contains a control character: percent-encode it")
	ErrInvalidUTF8 = errors.New("the key is not valid UTF-8")
	ErrBadEscape   = errors.New("the path contains a '%' without two hexadecimal digits after it")
	ErrFragment    = errors.New("the path contains a '#': encode it as %23")
)

// Locator is the name of an object.
type Locator struct {
	Bucket string // a valid bucket name of some store; see [CheckStoreBucket]
	Key    string // decoded
}

// Parse parses s3://bucket/key. Like the AWS CLI, it does not percent-decode the key.
func Parse(s string) (Locator, error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return Locator{}, ErrNotLocator
	}
	bucket, key, _ := strings.Cut(rest, "/")
	if err := CheckStoreBucket(bucket); err != nil {
		return Locator{}, err
	}
	if err := CheckKey(key); err != nil {
		return Locator{}, err
	}
	return Locator{Bucket: bucket, Key: key}, nil
}

// ParsePath parses the raw path of a request, /s3/bucket/key without a query. It splits the path
// at the first slash after the bucket and percent-decodes the key once; it does not decode plus
// signs. Control characters must be percent-encoded. It does not copy a path that needs no
// decoding.
func ParsePath(path string) (Locator, error) {
	rest, ok := strings.CutPrefix(path, PathPrefix)
	if !ok {
		return Locator{}, ErrNotPath
	}
	return parseRest(rest)
}

// ParseLinkPath parses the raw path of a request that may have a link in it: /s3/~TOKEN/bucket/key.
// It returns the segment ~TOKEN as the client sent it, or "" for a path without one, which it
// parses like [ParsePath]. It does not verify the token.
func ParseLinkPath(path string) (l Locator, token string, err error) {
	if !strings.HasPrefix(path, PathPrefix+TokenPrefix) {
		l, err = ParsePath(path)
		return l, "", err
	}
	token, rest, _ := strings.Cut(path[len(PathPrefix):], "/")
	l, err = parseRest(rest)
	return l, token, err
}

// parseRest parses what follows the prefix of a path: bucket/key with a percent-encoded key.
func parseRest(rest string) (Locator, error) {
	bucket, key, _ := strings.Cut(rest, "/")
	if err := CheckStoreBucket(bucket); err != nil {
		return Locator{}, err
	}
	if strings.IndexByte(key, '#') >= 0 {
		return Locator{}, ErrFragment
	}
	if hasControl(key) {
		return Locator{}, ErrControl
	}
	// Most keys contain no '%', which IndexByte finds out faster than PathUnescape.
	if strings.IndexByte(key, '%') >= 0 {
		var err error
		if key, err = url.PathUnescape(key); err != nil {
			return Locator{}, ErrBadEscape // the error of package url contains the key
		}
	}
	if err := CheckKey(key); err != nil {
		return Locator{}, err
	}
	return Locator{Bucket: bucket, Key: key}, nil
}

// String returns the locator as s3://bucket/key.
func (l Locator) String() string { return Scheme + l.Bucket + "/" + l.Key }

// Path returns the locator as /s3/bucket/key with a percent-encoded key.
func (l Locator) Path() string { return string(l.AppendPath(nil)) }

// AppendPath appends [Locator.Path] to b. The result is the same as that of [url.URL.EscapedPath].
func (l Locator) AppendPath(b []byte) []byte {
	const hex = "0123456789ABCDEF"
	b = append(append(append(b, PathPrefix...), l.Bucket...), '/')
	for i := range len(l.Key) {
		switch c := l.Key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			strings.IndexByte("-_.~$&+,/:;=@", c) >= 0:
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

// LinkPath returns the locator as /s3/~TOKEN/bucket/key with a percent-encoded key. token is the
// segment ~TOKEN.
func (l Locator) LinkPath(token string) string {
	return PathPrefix + token + l.Path()[len(PathPrefix)-1:]
}

// CheckKey returns an error if a decoded key is invalid. S3 allows every sequence of Unicode
// characters in UTF-8 of up to 1,024 bytes; NUL, dot segments and invalid UTF-8 are rejected.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
func CheckKey(key string) error {
	switch {
	case key == "":
		return ErrEmptyKey
	case len(key) > MaxKeyBytes:
		return ErrLongKey
	}
	switch {
	case strings.IndexByte(key, 0) >= 0:
		return ErrNUL
	case !utf8.ValidString(key):
		return ErrInvalidUTF8
	case HasDotSegment(key):
		return ErrDotSegment
	}
	return nil
}

// hasControl reports whether s contains a control character of Unicode: U+0000 to U+001F, or
// U+007F to U+009F, which UTF-8 encodes as C2 80 to C2 9F.
func hasControl(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20, c == 0x7f, c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0:
			return true
		}
	}
	return false
}

// Printable returns a key or a locator for a message. A text with control characters, which could
// move a terminal's cursor or begin another line, is quoted as in Go, and others are unchanged.
func Printable(text string) string {
	if hasControl(text) {
		return strconv.Quote(text)
	}
	return text
}

// HasDotSegment reports whether a segment of key is "." or "..". A backslash also separates
// segments, because some stores treat it as a slash.
func HasDotSegment(key string) bool {
	// Few keys have a segment that begins with a dot.
	if !strings.HasPrefix(key, ".") && !strings.Contains(key, "/.") &&
		!strings.Contains(key, `\.`) {
		return false
	}
	isSeparator := func(r rune) bool { return r == '/' || r == '\\' }
	for segment := range strings.FieldsFuncSeq(key, isSeparator) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
