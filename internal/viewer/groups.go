package viewer

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// errGroups means that a reverse proxy names a user but not the user's groups. Unknown groups are
// not the same as no groups, since a rule may deny one of them.
var errGroups = refuse(MethodForwarded, ReasonGroups)

// maxGroups bounds a token's groups, which are cached with it. A token with more is treated as one
// with unknown groups.
const maxGroups = 1024

// noValue is what reverse proxies that cannot send empty headers write for a missing value.
const noValue = "-"

// otherFormats are the characters of lists in other formats: authentik's bars, JSON, other
// brackets and percent-encoding. Such a list would be read as groups that no rule names.
const otherFormats = `,|;%()[]{}<>`

// encodedWord begins a text that is encoded for a mail header (RFC 2047).
const encodedWord = "=?"

// groupFormat is the format of a groups header.
type groupFormat struct {
	separator byte
	foreign   string // the characters of other formats
	// spaced means that spaces belong to the names of groups. Otherwise they may be what separates
	// them.
	spaced bool
}

func newGroupFormat(separator string, spaced bool) groupFormat {
	return groupFormat{
		separator: separator[0],
		foreign:   strings.ReplaceAll(otherFormats, separator, ""),
		spaced:    spaced,
	}
}

// parse returns a header's list of groups. ok is false if the list may be in another format. A
// group may be in quotes. The separator and a single quote are not allowed between them: a proxy
// that quotes the entire list would otherwise state one group that no rule names.
func (f *groupFormat) parse(header string) (list string, ok bool) {
	list = strings.TrimSpace(header)
	if list == noValue {
		return "", true
	}
	if strings.ContainsAny(list, f.foreign) || strings.Contains(list, encodedWord) || !isText(list) {
		return list, false
	}
	for rest := list; rest != ""; {
		var group string
		group, rest = cutGroup(rest, f.separator)
		if !isQuotedRight(group) || !f.spaced && hasSpace(unquote(group)) {
			return list, false
		}
	}
	return list, true
}

// cutGroup returns the first group in a list, without the spaces around it, and the rest of the
// list.
func cutGroup(list string, separator byte) (group, rest string) {
	group = list
	if n := strings.IndexByte(list, separator); n >= 0 {
		group, rest = list[:n], list[n+1:]
	}
	return strings.TrimSpace(group), rest
}

// isQuotedRight reports whether the quotes in a group are around it, or are pairs between those
// (RFC 4180, section 2). Apostrophes do not quote. A group that starts with one is not accepted,
// because another program may have meant it as a quote.
func isQuotedRight(group string) bool {
	if strings.HasPrefix(unquote(group), "'") {
		return false
	}
	if strings.IndexByte(group, '"') < 0 {
		return true
	}
	if len(group) < 2 || group[0] != '"' || group[len(group)-1] != '"' {
		return false
	}
	inner := group[1 : len(group)-1]
	for {
		n := strings.IndexByte(inner, '"')
		if n < 0 {
			return true
		}
		if n+1 == len(inner) || inner[n+1] != '"' {
			return false
		}
		inner = inner[n+2:]
	}
}

// unquote returns a group without the quotes around it. Pairs of quotes between them remain: no
// rule can name a group with a quote.
func unquote(group string) string {
	if len(group) < 2 || group[0] != '"' {
		return group
	}
	return strings.TrimSpace(group[1 : len(group)-1])
}

// isText reports whether s is valid UTF-8. Text in another encoding, or whose invalid parts a decoder
// has replaced by U+FFFD, would be read as groups that no rule names.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, utf8.RuneError)
}

func hasSpace(s string) bool { return strings.ContainsFunc(s, unicode.IsSpace) }

// claimedGroups returns the groups in a token's claim. ok is false if the token does not state the
// viewer's groups.
func claimedGroups(claims claimSet, name string) (groups []string, ok bool) {
	first, _, _ := strings.Cut(name, ".")
	if isOverage(claims, name) || isOverage(claims, first) {
		return nil, false
	}
	claim, ok := claims.get(name)
	if !ok {
		return nil, false
	}
	var one *string
	if json.Unmarshal(claim, &one) == nil && one != nil {
		if *one == "" {
			return nil, true
		}
		// A string with separators is a list in the provider's own format.
		return []string{*one},
			!strings.ContainsAny(*one, `"`+otherFormats) && !hasSpace(*one) && isText(*one)
	}
	var all []*string
	if json.Unmarshal(claim, &all) != nil || all == nil || len(all) > maxGroups ||
		slices.Contains(all, nil) {
		return nil, false
	}
	for _, group := range all {
		if !isText(*group) {
			return nil, false
		}
		groups = append(groups, *group)
	}
	return groups, true
}

// isOverage reports whether the provider left groups out of the token because there are too many.
// Microsoft Entra ID then names the claim in _claim_names (OpenID Connect Core 1.0, section 5.6.2)
// or, in tokens of the implicit flow, sends hasgroups.
func isOverage(claims claimSet, name string) bool {
	if names, ok := claims["_claim_names"]; ok {
		distributed, ok := membersOf(names)
		if !ok {
			return true
		}
		if _, ok := distributed[name]; ok {
			return true
		}
	}
	has, ok := claims["hasgroups"]
	return ok && name == "groups" && string(has) != "false"
}
