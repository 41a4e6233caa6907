package locator

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// Errors of [CheckPrefix].
var (
	ErrPrefixEnd    = errors.New("it must end in a slash")
	ErrPrefixNormal = errors.New("it has a leading slash, repeated slashes, a backslash or another " +
		"character that some stores change")
	ErrPrefixControl = errors.New("it contains a control character")
)

// CheckPrefix returns an error if prefix is not a valid prefix of keys: a valid key that ends in a
// slash, has no control characters, and is its own [NormalizeKey].
func CheckPrefix(prefix string) error {
	if err := CheckKey(prefix); err != nil {
		return err
	}
	switch {
	case !strings.HasSuffix(prefix, "/"):
		return ErrPrefixEnd
	case NormalizeKey(prefix) != prefix:
		return ErrPrefixNormal
	case hasControl(prefix):
		return ErrPrefixControl
	}
	return nil
}

// NormalizeKey returns the key of the object that a store may serve for key. AWS and Ceph do not
// change keys. MinIO, versitygw and SeaweedFS drop leading slashes, versitygw and SeaweedFS merge
// repeated ones, and SeaweedFS treats a backslash as a slash. R2 composes characters (Unicode's NFC),
// of which three become ASCII. Others matter only to keys that are not ASCII themselves.
func NormalizeKey(key string) string {
	if !IsASCII(key) && (strings.Contains(key, "\u212a") || strings.Contains(key, "\u037e") ||
		strings.Contains(key, "\u1fef")) {
		key = singletons.Replace(key)
	}
	if !strings.HasPrefix(key, "/") && !strings.Contains(key, "//") &&
		strings.IndexByte(key, '\\') < 0 {
		return key
	}
	b := make([]byte, 0, len(key))
	for i := range len(key) {
		c := key[i]
		if c == '\\' {
			c = '/'
		}
		if c != '/' || len(b) > 0 && b[len(b)-1] != '/' {
			b = append(b, c)
		}
	}
	return string(b)
}

// IsASCII reports whether s contains only ASCII characters.
func IsASCII(s string) bool {
	for n := range len(s) {
		if s[n] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// singletons replaces the characters whose composed form is ASCII: the Kelvin sign, the Greek
// question mark and the Greek varia.
// https://developers.cloudflare.com/r2/reference/unicode-interoperability/
var singletons = strings.NewReplacer("\u212a", "K", "\u037e", ";", "\u1fef", "`")

// folderSuffix is what MinIO stores in place of the slash at the end of a key. It serves the object
// under either key.
const folderSuffix = "__XLDIR__"

// FolderKey returns the key under which MinIO serves the same object as the normalized key: one that
// ends in a slash. ok is false if there is none.
func FolderKey(key string) (folder string, ok bool) {
	if folder, ok = strings.CutSuffix(key, folderSuffix); ok {
		folder += "/"
	}
	return folder, ok
}

// Spellings returns the other keys whose objects a store may serve for key: its [NormalizeKey] and
// the [FolderKey] of that. Most keys have none.
func Spellings(key string) (others []string) {
	normalized := NormalizeKey(key)
	if normalized != key {
		others = append(others, normalized)
	}
	if folder, ok := FolderKey(normalized); ok {
		others = append(others, folder)
	}
	return others
}

// Prefixes maps prefixes of keys to values. The zero value is empty and ready to use.
type Prefixes[T any] struct {
	values  map[string]T
	lengths []int // of the prefixes, each once, the longest first
}

// Add maps prefix, which must end in a slash, to v.
func (p *Prefixes[T]) Add(prefix string, v T) {
	if p.values == nil {
		p.values = map[string]T{}
	}
	p.values[prefix] = v
	descending := func(a, b int) int { return b - a }
	if n, found := slices.BinarySearchFunc(p.lengths, len(prefix), descending); !found {
		p.lengths = slices.Insert(p.lengths, n, len(prefix))
	}
}

// Empty reports whether there are no prefixes.
func (p *Prefixes[T]) Empty() bool { return len(p.values) == 0 }

// Longest returns the value of the longest prefix of key. It does not allocate. It looks at each of
// the lengths that prefixes have, of which there are at most [MaxKeyBytes].
func (p *Prefixes[T]) Longest(key string) (v T, ok bool) {
	for _, n := range p.lengths {
		if n > len(key) || key[n-1] != '/' {
			continue
		}
		if v, ok = p.values[key[:n]]; ok {
			return v, true
		}
	}
	return v, false
}

// Within reports whether a prefix begins with folder. It looks at all prefixes.
func (p *Prefixes[T]) Within(folder string) bool {
	for prefix := range p.values {
		if strings.HasPrefix(prefix, folder) {
			return true
		}
	}
	return false
}
