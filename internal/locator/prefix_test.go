package locator

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCheckPrefix(t *testing.T) {
	long := strings.Repeat("a", MaxKeyBytes-1) + "/"
	for prefix, want := range map[string]error{
		"tenant-a/": nil, "a/b/": nil, "ü 日/": nil, "*?$/": nil, ".../": nil, long: nil,
		"":           ErrEmptyKey,
		"tenant-a":   ErrPrefixEnd,
		"a/b":        ErrPrefixEnd,
		"a" + long:   ErrLongKey,
		"a/../b/":    ErrDotSegment,
		"./":         ErrDotSegment,
		"a\x00/":     ErrNUL,
		"a\xff/":     ErrInvalidUTF8,
		"a\n/":       ErrPrefixControl,
		"/":          ErrPrefixNormal,
		"/tenant-a/": ErrPrefixNormal,
		"a//":        ErrPrefixNormal,
		`a\b/`:       ErrPrefixNormal,
		"\u212a/":    ErrPrefixNormal,
	} {
		if err := CheckPrefix(prefix); !errors.Is(err, want) {
			t.Errorf("CheckPrefix(%q) = %v, want %v", prefix, err, want)
		}
	}
}

func TestSpellings(t *testing.T) {
	for key, want := range map[string][]string{
		"a/b":          nil,
		"a//b":         {"a/b"},
		"a__XLDIR__":   {"a/"},
		"/a__XLDIR__":  {"a__XLDIR__", "a/"},
		"__XLDIR__/a":  nil,
		"a/__XLDIR__b": nil,
	} {
		if got := Spellings(key); !slices.Equal(got, want) {
			t.Errorf("Spellings(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestPrefixes(t *testing.T) {
	var p Prefixes[int]
	if _, ok := p.Longest("a/b"); ok || p.Within("") {
		t.Error("an empty map has a prefix")
	}
	for n, prefix := range []string{"a/", "a/b/", "bb/", "a/b/c/", "c/"} {
		p.Add(prefix, n)
	}
	for key, want := range map[string]int{
		"a/": 0, "a/x": 0, "a/b": 0, "a/b/": 1, "a/b/x/y": 1, "a/b/c/d": 3, "bb/x": 2, "c/c/": 4,
		"": -1, "a": -1, "ab/x": -1, "b/x": -1, "/a/": -1,
	} {
		got, ok := p.Longest(key)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("Longest(%q) = %d, want %d", key, got, want)
		}
	}
	for folder, want := range map[string]bool{"": true, "a/b/": true, "a/b/c/d/": false, "d/": false} {
		if got := p.Within(folder); got != want {
			t.Errorf("Within(%q) = %v, want %v", folder, got, want)
		}
	}
}

func TestNormalizeKey(t *testing.T) {
	for key, want := range map[string]string{
		"":       "",
		"a":      "a",
		"a/b":    "a/b",
		"a/":     "a/",
		"/":      "",
		"//":     "",
		`\`:      "",
		"/a":     "a",
		"//a":    "a",
		"a//b":   "a/b",
		"a///":   "a/",
		`a\b`:    "a/b",
		`\a\\b\`: "a/b/",
		`/\a`:    "a",
		`a/\b`:   "a/b",
		"ü//日":   "ü/日",
		// Characters whose composed form is ASCII, as R2 stores keys.
		"\u212aeys/x":           "Keys/x",
		"/a\u037e\u1fef\u212a/": "a;`K/",
		"\u212b":                "\u212b",
	} {
		if got := NormalizeKey(key); got != want {
			t.Errorf("NormalizeKey(%q) = %q, want %q", key, got, want)
		}
	}
	n := testing.AllocsPerRun(100, func() { _ = NormalizeKey("folder/another folder/photo.jpg") })
	if n != 0 {
		t.Errorf("NormalizeKey allocates %v times for a normalized key, want 0", n)
	}
}
