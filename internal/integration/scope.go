package integration

import (
	"fmt"

	"s3redirect/internal/locator"
)

// scope holds the prefixes of a bucket: those that integrations serve, and those that are blocked for
// all viewers.
type scope struct {
	served  locator.Prefixes[*Bucket]
	blocked locator.Prefixes[bool]
}

// addScope adds the prefix and the blocked prefixes of an integration, with the bucket that it has in
// previous, which may be nil.
func (s *Set) addScope(i *Integration, previous *Set) {
	c := i.config
	if c.Prefix == "" && len(c.BlockedPrefixes) == 0 {
		return
	}
	of := s.scopes[c.Bucket]
	if of == nil {
		of = &scope{}
		s.scopes[c.Bucket] = of
	}
	if c.Prefix != "" {
		b := &Bucket{Name: c.Bucket, Integration: i}
		if previous != nil {
			b, _ = previous.scopes[c.Bucket].served.Longest(c.Prefix)
		}
		of.served.Add(c.Prefix, b)
	}
	for _, prefix := range c.BlockedPrefixes {
		of.blocked.Add(prefix, true)
	}
}

// find returns the bucket of the integration with the longest prefix of a key, or nil if there is
// none. certain is false if a store may serve the same object for a key that another integration
// serves.
func (of *scope) find(key string) (b *Bucket, certain bool) {
	b, _ = of.served.Longest(key)
	for _, other := range locator.Spellings(key) {
		if found, _ := of.served.Longest(other); found != b {
			return nil, false
		}
	}
	return b, true
}

// Blocked reports whether an object is blocked for all viewers. Like a deny rule, a blocked prefix
// matches every key for which a store may serve an object under it. Blocked does not allocate for most
// keys.
func (s *Set) Blocked(l locator.Locator) bool {
	of := s.scopes[l.Bucket]
	if of == nil || of.blocked.Empty() {
		return false
	}
	blocked, _ := of.blocked.Longest(l.Key)
	for _, key := range locator.Spellings(l.Key) {
		found, _ := of.blocked.Longest(key)
		blocked = blocked || found
	}
	return blocked
}

// named returns the bucket of the integration that serves l by a prefix or by the bucket's name. If
// settled is true, no other integration may serve l, even if b is nil.
func (s *Set) named(l locator.Locator) (b *Bucket, settled bool) {
	if of := s.scopes[l.Bucket]; of != nil {
		if b, certain := of.find(l.Key); b != nil || !certain {
			return b, true
		}
	}
	b, settled = s.buckets[l.Bucket]
	return b, settled
}

// ServesWithin reports whether an integration has a prefix that begins with l's key, which is empty
// or ends in a slash.
func (s *Set) ServesWithin(l locator.Locator) bool {
	of := s.scopes[l.Bucket]
	return of != nil && of.served.Within(l.Key)
}

// unserved returns the error about an object that no integration serves.
func (s *Set) unserved(l locator.Locator) error {
	if s.scopes[l.Bucket] != nil {
		return fmt.Errorf("no integration serves this key of bucket %s", l.Bucket)
	}
	return fmt.Errorf("no integration serves bucket %s", l.Bucket)
}
