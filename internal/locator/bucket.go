package locator

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrBucket is wrapped by every error about a bucket's name.
var ErrBucket = errors.New("not a bucket name")

// Prefixes and suffixes that S3 reserves, or that name something else than a bucket: an access point's alias, a
// multi-region access point, a directory bucket, an Object Lambda, a table bucket.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var (
	reservedPrefixes = []string{"xn--", "sthree-"}
	reservedSuffixes = []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"}
)

// CheckBucket says why a name is not a bucket's in S3's grammar: 3 to 63 characters of a-z, 0-9, '.' and '-', a letter or
// digit at both ends, no two dots together, no IP address, and nothing that S3 reserves. An error wraps [ErrBucket].
func CheckBucket(name string) error {
	if len(name) < 3 || len(name) > 63 {
		return fmt.Errorf("%w: it must have 3 to 63 characters", ErrBucket)
	}
	for i := range len(name) {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		switch {
		case alnum:
		case c != '.' && c != '-':
			return fmt.Errorf("%w: it may hold a-z, 0-9, '.' and '-' only", ErrBucket)
		case i == 0 || i == len(name)-1:
			return fmt.Errorf("%w: it must begin and end with a letter or a digit", ErrBucket)
		case c == '.' && name[i-1] == '.':
			return fmt.Errorf("%w: it must not hold two dots together", ErrBucket)
		}
	}
	// Only a name that ends in a digit can be an address, and parsing one is not for the hot path.
	if last := name[len(name)-1]; '0' <= last && last <= '9' && strings.Count(name, ".") == 3 {
		if _, err := netip.ParseAddr(name); err == nil {
			return fmt.Errorf("%w: it must not be an IP address", ErrBucket)
		}
	}
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(name, p) {
			return fmt.Errorf("%w: S3 reserves the prefix %s", ErrBucket, p)
		}
	}
	for _, s := range reservedSuffixes {
		if strings.HasSuffix(name, s) {
			return fmt.Errorf("%w: S3 reserves the suffix %s", ErrBucket, s)
		}
	}
	return nil
}

// IsPattern tells a pattern of bucket names from a name.
func IsPattern(s string) bool { return strings.IndexByte(s, '*') >= 0 }

// CheckPattern says why something is not a pattern of bucket names: a bucket name's characters, and * for any run of them.
// An error wraps [ErrBucket].
func CheckPattern(pattern string) error {
	if len(pattern) > 63 {
		return fmt.Errorf("%w: a pattern may have 63 characters at most", ErrBucket)
	}
	for i := range len(pattern) {
		if c := pattern[i]; c != '*' && c != '.' && c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Errorf("%w: a pattern may hold a-z, 0-9, '.', '-' and '*' only", ErrBucket)
		}
	}
	return nil
}

// MatchBucket tells whether a pattern matches a name. It takes time proportional to the product of their lengths at worst.
func MatchBucket(pattern, name string) bool {
	// The last star seen takes one character more each time the rest does not match.
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// Overlap tells whether some name could match both patterns, either of which may be a plain name.
func Overlap(a, b string) bool {
	// reach[j] says whether what is read of a so far and b[:j] have a string in common.
	reach := make([]bool, len(b)+1)
	reach[0] = true
	for j := 0; j < len(b) && b[j] == '*'; j++ {
		reach[j+1] = true
	}
	for i := range len(a) {
		next := make([]bool, len(b)+1)
		next[0] = reach[0] && a[i] == '*'
		for j := range len(b) {
			switch {
			case a[i] == '*':
				next[j+1] = reach[j+1] || next[j]
			case b[j] == '*':
				next[j+1] = next[j] || reach[j+1]
			default:
				next[j+1] = reach[j] && a[i] == b[j]
			}
		}
		reach = next
	}
	return reach[len(b)]
}
