package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// scope is the part of scopedBucket that an integration serves, instead of buckets.
type scope struct {
	on      bool
	prefix  string // "" for what is under no other's prefix
	blocked []string
}

// scopedBucket has integrations for prefixes. An integration whose pattern matches it serves the rest.
const scopedBucket = "team-a"

// prefixes are the prefixes of integrations, and blockedPrefixes what may be blocked. Some are nested,
// and some blocked prefixes are another integration's prefix.
var (
	prefixes        = []string{"users/", "users/ann/", "private/", "private/deep/", "public/", ""}
	blockedPrefixes = []string{"users/ann/", "users/bob/", "users/ann/raw/", "private/deep/", "lab/"}
)

// freeScope returns a scope whose prefix no integration has, not even an absent one.
func (s *settings) freeScope(r *rand.Rand) scope {
	first := r.IntN(len(prefixes))
	for n := range prefixes {
		prefix := prefixes[(first+n)%len(prefixes)]
		taken := slices.ContainsFunc(s.integrations, func(one role) bool {
			return one.scope.on && one.scope.prefix == prefix
		})
		if !taken {
			return scope{on: true, prefix: prefix, blocked: randomBlocked(prefix, r)}
		}
	}
	return scope{}
}

// randomBlocked returns blocked prefixes under a prefix.
func randomBlocked(prefix string, r *rand.Rand) (blocked []string) {
	for _, b := range blockedPrefixes {
		if b != prefix && strings.HasPrefix(b, prefix) && r.IntN(3) == 0 {
			blocked = append(blocked, b)
		}
	}
	return blocked
}

// changeScope moves an integration's scope to another integration and that one's to it, or blocks
// other prefixes, or gives the integration another scope or none.
func (s *settings) changeScope(one *role, r *rand.Rand) {
	other := &s.integrations[r.IntN(len(s.integrations))]
	switch {
	case other.scope.on != one.scope.on || other != one && one.scope.on && r.IntN(2) == 0:
		one.scope, other.scope = other.scope, one.scope
	case one.scope.on && r.IntN(2) == 0:
		one.scope.blocked = randomBlocked(one.scope.prefix, r)
	case one.scope.on && r.IntN(3) == 0:
		one.scope = scope{}
	default:
		one.scope = s.freeScope(r)
	}
}

// text returns the scope's lines in the configuration file.
func (o *scope) text() string {
	text := "    bucket: " + scopedBucket + "\n"
	if o.prefix != "" {
		text += fmt.Sprintf("    prefix: %q\n", o.prefix)
	}
	if len(o.blocked) > 0 {
		text += fmt.Sprintf("    blocked_prefixes: [\"%s\"]\n", strings.Join(o.blocked, `", "`))
	}
	return text
}

// servedBy returns the role that serves an object: of those with a prefix of the key the one with the
// longest, or else the one that names the bucket, or else the first whose pattern matches. It returns
// nil if there is none, or if another role serves another spelling of the key.
func (s *settings) servedBy(bucket, key string) *role {
	found := s.byPrefix(bucket, key)
	for _, other := range spellings(key) {
		if s.byPrefix(bucket, other) != found {
			return nil
		}
	}
	if found != nil {
		return found
	}
	for n := range s.integrations {
		r := &s.integrations[n]
		served, named := r.serves(bucket)
		switch {
		case named:
			return r
		case served && found == nil:
			found = r
		}
	}
	return found
}

// byPrefix returns the role with the longest prefix of a key, or nil.
func (s *settings) byPrefix(bucket, key string) (found *role) {
	for n := range s.integrations {
		r := &s.integrations[n]
		if r.absent || !r.scope.on || r.scope.prefix == "" || bucket != scopedBucket ||
			!strings.HasPrefix(key, r.scope.prefix) {
			continue
		}
		if found == nil || len(r.scope.prefix) > len(found.scope.prefix) {
			found = r
		}
	}
	return found
}

// mayServe returns the roles that serve some object of a bucket.
func (s *settings) mayServe(bucket string) (roles []*role) {
	for n := range s.integrations {
		r := &s.integrations[n]
		served, _ := r.serves(bucket)
		if served || !r.absent && r.scope.on && bucket == scopedBucket {
			roles = append(roles, r)
		}
	}
	return roles
}

// blocked reports whether an object, or one that a store may serve for its key, is under a blocked
// prefix of any role.
func (s *settings) blocked(bucket, key string) bool {
	for _, spelling := range append(spellings(key), key) {
		for n := range s.integrations {
			r := &s.integrations[n]
			if r.absent || !r.scope.on || bucket != scopedBucket {
				continue
			}
			if slices.ContainsFunc(r.scope.blocked, func(b string) bool { return strings.HasPrefix(spelling, b) }) {
				return true
			}
		}
	}
	return false
}

// spellings returns the keys whose objects some store may serve for a key.
func spellings(key string) []string {
	flat := flatten(key)
	if folder, ok := strings.CutSuffix(flat, "__XLDIR__"); ok {
		return []string{flat, folder + "/"}
	}
	return []string{flat}
}

// object returns an object that a role serves, if there is one.
func (s *settings) object(number int) (bucket, key string) {
	r := &s.integrations[number]
	if r.scope.on {
		for _, key := range objectKeys {
			if s.servedBy(scopedBucket, key) == r && !s.blocked(scopedBucket, key) {
				return scopedBucket, key
			}
		}
	}
	return bucketOf(number), objectKeys[0]
}
