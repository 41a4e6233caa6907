// Package locator is the name of an object: s3://bucket/key, and the same as a path, /s3/bucket/key with the key
// percent-encoded. Nothing that is not a bucket in S3's grammar, or a key that a browser would rewrite, gets through.
package locator

import (
	"errors"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// PathPrefix begins every locator's path.
	PathPrefix = "/s3/"
	// Scheme begins every locator.
	Scheme = "s3://"
	// MaxKeyBytes is S3's limit of a key, in bytes of UTF-8.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
	MaxKeyBytes = 1024
)

// The reasons why something is no locator. None of them repeats what was sent.
var (
	ErrNotLocator  = errors.New("not a locator: it must begin with " + Scheme)
	ErrNotPath     = errors.New("not a locator's path: it must begin with " + PathPrefix)
	ErrEmptyKey    = errors.New("the key is empty: a locator is a bucket, a slash and a key")
	ErrLongKey     = errors.New("the key is longer than 1,024 bytes, S3's limit")
	ErrDotSegment  = errors.New("the key has a segment '.' or '..': browsers resolve those and would fetch another object")
	ErrControl     = errors.New("the key holds a control character")
	ErrInvalidUTF8 = errors.New("the key is not valid UTF-8")
	ErrBadEscape   = errors.New("the path has a '%' that two hexadecimal digits do not follow")
	ErrFragment    = errors.New("the path holds a '#': encode it as %23")
)

// Locator names an object.
type Locator struct {
	Bucket string // in S3's grammar
	Key    string // decoded
}

// Parse reads s3://bucket/key. The key is taken as it stands: nothing in it is percent-decoded, as the AWS CLI does it.
func Parse(s string) (Locator, error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return Locator{}, ErrNotLocator
	}
	bucket, key, _ := strings.Cut(rest, "/")
	if err := CheckBucket(bucket); err != nil {
		return Locator{}, err
	}
	if err := CheckKey(key); err != nil {
		return Locator{}, err
	}
	return Locator{Bucket: bucket, Key: key}, nil
}

// ParsePath reads /s3/bucket/key as it stands in a request line, without its query. It splits at the first slash after the
// bucket and percent-decodes the key once; a plus is a plus. A path that needs no decoding is not copied.
func ParsePath(path string) (Locator, error) {
	rest, ok := strings.CutPrefix(path, PathPrefix)
	if !ok {
		return Locator{}, ErrNotPath
	}
	bucket, key, _ := strings.Cut(rest, "/")
	if err := CheckBucket(bucket); err != nil {
		return Locator{}, err
	}
	if strings.IndexByte(key, '#') >= 0 {
		return Locator{}, ErrFragment
	}
	if strings.IndexByte(key, '%') >= 0 { // most have none, and PathUnescape looks at each byte to find that out
		var err error
		if key, err = url.PathUnescape(key); err != nil {
			return Locator{}, ErrBadEscape // url's own error repeats what was sent
		}
	}
	if err := CheckKey(key); err != nil {
		return Locator{}, err
	}
	return Locator{Bucket: bucket, Key: key}, nil
}

// String is the locator as s3://bucket/key.
func (l Locator) String() string { return Scheme + l.Bucket + "/" + l.Key }

// Path is the locator as /s3/bucket/key, with the key percent-encoded.
func (l Locator) Path() string {
	u := url.URL{Path: PathPrefix + l.Bucket + "/" + l.Key}
	return u.EscapedPath()
}

// CheckKey says why a decoded key is refused.
func CheckKey(key string) error {
	switch {
	case key == "":
		return ErrEmptyKey
	case len(key) > MaxKeyBytes:
		return ErrLongKey
	}
	plain := true
	for i := range len(key) {
		if c := key[i]; c < 0x20 || c == 0x7f {
			return ErrControl
		} else if c >= utf8.RuneSelf {
			plain = false
		}
	}
	if !plain {
		if !utf8.ValidString(key) {
			return ErrInvalidUTF8
		}
		if strings.ContainsFunc(key, unicode.IsControl) {
			return ErrControl
		}
	}
	if HasDotSegment(key) {
		return ErrDotSegment
	}
	return nil
}

// HasDotSegment reports whether a segment of key is "." or "..". Some stores take a backslash for a slash, so that it ends a
// segment too.
func HasDotSegment(key string) bool {
	if !strings.HasPrefix(key, ".") && !strings.Contains(key, "/.") && !strings.Contains(key, `\.`) {
		return false // hardly any key has a segment that begins with a dot
	}
	for segment := range strings.FieldsFuncSeq(key, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
