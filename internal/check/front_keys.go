package check

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// oddPieces are spellings that fronts change, with what they stand for in a key.
var oddPieces = []struct{ spelled, key string }{
	{"%2F%2F", "//"},
	{"//", "//"},
	{"+", "+"},
	{"%2B", "+"},
	{"%20", " "},
	{"%C3%BC", "ü"},
	{"%41", "A"},
	{"%2541", "%41"},
	{"%5C", `\`},
	{"%3F", "?"},
	{"%23", "#"},
}

// keys requests a key with all oddPieces and, if that does not lead to the key, one key for each of
// them, to name those that the front changes.
func (f *frontCheck) keys(ctx context.Context) {
	key, path := f.folder()
	for _, piece := range oddPieces {
		key, path = key+"a"+piece.key, path+"a"+piece.spelled
	}
	a, err := f.askKey(ctx, http.MethodGet, key+"z", path+"z", "")
	switch {
	case err != nil:
		f.unreachable(err)
		return
	case f.leadsTo(a, key+"z"):
		f.ok(stepFront, "keys with %s arrive unchanged", spelledPieces(nil))
		return
	case a.problem != "" && a.status != http.StatusBadRequest && a.status != http.StatusNotFound:
		f.skip(stepFront, "odd keys: the proxy answers %d %s", a.status, a.problem)
		return
	}
	var changed []string
	folder, folderPath := f.folder()
	for _, piece := range oddPieces {
		key := folder + "a" + piece.key + "z"
		a, err := f.askKey(ctx, http.MethodGet, key, folderPath+"a"+piece.spelled+"z", "")
		if err != nil {
			f.unreachable(err)
			return
		}
		if !f.leadsTo(a, key) {
			changed = append(changed, piece.spelled)
		}
	}
	which := "a mixture of " + spelledPieces(nil)
	if len(changed) > 0 {
		which = spelledPieces(changed)
	}
	f.warn(stepFront, explanation{
		fmt.Sprintf("%s changes or rejects paths with %s, so objects with such keys cannot be read, or "+
			"another object is", f.origin, which),
		remedyPath})
}

// spelledPieces lists spellings; nil means all of them.
func spelledPieces(some []string) string {
	if some == nil {
		for _, piece := range oddPieces {
			some = append(some, piece.spelled)
		}
	}
	return strings.Join(some, " ")
}

func printableKey(key string) string { return locator.Printable(key) }

const (
	// longURL is the length of the Location to try, in bytes: with the other headers, it does not
	// fit a buffer of 4 kB.
	longURL = 4200
	// maxPadding bounds the key and the parameter that make the Location long. Each byte of them
	// takes three in the Location.
	maxPadding = 900
)

// longLocation requests a key whose Location has longURL bytes, as far as the integration's
// overrides allow.
func (f *frontCheck) longLocation(ctx context.Context) {
	key, path := f.folder()
	sample, err := f.askKey(ctx, http.MethodGet, key+"x", path+"x", "")
	if err != nil || !f.leadsTo(sample, key+"x") {
		f.skip(stepFront, "a long Location: %s does not redirect keys in %s", f.origin, printableKey(key))
		return
	}
	missing := max(0, longURL-len(sample.location)+2) / 3
	padding := strings.Repeat("!", max(0, min(missing, maxPadding-len(key))))
	expected, params := len(sample.location)+3*len(padding), ""
	if f.i.Overrides != config.OverridesNone {
		language := min(max(1, missing-len(padding)), maxPadding) // 1: is the query passed on?
		params = "response-content-language=" + strings.Repeat("!", language)
		expected += 3 * language
	}
	a, err := f.askKey(ctx, http.MethodGet, key+"x"+padding, path+"x"+padding, params)
	switch {
	case err != nil:
		f.unreachable(err)
	case f.leadsTo(a, key+"x"+padding) && params != "" &&
		!strings.Contains(a.location, "response-content-language="):
		f.warn(stepFront, explanation{
			f.origin + " removes parameters such as response-content-language from the query",
			remedyQuery})
	case f.leadsTo(a, key+"x"+padding):
		f.ok(stepFront, "a Location of %d bytes arrives", len(a.location))
	case a.problem != "":
		f.skip(stepFront, "a long Location: the proxy answers %d %s", a.status, a.problem)
	default:
		f.warn(stepFront, explanation{
			fmt.Sprintf("%s answers %d if the Location is long (about %d bytes; the sample's has %d), as "+
				"with long keys and session tokens", f.origin, a.status,
				expected, len(sample.location)),
			"Give the front larger buffers for response headers. " + remedyBuffer})
	}
}
