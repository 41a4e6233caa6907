package locator

import (
	"errors"
	"slices"
	"strings"
)

// Errors of [CheckPrefix].
var (
	ErrPrefixEnd    = errors.New("it must end in a slash")
	ErrPrefixNormal = errors.New("it has a leading slash, repeated slashes or a backslash, " +
		"which some stores change")
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
// repeated ones, and SeaweedFS treats a backslash as a slash.
func NormalizeKey(key string) string {
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
