package locator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ErrBucket is wrapped by all errors about bucket names and patterns.
var ErrBucket = errors.New("not a bucket name")

// Prefixes and suffixes that S3 reserves, among others for Object Lambda access points, Outposts,
// multi-region access points, directory buckets and table buckets.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var (
	reservedPrefixes = []string{"xn--", "sthree-"}
	reservedSuffixes = []string{"--ol-s3", "--op-s3", ".mrap", "--x-s3", "--xa-s3", "--table-s3"}
)

// IsAlias reports whether name is the alias of an access point, which stands for a bucket.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
func IsAlias(name string) bool { return strings.HasSuffix(name, "-s3alias") }

// IsReserved reports whether name has a prefix or a suffix that S3 reserves, or is an alias.
func IsReserved(name string) bool {
	hasPrefix := func(p string) bool { return strings.HasPrefix(name, p) }
	hasSuffix := func(s string) bool { return strings.HasSuffix(name, s) }
	return IsAlias(name) || slices.ContainsFunc(reservedPrefixes, hasPrefix) ||
		slices.ContainsFunc(reservedSuffixes, hasSuffix)
}

// CheckBucket returns an error that wraps [ErrBucket] if name is not a valid bucket name. A bucket
// name has 3 to 63 characters of a-z, 0-9, '.' and '-', begins and ends with a letter or digit,
// does not contain "..", and is not an IP address. S3 reserves some prefixes and suffixes. The
// alias of an access point is valid.
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
			return fmt.Errorf("%w: it may contain only a-z, 0-9, '.' and '-'", ErrBucket)
		case i == 0 || i == len(name)-1:
			return fmt.Errorf("%w: it must begin and end with a letter or a digit", ErrBucket)
		case c == '.' && name[i-1] == '.':
			return fmt.Errorf("%w: it must not contain two adjacent dots", ErrBucket)
		}
	}
	// Parsing an address is too slow for the hot path, so try only names that look like one.
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

// CheckStoreBucket returns an error that wraps [ErrBucket] if no store has buckets with the name. A
// name has 3 to 255 characters of A-Z, a-z, 0-9, '.', '-' and '_', begins and ends with a letter,
// digit or '_', and does not contain "..". None of them change in a URL. AWS allowed such names
// before 2018, and compatible stores do; each store accepts some of them. Names that begin with a
// dot are internal to some stores.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
// https://docs.ceph.com/en/latest/radosgw/config-ref/ (rgw_relaxed_s3_bucket_names)
func CheckStoreBucket(name string) error {
	if len(name) < 3 || len(name) > 255 {
		return fmt.Errorf("%w: it must have 3 to 255 characters", ErrBucket)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case isWord(c):
		case c != '.' && c != '-':
			return fmt.Errorf("%w: it may contain only A-Z, a-z, 0-9, '.', '-' and '_'", ErrBucket)
		case i == 0 || i == len(name)-1:
			return fmt.Errorf("%w: it must begin and end with a letter, a digit or '_'", ErrBucket)
		case c == '.' && name[i-1] == '.':
			return fmt.Errorf("%w: it must not contain two adjacent dots", ErrBucket)
		}
	}
	return nil
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// IsHostLabel reports whether a valid bucket name can be the beginning of a host name. Browsers
// convert capitals in hosts to lower case, and reject invalid xn-- labels.
func IsHostLabel(name string) bool {
	return !HasCapital(name) && !strings.Contains(name, "xn--") && !slices.ContainsFunc(
		strings.Split(name, "."), func(label string) bool { return len(label) > 63 })
}

// HasCapital reports whether a bucket name or a pattern contains a capital letter.
func HasCapital(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return 'A' <= r && r <= 'Z' })
}

// IsPattern reports whether s is a pattern and not a bucket name.
func IsPattern(s string) bool { return strings.IndexByte(s, '*') >= 0 }

// CheckPattern returns an error that wraps [ErrBucket] if pattern is not a valid pattern of bucket
// names. A pattern consists of the characters of bucket names, and of *, which matches any number
// of them.
func CheckPattern(pattern string) error {
	if len(pattern) > 63 {
		return fmt.Errorf("%w: a pattern must not have more than 63 characters", ErrBucket)
	}
	for i := range len(pattern) {
		c := pattern[i]
		if c != '*' && c != '.' && c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Errorf("%w: a pattern may contain only a-z, 0-9, '.', '-' and '*'",
				ErrBucket)
		}
	}
	return nil
}

// CheckStorePattern returns an error that wraps [ErrBucket] if pattern is not a valid pattern of
// the names that [CheckStoreBucket] accepts.
func CheckStorePattern(pattern string) error {
	if len(pattern) > 255 {
		return fmt.Errorf("%w: a pattern must not have more than 255 characters", ErrBucket)
	}
	for i := range len(pattern) {
		if c := pattern[i]; c != '*' && c != '.' && c != '-' && !isWord(c) {
			return fmt.Errorf("%w: a pattern may contain only A-Z, a-z, 0-9, '.', '-', '_' and '*'",
				ErrBucket)
		}
	}
	return nil
}

// MatchBucket reports whether pattern matches name. Its worst-case time is proportional to the
// product of their lengths.
func MatchBucket(pattern, name string) bool {
	// On a mismatch, backtrack to the last star and let it match one more character.
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

// Overlap reports whether a name exists that matches both a and b. Each is a pattern or a name.
func Overlap(a, b string) bool {
	// reach[j] reports whether a string matches both the prefix of a that has been read and b[:j].
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
