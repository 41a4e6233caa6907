package viewer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// errGroups means a credential proves who the viewer is, and does not say which groups the viewer
// is in. A rule may deny one of them something: unknown groups are not the same as none.
var errGroups = fmt.Errorf("%w: the viewer's groups are unknown", ErrUnknown)

// maxGroups bounds a token's groups, which are kept with it. More are as good as unknown.
const maxGroups = 1024

// noValue is what reverse proxies write for a value that is missing, since some of them send no
// empty headers.
const noValue = "-"

// parseGroupList returns a header's list of groups, separated by commas. It reports false if the
// list is written in another way: the groups in it would pass for one group that no rule names.
func parseGroupList(header string) (list string, ok bool) {
	list = strings.TrimSpace(header)
	if list == noValue {
		return "", true
	}
	// authentik separates groups by a bar; brackets and quotes begin JSON.
	return list, !strings.ContainsAny(list, "|;") && (list == "" || !strings.ContainsRune(`[{"`, rune(list[0])))
}

// claimedGroups returns the groups in a token's claim. It reports false if the token does not say
// which groups the viewer is in.
func claimedGroups(claims map[string]json.RawMessage, name string) (groups []string, ok bool) {
	if isOverage(claims, name) {
		return nil, false
	}
	var one *string
	if json.Unmarshal(claims[name], &one) == nil && one != nil {
		if *one == "" {
			return nil, true
		}
		// A text with separators is a list in a format of the provider's own.
		return []string{*one}, !strings.ContainsAny(*one, ",|; ")
	}
	var all []*string
	if json.Unmarshal(claims[name], &all) != nil || all == nil || slices.Contains(all, nil) || len(all) > maxGroups {
		return nil, false
	}
	for _, group := range all {
		groups = append(groups, *group)
	}
	return groups, true
}

// isOverage reports whether the provider left groups out of the token because they are too many.
// Microsoft Entra ID then names the claim in _claim_names (OpenID Connect Core 1.0, section 5.6.2)
// or, in tokens of the implicit flow, sends hasgroups.
func isOverage(claims map[string]json.RawMessage, name string) bool {
	if names, ok := claims["_claim_names"]; ok {
		var elsewhere map[string]json.RawMessage
		if json.Unmarshal(names, &elsewhere) != nil {
			return true
		}
		if _, ok := elsewhere[name]; ok {
			return true
		}
	}
	has, ok := claims["hasgroups"]
	return ok && name == "groups" && string(has) != "false"
}
