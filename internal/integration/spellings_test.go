package integration

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

var repeatedSlashes = regexp.MustCompile("/+")

// stores return the key of the object that a store serves for a key; see docs/viewers.md.
var stores = map[string]func(key string) string{
	"AWS": func(key string) string { return key },
	"MinIO": func(key string) string {
		return folder.ReplaceAllString(strings.TrimLeft(key, "/"), "/")
	},
	"versitygw": func(key string) string {
		return strings.TrimLeft(repeatedSlashes.ReplaceAllString(key, "/"), "/")
	},
	"SeaweedFS": func(key string) string {
		return strings.TrimLeft(slashes.ReplaceAllString(key, "/"), "/")
	},
	"R2": singletons.Replace,
}

// No store serves another integration's object, or a blocked one, for a key that is served. The keys
// are all combinations of up to six parts.
func TestNoStoreServesAnotherPrefix(t *testing.T) {
	c := &config.Config{Integrations: pointers([]config.Integration{
		scoped("whole", ""), scoped("a", "a/", "a/K/"), scoped("a-a", "a/a/"), scoped("k", "K/"),
	})}
	s := lookupSet(t, c)
	served := 0
	check := func(key string) {
		l := locator.Locator{Bucket: "films", Key: key}
		b, ok := s.Find(l, time.Time{})
		if !ok || s.Blocked(l) {
			return
		}
		served++
		for name, store := range stores {
			owner, object := c.Integrations[0], store(key)
			for _, i := range c.Integrations {
				if strings.HasPrefix(object, i.Prefix) && len(i.Prefix) > len(owner.Prefix) {
					owner = i
				}
			}
			if owner.Name != b.Integration.Name || strings.HasPrefix(object, "a/K/") {
				t.Errorf("%q: got %s, and %s serves %q of %s", key, b.Integration.Name, name, object,
					owner.Name)
			}
		}
	}
	var extend func(key string, parts int)
	extend = func(key string, parts int) {
		if locator.CheckKey(key) == nil {
			check(key)
		}
		if parts == 0 {
			return
		}
		for _, part := range []string{"a", "K", "\u212a", "/", `\`, "__XLDIR__"} {
			extend(key+part, parts-1)
		}
	}
	extend("", 6)
	if served < 10_000 {
		t.Errorf("%d keys are served, want at least 10,000", served)
	}
}
