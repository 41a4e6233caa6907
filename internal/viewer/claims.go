package viewer

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"

	strict "github.com/go-jose/go-jose/v4/json"
)

// claimSet has the claims of a token, by name.
type claimSet map[string]json.RawMessage

// get returns the claim with a name. If there is none, and the name has dots, it is a path through
// nested objects. ok is false if the claim is missing, or if something on the path is not an
// object.
func (c claimSet) get(name string) (claim json.RawMessage, ok bool) {
	if claim, ok = c[name]; ok {
		return claim, true
	}
	rest, more := name, true
	for more {
		name, rest, more = strings.Cut(rest, ".")
		if claim, ok = c[name]; !ok || !more {
			return claim, ok
		}
		if c, ok = membersOf(claim); !ok {
			return nil, false
		}
	}
	return nil, false
}

// membersOf returns the members of a claim. ok is false if the claim is not an object, or has a name
// twice: encoding/json would ignore all but the last of them. go-jose also rejects such names in
// the token's own claims.
func membersOf(claim json.RawMessage) (members claimSet, ok bool) {
	return members, strict.Unmarshal(claim, &members) == nil
}

// texts returns the strings in a claim that is a string or a list. ok is false if the claim is
// anything else.
func texts(claim json.RawMessage) (all []string, ok bool) {
	var one *string
	if json.Unmarshal(claim, &one) == nil && one != nil {
		return []string{*one}, true
	}
	var list []*string
	if json.Unmarshal(claim, &list) != nil || list == nil || slices.Contains(list, nil) {
		return nil, false
	}
	for _, text := range list {
		all = append(all, *text)
	}
	return all, true
}

// audiences returns the audiences in some claims. A claim that is missing, or that is neither a
// string nor a list of strings, has none.
func (c claimSet) audiences(names []string) (all []string) {
	for _, name := range names {
		if found, ok := texts(c[name]); ok {
			all = append(all, found...)
		}
	}
	return all
}

// requiredClaim is a value that a claim must have.
type requiredClaim struct{ name, value string }

// requiredClaims returns the claims of a configuration, ordered by name.
func requiredClaims(all map[string]string) (list []requiredClaim) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, requiredClaim{name, all[name]})
	}
	return list
}

// check returns the reason why c does not satisfy r, or "" if it does. The claim must be a string
// that equals the value, a list of strings that contains it, or a number, true or false that is
// written like it.
func (r requiredClaim) check(c claimSet) Reason {
	claim, ok := c.get(r.name)
	if !ok {
		return ReasonClaimMissing
	}
	if all, ok := texts(claim); ok {
		if slices.Contains(all, r.value) {
			return ""
		}
		return ReasonClaimWrong
	}
	// A string, a list, an object and null were excluded: their JSON must not count as their value.
	if text := string(claim); text != r.value || strings.ContainsAny(text[:1], `"[{n`) {
		return ReasonClaimWrong
	}
	return ""
}

// lower returns a name in lower case. Letters that are not the usual capitals of their lower case,
// such as the Kelvin sign and the Ångström sign, are unchanged: their names must not become those
// of other users.
func lower(name string) string {
	return strings.Map(func(r rune) rune {
		l := unicode.ToLower(r)
		if u := unicode.ToUpper(l); u == r || u == l || unicode.ToTitle(l) == r {
			return l
		}
		return r
	}, name)
}

// text returns a claim that is a string, or "".
func (c claimSet) text(name string) (text string) {
	if json.Unmarshal(c[name], &text) != nil {
		return ""
	}
	return text
}
