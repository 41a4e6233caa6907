package console

import (
	"maps"
	"net/http"
	"slices"

	"s3redirect/internal/config"
)

// Only these two keys of a draft may name variables, because the page and the documents
// show the values of all others.
const (
	keyIDKey     = "access_key_id"
	secretKeyKey = "secret_access_key"
)

// fileKeys are the keys that a draft cannot set or change: they give an integration the process's own
// permissions, or send a file to the draft's STS.
var fileKeys = []string{"own_credentials", "web_identity_token_file"}

// checkVariables returns an error if a change names variables that its user must not use:
// environment variables, files or systemd credentials. It runs before any variable is looked up.
// An access key ID is sent in the clear to the draft's endpoint and is part of every URL, so a
// variable with a secret must never become one. Each of the two keys may name only the variables
// of its own list in admin.variables, and none that a secret of the file uses. The lists are
// separate because a secret stays secret after its integration is removed. An integration keeps
// its current variables while its endpoints stay the same.
func (c *Console) checkVariables(
	in *changeRequest, source *config.Source, parsed *config.Config,
) error {
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
	// The ID must not be this integration's own secret either, neither the old nor the new one.
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
		case slices.Contains(fileKeys, key) && (text != before[key] || text != "" && moved):
			no.keys[key] = "only the configuration file can set this key, or change the endpoints with it"
		case text == before[key] && (!mayName || !moved):
		case !mayName && after.NamesVariable(key):
			no.keys[key] = "write the value itself: only the two keys can name a variable here"
		case !mayName:
		case slices.ContainsFunc(names, func(name string) bool {
			return !slices.Contains(allowed[key], name)
		}):
			no.keys[key] = "admin.variables does not name this variable for this key: add it there, " +
				"in the configuration file, before an integration uses it"
		case slices.ContainsFunc(names, func(name string) bool {
			return slices.Contains(used, name)
		}):
			no.keys[key] = "a secret of the configuration uses this variable: " +
				"use another variable for this key"
		}
	}
	if len(no.keys) > 0 {
		return no
	}
	return nil
}
