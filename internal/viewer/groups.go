package viewer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// errGroups means that a credential identifies a user but not the user's groups. Unknown groups are
// not the same as no groups, since a rule may deny one of them.
var errGroups = fmt.Errorf("%w: the viewer's groups are unknown", ErrUnknown)

// maxGroups bounds a token's groups, which are cached with it. A token with more is treated as one
// with unknown groups.
const maxGroups = 1024

// noValue is what reverse proxies that cannot send empty headers write for a missing value.
const noValue = "-"

// otherFormats are the characters of lists in other formats: authentik's bars, JSON, other
// brackets and percent-encoding. Such a list would be read as groups that no rule names.
const otherFormats = `|;"%()[]{}<>`

// parseGroupList returns a header's list of groups, separated by commas. ok is false if the list is
// in another format. Unless spaced is true, so is a list with a space in a group's name: spaces may
// be what separates its groups.
func parseGroupList(header string, spaced bool) (list string, ok bool) {
	list = strings.TrimSpace(header)
	if list == noValue {
		return "", true
	}
	if strings.ContainsAny(list, otherFormats) {
		return list, false
	}
	for rest := list; !spaced && rest != ""; {
		var group string
		group, rest, _ = strings.Cut(rest, ",")
		if hasSpace(strings.TrimSpace(group)) {
			return list, false
		}
	}
	return list, true
}

func hasSpace(s string) bool { return strings.ContainsFunc(s, unicode.IsSpace) }

// claimedGroups returns the groups in a token's claim. ok is false if the token does not state the
// viewer's groups.
func claimedGroups(claims map[string]json.RawMessage, name string) (groups []string, ok bool) {
	if isOverage(claims, name) {
		return nil, false
	}
	var one *string
	if json.Unmarshal(claims[name], &one) == nil && one != nil {
		if *one == "" {
			return nil, true
		}
		// A string with separators is a list in the provider's own format.
		return []string{*one}, !strings.ContainsAny(*one, ","+otherFormats) && !hasSpace(*one)
	}
	var all []*string
	if json.Unmarshal(claims[name], &all) != nil || all == nil || len(all) > maxGroups ||
		slices.Contains(all, nil) {
		return nil, false
	}
	for _, group := range all {
		groups = append(groups, *group)
	}
	return groups, true
}

// isOverage reports whether the provider left groups out of the token because there are too many.
// Microsoft Entra ID then names the claim in _claim_names (OpenID Connect Core 1.0, section 5.6.2)
// or, in tokens of the implicit flow, sends hasgroups.
func isOverage(claims map[string]json.RawMessage, name string) bool {
	if names, ok := claims["_claim_names"]; ok {
		var distributed map[string]json.RawMessage
		if json.Unmarshal(names, &distributed) != nil {
			return true
		}
		if _, ok := distributed[name]; ok {
			return true
		}
	}
	has, ok := claims["hasgroups"]
	return ok && name == "groups" && string(has) != "false"
}
