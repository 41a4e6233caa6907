package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"s3redirect/internal/locator"
)

// checkPrefixes checks the prefix and the blocked prefixes of an integration, without the others.
func (k *checker) checkPrefixes(at string, i *Integration) {
	if i.Prefix != "" {
		k.checkPrefix(at+".prefix", i, i.Prefix)
	}
	k.needItems(at+".blocked_prefixes", i.BlockedPrefixes)
	seen := map[string]bool{}
	for n, blocked := range i.BlockedPrefixes {
		key := at + ".blocked_prefixes[" + strconv.Itoa(n) + "]"
		switch {
		case !k.checkPrefix(key, i, blocked):
		case seen[blocked]:
			k.wrong(key, "%s is listed twice; once is enough", value(key))
		case blocked == i.Prefix:
			k.wrong(key, "%s is the whole prefix, so nothing would be left to serve; "+
				"remove it, or the integration", value(key))
		case !strings.HasPrefix(blocked, i.Prefix):
			k.wrong(key, "%s is not under the prefix %s; blocked prefixes are whole, "+
				"from the bucket's root", value(key), value(at+".prefix")).
				Needs = []string{at + ".prefix"}
		}
		seen[blocked] = true
	}
}

// checkPrefix checks a prefix or a blocked prefix, and reports whether it is valid.
func (k *checker) checkPrefix(key string, i *Integration, prefix string) bool {
	err := locator.CheckPrefix(prefix)
	switch {
	case i.Bucket == "" && len(i.PermittedBuckets) > 0:
		k.wrong(key, "a prefix belongs to one bucket; write bucket instead of permitted_buckets")
	case err != nil:
		k.wrong(key, "%s is not a prefix: %v", value(key), err)
	case i.isR2() && !locator.IsASCII(prefix):
		k.wrong(key, "%s has characters that R2 normalizes, so that other keys name the same "+
			"objects; use ASCII", value(key))
	default:
		return true
	}
	return false
}

// checkFoldedPrefixes rejects prefixes that, but for case, are another prefix of the bucket or are
// under one, unless the store is AWS. A store whose file system ignores case would serve the objects
// of one under the other.
func (k *checker) checkFoldedPrefixes(claims []claim) {
	folded := map[string]claim{}
	name := func(bucket, prefix string) string { return bucket + "/" + strings.ToLower(prefix) }
	for _, c := range claims {
		if _, taken := folded[name(c.bucket, c.prefix)]; c.prefix != "" && !taken {
			folded[name(c.bucket, c.prefix)] = c
		}
	}
	for _, c := range claims {
		for n := range len(c.prefix) {
			if c.prefix[n] != '/' {
				continue
			}
			other, taken := folded[name(c.bucket, c.prefix[:n+1])]
			if !taken || other.prefix == c.prefix[:n+1] ||
				c.integration.IsAWS() && other.integration.IsAWS() {
				continue
			}
			how := "differs only in case from"
			if n+1 < len(c.prefix) {
				how = "is, but for case, under"
			}
			k.wrong(c.key, "%s %s the prefix %s %s, and some stores ignore case; choose another",
				value(c.key), how, value(other.key), place{other.key, c.key})
			break
		}
	}
}

// checkBlocked warns about blocked prefixes that leave another integration nothing to serve.
func (k *checker) checkBlocked(claims []claim) {
	blocked := map[string]*locator.Prefixes[string]{} // their keys, by bucket
	for n, i := range k.Integrations {
		for m, prefix := range i.BlockedPrefixes {
			if blocked[i.Bucket] == nil {
				blocked[i.Bucket] = &locator.Prefixes[string]{}
			}
			if i.Prefix == "" || !strings.HasPrefix(i.Prefix, prefix) {
				blocked[i.Bucket].Add(prefix, fmt.Sprintf("%s.blocked_prefixes[%d]", itemKey(n), m))
			}
		}
	}
	for _, c := range claims {
		if c.prefix == "" || blocked[c.bucket] == nil {
			continue
		}
		if key, ok := blocked[c.bucket].Longest(c.prefix); ok {
			k.warn(key, "%s blocks all that integration %s serves %s", value(key),
				c.integration.Name, place{c.key, key})
		}
	}
}

// ServedBy returns the integration that serves an object: the one with the longest prefix of its
// key, or else one that names the bucket, or else one with a pattern. It returns none if a store may
// serve the object for a key that another integration serves. It takes no account of
// [Config.Blocked].
func (c *Config) ServedBy(l locator.Locator) (found *Integration, ok bool) {
	found = c.servedBy(l)
	for _, key := range locator.Spellings(l.Key) {
		if c.servedBy(locator.Locator{Bucket: l.Bucket, Key: key}) != found {
			return nil, false
		}
	}
	return found, found != nil
}

// servedBy is like ServedBy for a store that serves each object under its own key only.
func (c *Config) servedBy(l locator.Locator) (found *Integration) {
	const pattern, name = 1, 2 // longer prefixes have higher ranks
	best := 0
	for _, i := range c.Integrations {
		rank := 0
		switch {
		case i.Prefix != "" && i.Bucket == l.Bucket && strings.HasPrefix(l.Key, i.Prefix):
			rank = name + len(i.Prefix)
		case i.Prefix == "" && slices.Contains(i.Buckets(), l.Bucket):
			rank = name
		case slices.ContainsFunc(i.PermittedBuckets, func(p string) bool {
			return locator.IsPattern(p) && i.MatchBucket(p, l.Bucket)
		}):
			rank = pattern
		}
		if rank > best {
			best, found = rank, i
		}
	}
	return found
}

// Blocked returns the integration that blocks an object for all viewers. Like a deny rule, a blocked
// prefix matches every key for which a store may serve an object that is under it.
func (c *Config) Blocked(l locator.Locator) (by *Integration, ok bool) {
	keys := append(locator.Spellings(l.Key), l.Key)
	for _, i := range c.Integrations {
		for _, prefix := range i.BlockedPrefixes {
			if i.Bucket == l.Bucket && slices.ContainsFunc(keys, func(key string) bool {
				return strings.HasPrefix(key, prefix)
			}) {
				return i, true
			}
		}
	}
	return nil, false
}
