package viewer

import (
	"slices"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// Rules decide who may read what. Without any rule, every viewer may read everything.
type Rules struct {
	rules        []rule
	nameGroups   bool // a rule depends on the viewer's groups
	spacedGroups bool // a rule names a group with a space in its name
}

// Decision is the result of [Rules.Decide].
type Decision struct {
	Allowed bool
	// Rule is the number of the rule that decided, starting at 1. It is 0 if no rule matches.
	Rule int
}

// NewRules returns the rules of a valid configuration.
func NewRules(rules []config.Rule) *Rules {
	r := &Rules{}
	for n := range rules {
		r.rules = append(r.rules, newRule(&rules[n]))
		r.nameGroups = r.nameGroups || len(rules[n].Groups) > 0
		r.spacedGroups = r.spacedGroups || slices.ContainsFunc(rules[n].Groups, hasSpace)
	}
	return r
}

// Decide reports whether v may read l. The first rule that matches both decides; if none matches,
// the answer is no. A viewer with a signed link may always read l: [Links.Check] has checked that
// the link includes it, and the rules were applied to the viewer who made it.
func (r *Rules) Decide(v *Viewer, l locator.Locator) Decision {
	if v.link || len(r.rules) == 0 {
		return Decision{Allowed: true}
	}
	normalized := locator.NormalizeKey(l.Key)
	for n := range r.rules {
		switch rule := &r.rules[n]; {
		case rule.deny && rule.denies(v, l.Bucket, normalized):
			return Decision{Rule: n + 1}
		case !rule.deny && rule.allows(v, l):
			return Decision{Allowed: true, Rule: n + 1}
		}
	}
	return Decision{}
}

// AllowTarget reports whether v may read everything that a link to t would serve. One rule must
// allow all of it, and no rule before that one may deny a part.
func (r *Rules) AllowTarget(v *Viewer, t Target) bool {
	if !t.Prefix {
		return r.Decide(v, t.Locator).Allowed
	}
	if v.link || len(r.rules) == 0 {
		return true
	}
	for n := range r.rules {
		rule := &r.rules[n]
		if !rule.appliesTo(v) {
			continue
		}
		for m := range rule.patterns {
			p := &rule.patterns[m]
			if rule.deny && p.intersects(v, t) {
				return false
			}
			if !rule.deny && p.open && p.matches(v, t.Locator) {
				return true
			}
		}
	}
	return false
}

// rule allows or denies some viewers the objects that its patterns match.
type rule struct {
	users, groups    map[string]struct{}
	lowerUsers       map[string]struct{} // for viewers whose names are in lower case
	known, anonymous bool
	deny             bool
	patterns         []pattern
}

// pattern is a rule's locator.
type pattern struct {
	bucket string
	// parts are the literal parts of the key, which the viewer's name separates. Those of a deny
	// rule are normalized.
	parts []string
	// open means that a matching key may continue after the last part.
	open bool
}

func newRule(c *config.Rule) rule {
	r := rule{
		users:      setOf(c.Users),
		lowerUsers: map[string]struct{}{},
		groups:     setOf(c.Groups),
		known:      c.Known,
		anonymous:  c.Anonymous,
		deny:       c.Deny,
	}
	for _, user := range c.Users {
		r.lowerUsers[lower(user)] = struct{}{}
	}
	for _, text := range c.Locators {
		bucket, key, _ := strings.Cut(strings.TrimPrefix(text, locator.Scheme), "/")
		literal, open := strings.CutSuffix(key, "*")
		if c.Deny {
			literal = locator.NormalizeKey(literal)
		}
		r.patterns = append(r.patterns, pattern{
			bucket: bucket,
			parts:  strings.Split(literal, config.UserPlaceholder),
			open:   open,
		})
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

// slashes are the characters that some store treats as a slash.
const slashes = `/\`

// allows reports whether r, an allow rule, allows v to read l. It compares the key exactly as the
// client sent it.
func (r *rule) allows(v *Viewer, l locator.Locator) bool {
	if !r.appliesTo(v) {
		return false
	}
	for n := range r.patterns {
		if r.patterns[n].matches(v, l) {
			return true
		}
	}
	return false
}

// denies reports whether r, a deny rule, denies v the object with a normalized key.
func (r *rule) denies(v *Viewer, bucket, key string) bool {
	if !r.appliesTo(v) {
		return false
	}
	folder, isFolder := locator.FolderKey(key)
	for n := range r.patterns {
		p := &r.patterns[n]
		if p.denies(v, bucket, key) || isFolder && p.denies(v, bucket, folder) {
			return true
		}
	}
	return false
}

// appliesTo reports whether r names v.
func (r *rule) appliesTo(v *Viewer) bool {
	if v.ID == "" {
		return r.anonymous
	}
	if r.known {
		return true
	}
	users := r.users
	if v.lower {
		users = r.lowerUsers
	}
	if _, ok := users[v.ID]; ok {
		return true
	}
	return v.in(r.groups)
}

func (p *pattern) inBucket(bucket string) bool {
	return p.bucket == bucket ||
		locator.IsPattern(p.bucket) && locator.MatchBucket(p.bucket, bucket)
}

// matches reports whether p, an allow rule's pattern, matches l for v.
func (p *pattern) matches(v *Viewer, l locator.Locator) bool {
	rest, ok := p.cut(v, l)
	return ok && (p.open || rest == "")
}

// cut returns what follows the pattern's parts in l's key. ok reports whether the key begins with
// them. The placeholder matches the viewer's name byte by byte. It does not match a name with a
// slash or a backslash, which would be a path.
func (p *pattern) cut(v *Viewer, l locator.Locator) (rest string, ok bool) {
	if !p.inBucket(l.Bucket) {
		return "", false
	}
	if len(p.parts) > 1 && (v.ID == "" || strings.ContainsAny(v.ID, slashes)) {
		return "", false
	}
	rest = l.Key
	for n, part := range p.parts {
		if n > 0 {
			if rest, ok = strings.CutPrefix(rest, v.ID); !ok {
				return "", false
			}
		}
		if rest, ok = strings.CutPrefix(rest, part); !ok {
			return "", false
		}
	}
	return rest, true
}

// denies reports whether p, a deny rule's pattern, matches a normalized key for v. A pattern for
// one object also matches every key that continues after it with a slash: MinIO serves the members
// of an archive x.zip under x.zip/.
func (p *pattern) denies(v *Viewer, bucket, key string) bool {
	if len(p.parts) > 1 && strings.ContainsAny(v.ID, slashes) {
		literal, _ := p.literal(v)
		return p.inBucket(bucket) && strings.HasPrefix(key, literal)
	}
	rest, ok := p.cut(v, locator.Locator{Bucket: bucket, Key: key})
	return ok && (p.open || rest == "" || rest[0] == '/')
}

// literal returns the normalized key of p, a deny rule's pattern, for v. open reports whether a
// matching key may continue after it. It is unknown which folder belongs to a name with a slash or
// a backslash, so for that viewer the pattern matches everything that begins with its part before
// the placeholder.
func (p *pattern) literal(v *Viewer) (key string, open bool) {
	if len(p.parts) > 1 && strings.ContainsAny(v.ID, slashes) {
		return p.parts[0], true
	}
	return locator.NormalizeKey(strings.Join(p.parts, v.ID)), p.open
}

// intersects reports whether p, a deny rule's pattern, matches any key that begins with t's key, in
// any spelling of its slashes.
func (p *pattern) intersects(v *Viewer, t Target) bool {
	prefix := locator.NormalizeKey(t.Key)
	literal, open := p.literal(v)
	folder := literal
	if !open {
		folder += "/"
	}
	return p.inBucket(t.Bucket) &&
		(strings.HasPrefix(literal, prefix) || strings.HasPrefix(prefix, folder))
}
