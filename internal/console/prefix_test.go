package console

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The console adds an integration for a prefix of a bucket that another integration serves, and shows
// its prefix, its documents and what is wrong with another one.
func TestPrefix(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	draft := map[string]string{"bucket": "photos", "prefix": "tenant a/", "region": "eu-central-1",
		"blocked_prefixes": "[tenant a/raw/]", "role_arn": roleARN, "external_id": "id-0123456789"}
	diff := w.save(map[string]any{"action": "add", "draft": draft})
	const file = "+name: photos-tenant-a\n+bucket: photos\n+prefix: tenant a/\n" +
		"+blocked_prefixes: [tenant a/raw/]\n"
	if !strings.Contains(diff, file) {
		t.Fatalf("diff = %s, want\n%s", diff, file)
	}
	var got integrationsAnswer
	w.get("/api/integrations").into(t, &got)
	card := got.Integrations[len(got.Integrations)-1]
	if card.Name != "photos-tenant-a" || card.Prefix != "tenant a/" ||
		!slices.Equal(card.BlockedPrefixes, []string{"tenant a/raw/"}) {
		t.Errorf("card = %+v, want the prefix and the blocked prefix", card)
	}
	var documents documentsAnswer
	w.post("/api/documents", map[string]any{"name": "photos-tenant-a", "format": "json",
		"kinds": []string{"access", "cors"}}).into(t, &documents)
	if len(documents.Documents) != 2 ||
		!strings.Contains(documents.Documents[0].Text, `"arn:aws:s3:::photos/tenant a/*"`) ||
		!strings.Contains(strings.Join(documents.Documents[1].Notes, " "), "the whole bucket") {
		t.Errorf("documents = %+v, want those of the prefix", documents)
	}
	for key, c := range map[string]struct{ prefix, blocked, want string }{
		"prefix":           {"tenant a/", "", "is the prefix of integration photos-tenant-a"},
		"blocked_prefixes": {"b/", "c/", "is not under the prefix"},
	} {
		draft := map[string]string{"name": "new", "bucket": "photos", "prefix": c.prefix,
			"region": "auto", "role_arn": roleARN, "blocked_prefixes": c.blocked}
		_, no, status := w.changing(map[string]any{"action": "add", "draft": draft})
		if status != http.StatusUnprocessableEntity || !strings.Contains(no.Keys[key], c.want) {
			t.Errorf("%s: status %d, %+v, want 422 and %q", key, status, no, c.want)
		}
	}
}
