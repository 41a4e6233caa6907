package config

import (
	"cmp"
	"maps"
	"mime"
	"slices"
	"strings"
)

const (
	maxContentTypes = 100 // each request compares its key with all suffixes
	maxSuffix       = 64  // bytes
	maxMediaType    = 255 // bytes
)

// ContentType is the Content-Type of objects whose keys end in a suffix.
type ContentType struct {
	Suffix string
	Type   string
}

// Matches reports whether a key ends in the suffix. ASCII case does not matter.
func (c *ContentType) Matches(key string) bool { return endsIn(key, c.Suffix) }

// endsIn reports whether a key ends in a suffix, which is ASCII, in any case.
func endsIn(key, suffix string) bool {
	return len(key) >= len(suffix) && strings.EqualFold(key[len(key)-len(suffix):], suffix)
}

// SortedContentTypes returns the integration's content types, the longest suffix first, so that the
// first one that matches a key is the one to use.
func (i *Integration) SortedContentTypes() (all []ContentType) {
	for _, suffix := range slices.Sorted(maps.Keys(i.ContentTypes)) {
		all = append(all, ContentType{Suffix: suffix, Type: i.ContentTypes[suffix]})
	}
	slices.SortStableFunc(all, func(a, b ContentType) int {
		return cmp.Compare(len(b.Suffix), len(a.Suffix))
	})
	return all
}

// ContentTypeOf returns the Content-Type that is configured for a key, or "".
func (i *Integration) ContentTypeOf(key string) string {
	for _, c := range i.SortedContentTypes() {
		if c.Matches(key) {
			return c.Type
		}
	}
	return ""
}

func (k *checker) checkContentTypes(key string, types map[string]string) {
	if len(types) > maxContentTypes {
		k.wrong(key, "an integration has at most %d suffixes with a content type", maxContentTypes)
	}
	lower := map[string]bool{}
	for _, suffix := range slices.Sorted(maps.Keys(types)) {
		folded := strings.ToLower(suffix)
		switch {
		case !isSuffix(suffix):
			k.wrong(key, "a name is not a suffix; write it as .svg, with up to %d letters, digits "+
				"and ._+-", maxSuffix)
		case !isMediaType(types[suffix]):
			k.wrong(key, "the value of %s is not a media type; write it as image/svg+xml, or as "+
				"'text/plain; charset=utf-8'", suffix)
		case lower[folded]:
			k.wrong(key, "%s is repeated; suffixes that differ only in case are the same, so "+
				"keep one of them", folded)
		}
		lower[folded] = true
	}
}

// isSuffix reports whether text is a dot and the letters after it. Slashes, blanks and characters
// outside ASCII are left out: none is part of a file's type.
func isSuffix(text string) bool {
	return len(text) >= 2 && len(text) <= maxSuffix && text[0] == '.' &&
		!strings.ContainsFunc(text, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') &&
				!strings.ContainsRune("._+-", r)
		})
}

// isMediaType reports whether text is a media type (RFC 9110, section 8.3.1) that a store can send
// as a header: printable ASCII.
func isMediaType(text string) bool {
	kind, _, err := mime.ParseMediaType(text)
	family, name, _ := strings.Cut(kind, "/")
	return err == nil && family != "" && name != "" && len(text) <= maxMediaType &&
		!strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}
