package config

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
)

// InPlace selects the documents that the proxy fetches itself and answers at their own path, so that
// the relative references in them lead back to the proxy: playlists, manifests, captions and other
// small documents.
type InPlace struct {
	// Suffixes are the ends of the documents' keys, such as .m3u8, in any case. Required.
	Suffixes []string `yaml:"suffixes"`
	// MaxBytes bounds the size of a document. Larger ones are redirected. Default 4 MiB, at most
	// [MaxInPlace].
	MaxBytes Bytes `yaml:"max_bytes"`
}

// MaxInPlace is the largest [InPlace.MaxBytes].
const MaxInPlace Bytes = 16 << 20

const (
	defaultInPlace Bytes = 4 << 20
	minInPlace     Bytes = 1 << 10

	maxSuffixes = 32
)

// Matches reports whether a document's key ends in one of the suffixes. A nil InPlace matches no key.
func (p *InPlace) Matches(key string) bool {
	return p != nil && slices.ContainsFunc(p.Suffixes, func(suffix string) bool {
		return endsIn(key, suffix)
	})
}

// active are the suffixes of documents in which browsers execute scripts. A bucket's objects must
// not run in the origin of the proxy.
var active = []string{
	".cjs", ".htm", ".html", ".js", ".mht", ".mhtml", ".mjs", ".shtml", ".svg", ".svgz", ".xht", ".xhtml",
}

func (k *checker) checkInPlace(key string, p *InPlace) {
	if p == nil {
		return
	}
	switch {
	case len(p.Suffixes) == 0:
		k.wrong(key+".suffixes", "a list of suffixes is needed, such as [.m3u8, .mpd, .vtt]")
	case len(p.Suffixes) > maxSuffixes:
		k.wrong(key+".suffixes", "there are more than %d suffixes; remove some", maxSuffixes)
	}
	for n, suffix := range p.Suffixes {
		at := key + ".suffixes[" + strconv.Itoa(n) + "]"
		switch {
		case !isSuffix(suffix):
			k.wrong(at, "%s is not a suffix; write it with its dot, as in .m3u8", value(at))
		case slices.ContainsFunc(active, func(a string) bool {
			return strings.HasSuffix(strings.ToLower(suffix), a)
		}):
			k.wrong(at, "a browser would run the scripts of such an object in the origin of the proxy; "+
				"HTML, SVG and JavaScript are always redirected")
		}
	}
	if p.MaxBytes < minInPlace || p.MaxBytes > MaxInPlace {
		k.wrong(key+".max_bytes", "%s is out of bounds; use %v to %v", value(key+".max_bytes"),
			minInPlace, MaxInPlace)
	}
}

// Bytes is a number of bytes. In a file it has a unit, as in 4MiB.
type Bytes int64

var byteUnits = []struct {
	name string
	size Bytes
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bytes) UnmarshalText(text []byte) error {
	for _, unit := range byteUnits {
		number, ok := strings.CutSuffix(string(text), unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/int64(unit.size) {
			break
		}
		*b = Bytes(n) * unit.size
		return nil
	}
	return errors.New("invalid size; write it with a unit, as in 4MiB or 512KiB")
}

// String returns the size in the largest unit in which it is whole.
func (b Bytes) String() string {
	for _, unit := range byteUnits {
		if b >= unit.size && b%unit.size == 0 {
			return strconv.FormatInt(int64(b/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// MarshalText implements [encoding.TextMarshaler].
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
