package config

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
)

// NewFile returns the initial content of a configuration file. viewers is the content of that key,
// which must not hold secrets; nil serves everyone.
func NewFile(listen, adminListen string, viewers map[string]any) []byte {
	who := "Only clients that sign in may read. Add rules to limit what each of them may read: " +
		"docs/viewers.md."
	if viewers == nil {
		viewers = map[string]any{"anonymous": true}
		who = "Everyone who can reach listen may read. The example config.yaml has the other ways."
	}
	return fmt.Appendf(nil, `# The configuration of s3redirect.
# The example in its repository, config.yaml, has every key, with comments.

# Where viewers ask: browsers, or the reverse proxy in front.
listen: %s

# Where the console, /metrics, /healthz and /readyz are. Never make it public.
admin_listen: %s

# %s
%s
# Which role serves which buckets: one file for each integration.
include: [integrations.d/*.yaml]
`, blockText(listen), blockText(adminListen), who, blockText(map[string]any{"viewers": viewers})+"\n")
}

// blockText returns a value as YAML in block style, without a line break at its end.
func blockText(value any) string {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(value); err != nil {
		panic("config: " + err.Error()) // texts, lists and mappings of them can always be encoded
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}
