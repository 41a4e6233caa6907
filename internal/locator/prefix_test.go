package locator

import (
	"errors"
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
	} {
		if err := CheckPrefix(prefix); !errors.Is(err, want) {
			t.Errorf("CheckPrefix(%q) = %v, want %v", prefix, err, want)
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
