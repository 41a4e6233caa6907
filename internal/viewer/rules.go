package viewer

import (
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// rule says who may, or may not, read what.
type rule struct {
	users, groups    map[string]struct{}
	known, anonymous bool
	deny             bool
	patterns         []pattern
}

// pattern is a rule's locator.
type pattern struct {
	bucket string
	// parts are the key's, between which the viewer's name stands.
	parts []string
	// open means that the key may go on.
	open bool
}

func newRule(c *config.Rule) rule {
	r := rule{users: setOf(c.Users), groups: setOf(c.Groups), known: c.Known, anonymous: c.Anonymous, deny: c.Deny}
	for _, text := range c.Locators {
		bucket, key, _ := strings.Cut(strings.TrimPrefix(text, "s3://"), "/")
		literal, open := strings.CutSuffix(key, "*")
		r.patterns = append(r.patterns, pattern{bucket: bucket, parts: strings.Split(literal, config.UserPlaceholder), open: open})
	}
	return r
}

func setOf(names []string) map[string]struct{} {
	set := make(map[string]struct{}, len(names))
	for _, n := range names {
		set[n] = struct{}{}
	}
	return set
}

// matches tells whether the rule is about a viewer and an object.
func (r *rule) matches(v *Viewer, l locator.Locator) bool {
	if !r.about(v) {
		return false
	}
	for n := range r.patterns {
		if r.patterns[n].matches(v, l) {
			return true
		}
	}
	return false
}

func (r *rule) about(v *Viewer) bool {
	if v.ID == "" {
		return r.anonymous
	}
	if r.known {
		return true
	}
	if _, ok := r.users[v.ID]; ok {
		return true
	}
	return v.in(r.groups)
}

// matches tells whether an object is one that the pattern means. The viewer's name stands for itself and nothing else: one
// that holds a slash would be a path, and is no folder's name.
func (p *pattern) matches(v *Viewer, l locator.Locator) bool {
	if p.bucket != l.Bucket && (!locator.IsPattern(p.bucket) || !locator.MatchBucket(p.bucket, l.Bucket)) {
		return false
	}
	if len(p.parts) > 1 && (v.ID == "" || strings.Contains(v.ID, "/")) {
		return false
	}
	rest := l.Key
	for n, part := range p.parts {
		var ok bool
		if n > 0 {
			if rest, ok = strings.CutPrefix(rest, v.ID); !ok {
				return false
			}
		}
		if rest, ok = strings.CutPrefix(rest, part); !ok {
			return false
		}
	}
	return p.open || rest == ""
}

// AllowTarget decides whether a viewer may read all that a link would be for: one rule must allow the whole of it, and none
// before that may deny a part.
func (g *Gate) AllowTarget(v *Viewer, t Target) bool {
	if !t.Prefix {
		return g.Allow(v, t.Locator).Allowed
	}
	if v.link || len(g.rules) == 0 {
		return true
	}
	for n := range g.rules {
		r := &g.rules[n]
		if !r.about(v) {
			continue
		}
		for m := range r.patterns {
			if r.deny && r.patterns[m].touches(v, t) {
				return false
			}
			if !r.deny && r.patterns[m].open && r.patterns[m].matches(v, t.Locator) {
				return true
			}
		}
	}
	return false
}

// touches tells whether a pattern could mean an object whose key begins with the target's.
func (p *pattern) touches(v *Viewer, t Target) bool {
	if p.matches(v, t.Locator) {
		return true
	}
	// As far as the pattern's key is known it must begin like the target's, or the other way round.
	key := p.parts[0]
	if len(p.parts) > 1 {
		key = strings.Join(p.parts, v.ID)
	}
	bucket := p.bucket == t.Bucket || locator.IsPattern(p.bucket) && locator.MatchBucket(p.bucket, t.Bucket)
	return bucket && strings.HasPrefix(key, t.Key)
}
