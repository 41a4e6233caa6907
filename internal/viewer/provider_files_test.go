package viewer

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A providerFile describes the credentials of an identity provider or a sign-in proxy, in the form
// that its documentation shows, and how the recipes in docs/sign-in treat them.
type providerFile struct {
	Provider string `json:"provider"`
	// Documentation is the address of the page that shows the claims, and Read the day on which it
	// was read.
	Documentation string `json:"documentation"`
	Read          string `json:"read"`
	// Pages are the recipes that must give each case's result.
	Pages []string `json:"pages"`
	// Arrives is where the credential arrives: "authorization", "cookie NAME", "header NAME", or
	// "forwarded ADDRESS" for the headers of a reverse proxy with that address.
	Arrives string `json:"arrives"`
	// Header and Claims are the token's. A text such as "-60s" in a claim that holds a time is an
	// offset from now. The test adds the key ID.
	Header map[string]any `json:"header"`
	Claims map[string]any `json:"claims"`
	// Fields are the headers of a reverse proxy.
	Fields map[string][]string `json:"fields"`
	Cases  []providerCase      `json:"cases"`
}

// A providerCase changes the credential of a [providerFile]. A nil value removes a claim or field.
type providerCase struct {
	Name    string              `json:"name"`
	Arrives string              `json:"arrives"`
	Header  map[string]any      `json:"header"`
	Claims  map[string]any      `json:"claims"`
	Fields  map[string][]string `json:"fields"`
	Token   string              `json:"token"` // sent instead of a token with the claims
	Key     string              `json:"key"`   // "other": none of the provider's keys signs the token
	Parts   []string            `json:"parts"` // the cookies between which the token is split
	// ID and Groups are the viewer's, or Reason is why the credential is refused.
	ID     string   `json:"id"`
	Groups []string `json:"groups"`
	Reason string   `json:"reason"`
}

// providerReasons are the reasons for refusing a credential that a case may expect.
var providerReasons = []string{
	"algorithm", "audience", "claim_missing", "claim_wrong", "cookie_chunks", "duplicate_header",
	"expired", "groups_unreadable", "issuer", "key_unknown", "malformed", "not_yet_valid",
	"opaque_cookie", "signature", "token_type", "too_large", "untrusted_peer",
}

// readProviders returns the files of testdata/providers by their names.
func readProviders(t *testing.T) map[string]*providerFile {
	t.Helper()
	paths, err := filepath.Glob("testdata/providers/*.json")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*providerFile{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f := &providerFile{}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(f); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		files[strings.TrimSuffix(filepath.Base(path), ".json")] = f
	}
	return files
}

// yamlBlock matches a block of YAML in a page; its group holds the text.
var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// recipe returns the viewers section in a page of docs/sign-in.
func recipe(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "sign-in", page))
	if err != nil {
		t.Fatal(err)
	}
	blocks := yamlBlock.FindAllSubmatch(text, -1)
	if len(blocks) != 1 || !bytes.HasPrefix(blocks[0][1], []byte("viewers:\n")) {
		t.Fatalf("%s has %d blocks of YAML, want one that starts with viewers:", page, len(blocks))
	}
	return string(blocks[0][1])
}

// timeClaims are the claims that hold a time (RFC 7519, section 4.1; OpenID Connect Core 1.0,
// section 2).
var timeClaims = []string{"auth_time", "exp", "iat", "nbf"}

// patched returns values with changes, and with times instead of offsets from now. A nil change
// removes a value.
func patched(t *testing.T, values, changes map[string]any, now time.Time) map[string]any {
	t.Helper()
	all := map[string]any{}
	maps.Copy(all, values)
	maps.Copy(all, changes)
	for name, value := range all {
		offset, isText := value.(string)
		switch {
		case value == nil:
			delete(all, name)
		case isText && slices.Contains(timeClaims, name):
			d, err := time.ParseDuration(offset)
			if err != nil {
				t.Fatalf("claim %s: %v", name, err)
			}
			all[name] = now.Add(d).Unix()
		}
	}
	return all
}

// TestProviderFiles checks that each file of testdata/providers is complete, and that each recipe
// has a file.
func TestProviderFiles(t *testing.T) {
	var tested []string
	for name, f := range readProviders(t) {
		_, err := time.Parse(time.DateOnly, f.Read)
		if f.Provider == "" || err != nil || !strings.HasPrefix(f.Documentation, "https://") ||
			len(f.Pages) == 0 {
			t.Errorf("%s: provider %q, documentation %q, read %q, pages %q, want all of them",
				name, f.Provider, f.Documentation, f.Read, f.Pages)
		}
		for _, page := range f.Pages {
			tested = append(tested, page)
			recipe(t, page)
		}
		_, forwarded := strings.CutPrefix(f.Arrives, "forwarded ")
		if forwarded != (len(f.Fields) > 0) || forwarded == (len(f.Claims) > 0) {
			t.Errorf("%s: %d claims and %d fields with %q, want fields only if forwarded",
				name, len(f.Claims), len(f.Fields), f.Arrives)
		}
		patched(t, f.Claims, nil, time.Now())
		checkProviderCases(t, name, f)
	}
	pages, err := filepath.Glob("../../docs/sign-in/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("Glob returned %d pages, error %v, want some", len(pages), err)
	}
	for _, path := range pages {
		page := filepath.Base(path)
		if page != "README.md" && !slices.Contains(tested, page) {
			t.Errorf("no file of testdata/providers tests docs/sign-in/%s", page)
		}
	}
}

// checkProviderCases checks that the cases of a file are complete: a good one, and bad ones with a
// known reason.
func checkProviderCases(t *testing.T, name string, f *providerFile) {
	t.Helper()
	good, bad, names := 0, 0, map[string]bool{}
	for _, c := range f.Cases {
		if c.Name == "" || names[c.Name] {
			t.Errorf("%s: the name %q is missing or repeated", name, c.Name)
		}
		names[c.Name] = true
		switch {
		case c.ID != "" && c.Groups != nil && c.Reason == "":
			good++
		case c.ID == "" && c.Groups == nil && slices.Contains(providerReasons, c.Reason):
			bad++
		default:
			t.Errorf("%s, %s: ID %q, groups %q, reason %q, want a viewer or a known reason",
				name, c.Name, c.ID, c.Groups, c.Reason)
		}
		patched(t, f.Claims, c.Claims, time.Now())
	}
	if good < 1 || bad < 3 {
		t.Errorf("%s has %d good cases and %d bad ones, want at least 1 and 3", name, good, bad)
	}
}
