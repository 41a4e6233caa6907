package main

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"s3redirect/internal/config"
)

// keys is a tree of configuration keys.
type keys map[string]keys

// anyKey stands for the keys of a mapping with any keys.
const anyKey = ""

// keysOf returns the keys that a type decodes.
func keysOf(t reflect.Type) keys {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	found := keys{}
	if t.Kind() == reflect.Map {
		return keys{anyKey: {}}
	}
	if t.Kind() != reflect.Struct {
		return found
	}
	for field := range t.Fields() {
		if name := field.Tag.Get("yaml"); name != "" && name != "-" {
			found[name] = keysOf(field.Type)
		}
	}
	return found
}

// flatten adds the keys of all levels to all, and returns it.
func (k keys) flatten(all map[string]keys) map[string]keys {
	for name, below := range k {
		if name == anyKey {
			continue
		}
		if all[name] == nil || len(below) > 0 {
			all[name] = below
		}
		below.flatten(all)
	}
	return all
}

// has reports whether a path of keys, such as cache.redis, exists.
func (k keys) has(path []string) bool {
	for _, name := range path {
		if k = k[name]; k == nil {
			return false
		}
	}
	return true
}

// unknown returns the keys of a document that k lacks.
func (k keys) unknown(node *yaml.Node) (names []string) {
	if _, ok := k[anyKey]; ok {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		for _, n := range node.Content {
			names = append(names, k.unknown(n)...)
		}
		return names
	}
	for n := 0; n+1 < len(node.Content); n += 2 {
		name := node.Content[n].Value
		below, ok := k[name]
		if !ok {
			names = append(names, name)
			continue
		}
		names = append(names, below.unknown(node.Content[n+1])...)
	}
	return names
}

// commented matches the lines of config.yaml that contain a key in a comment.
var commented = regexp.MustCompile(`(?m)^( *)# ( *(?:- )?[a-z_]+:(?: .*)?| *- \{.*)$`)

// TestDocumentedKeys checks that config.yaml has every key, in comments or not, and no others, and
// that the snippets of YAML in the pages have only keys that exist.
func TestDocumentedKeys(t *testing.T) {
	all := keysOf(reflect.TypeFor[config.Config]())
	names := all.flatten(map[string]keys{})
	if len(names) < 50 {
		t.Fatalf("the configuration has %d keys, want at least 50", len(names))
	}
	example := commented.ReplaceAllString(read(t, "config.yaml"), "$1$2")
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(example), &document); err != nil {
		t.Fatalf("config.yaml with its comments as keys: %v", err)
	}
	if unknown := all.unknown(&document); len(unknown) > 0 {
		t.Errorf("config.yaml has unknown keys: %q", unknown)
	}
	for name := range names {
		if !regexp.MustCompile(`(?m)(^|[ {])` + name + `:`).MatchString(example) {
			t.Errorf("config.yaml lacks the key %s", name)
		}
	}
	for path, text := range pages(t) {
		for _, block := range matches("(?s)```yaml\n(.*?)```", text) {
			var node yaml.Node
			known := all
			if strings.Contains("\n"+block[1], "\nname: ") { // an included file
				known = keysOf(reflect.TypeFor[config.Integration]())
			}
			if err := yaml.Unmarshal([]byte(block[1]), &node); err != nil {
				t.Errorf("%s: %v:\n%s", path, err, block[1])
			} else if unknown := known.unknown(&node); len(unknown) > 0 {
				t.Errorf("%s: unknown keys %q in:\n%s", path, unknown, block[1])
			}
		}
	}
}

// notKeys are words in the pages that look like configuration keys but are not.
var notKeys = []string{
	// Steps of check.
	"assume_role", "head_by_get", "mixed_content", "signature_age", "url_size",
	// Fields of the logs.
	"request_id", "trace_id", "user_agent", "version_id",
	// Terms of nginx and other reverse proxies.
	"auth_request", "copy_headers", "forward_auth", "header_up",
	"http_resp_hdr_len", "http_resp_size", "limit_conn", "proxy_cache", "proxy_cache_valid",
	"proxy_pass", "proxy_set_header", "proxy_ssl_trusted_certificate",
	"real_ip_header", "request_uri", "set_real_ip_from", "vcl_deliver", "vcl_recv", "viewers.sock",
	// Parameters of Redis URLs, and claims of OpenID Connect.
	"master_set", "sentinel_password", "sentinel_username", "_claim_names", "email_verified",
	"client_id", "common_name", "groups_direct", "preferred_username", "resource_access",
	"token_use",
	// Reasons for refusing a credential, and the parts of a split cookie.
	"claim_missing", "claim_wrong", "cookie_chunks", "duplicate_header", "groups_unreadable",
	"key_unknown", "link_expired", "link_signature", "link_target", "not_yet_valid",
	"opaque_cookie", "token_type", "too_large", "active_type",
	"other_status", "untrusted_peer", "id_token_0", "id_token_1",
	"session_0", "session_1", "invalid_token",
	// Settings of the AWS SDKs' shared configuration file.
	"ca_bundle",
	// Settings of Nomad.
	"change_mode", "kill_timeout", "max_kill_timeout", "shutdown_delay",
	// A directory, a field of a response, and a recording rule.
	"integrations.d", "expires_at", "url_hit_ratio",
}

// TestKeysInText checks that each word of the pages that looks like a key (`min_remaining`,
// `cache.redis`) is a key, a problem's code or one of notKeys.
func TestKeysInText(t *testing.T) {
	all := keysOf(reflect.TypeFor[config.Config]())
	names, codes, checked := all.flatten(map[string]keys{}), problemCodes(t), 0
	isKey := func(word string) bool {
		path := strings.Split(strings.Trim(word, "."), ".")
		return len(path) == 1 && names[path[0]] != nil || len(path) > 1 && all.has(path)
	}
	for path, text := range pages(t) {
		prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
		for _, span := range matches("`([^`\n]+)`", prose) {
			for _, m := range matches(`[a-z0-9_.]*[_.][a-z0-9_.]*[a-z0-9]`, span[1]) {
				word := m[0]
				first, _, dotted := strings.Cut(word, ".")
				switch {
				case strings.HasPrefix(word, "s3redirect_"): // see TestMetricsInDocuments
					continue
				case strings.HasSuffix(word, ".go"), strings.HasSuffix(word, ".yaml"):
					continue
				case dotted && all[first] == nil: // a host
					continue
				}
				if checked++; !isKey(word) && !codes[word] && !slices.Contains(notKeys, word) {
					t.Errorf("%s: `%s`: there is no key %s", path, span[1], word)
				}
			}
		}
	}
	if checked < 40 {
		t.Errorf("checked %d words, want at least 40", checked)
	}
}
