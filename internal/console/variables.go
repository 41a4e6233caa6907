package console

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"s3redirect/internal/config"
)

// Only these two keys of a draft may name environment variables: the values of all others are shown
// on the page and in documents.
const (
	keyIDKey     = "access_key_id"
	secretKeyKey = "secret_access_key"
)

// checkVariables rejects a change that names environment variables which its user must not use. An
// access key ID is sent, in the clear, to
// the endpoint that the draft names, and is a part of every URL. So the two keys may name the
// variables of admin.variables only, each those of its own list, and none that a
// secret of the file uses. The lists are separate since a secret that no integration uses any
// longer is still one. An integration keeps the variables that it has, as long as they are used
// with the same endpoints.
func (c *Console) checkVariables(in *changeRequest, source *config.Source, parsed *config.Config) error {
	var before config.Draft
	if in.Action == "change" {
		var err error
		if before, err = source.Draft(parsed, in.Name); err != nil {
			return c.mistakes(err, "")
		}
	}
	after := maps.Clone(before)
	if after == nil {
		after = config.Draft{}
	}
	maps.Copy(after, in.Draft)
	moved := after["endpoint"] != before["endpoint"] || after["sts_endpoint"] != before["sts_endpoint"]
	// The ID must not be this integration's own secret either, whether the old one or the new one.
	secrets := map[string][]string{
		keyIDKey:     append(source.SecretVariables(""), config.Variables(after[secretKeyKey])...),
		secretKeyKey: source.SecretVariables(before["name"]),
	}
	allowed := map[string][]string{
		keyIDKey:     parsed.Admin.Variables.IDs,
		secretKeyKey: parsed.Admin.Variables.Secrets,
	}
	no := &refusal{status: http.StatusUnprocessableEntity,
		text: "this variable cannot be used here", keys: map[string]string{}}
	for key, text := range after {
		names := config.Variables(text)
		used, mayName := secrets[key]
		switch {
		case text == before[key] && (!mayName || !moved):
		case !mayName && strings.Contains(text, "${"):
			no.keys[key] = "write the value itself: only the two keys can name an environment variable here"
		case !mayName:
		case slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(allowed[key], name) }):
			no.keys[key] = "admin.variables does " +
				"not name this variable for this key: add it there, in the configuration file, " +
				"before an integration uses it"
		case slices.ContainsFunc(names, func(name string) bool { return slices.Contains(used, name) }):
			no.keys[key] = "a secret of the configuration uses this variable: set another one for this key"
		}
	}
	if len(no.keys) > 0 {
		return no
	}
	return nil
}
