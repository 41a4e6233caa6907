package onboard

import (
	"reflect"
	"strings"
	"testing"

	"s3redirect/internal/config"
)

// signInAnswers are good answers for each way to sign in.
var signInAnswers = map[string]map[string]string{
	"forwarded": {"user_header": "X-User", "trusted_proxies": "127.0.0.1 10.0.0.0/8"},
	"jwt":       {"issuer": "https://id.example.com", "audience": "media other", "cookie": "session"},
	"basic":     {"htpasswd_file": "/etc/s3redirect/htpasswd"},
	"links":     {"id": "k1", "secret": "${LINK_KEY}"},
}

func linkEnv(name string) (string, bool) { return strings.Repeat("k", 32), name == "LINK_KEY" }

// A new configuration has one of the ways to sign in that viewers knows, and loads with good answers.
func TestSignIns(t *testing.T) {
	kinds := map[string]bool{}
	for f := range reflect.TypeFor[config.Viewers]().Fields() {
		kinds[f.Tag.Get("yaml")] = true
	}
	for _, s := range SignIns() {
		answers := signInAnswers[s.Kind]
		if !kinds[s.Kind] || answers == nil || s.About == "" || s.Page == "" {
			t.Errorf("the way to sign in %+v is incomplete, or no key of viewers", s)
		}
		for _, q := range s.Questions {
			if q.Key == "" || q.Label == "" || q.Hint == "" {
				t.Errorf("%s: the question %+v is incomplete", s.Kind, q)
			}
			if err := s.Check(answers, q.Key, answers[q.Key], linkEnv); err != nil {
				t.Errorf("%s: Check(%s, %s) = %v, want nil", s.Kind, q.Key, answers[q.Key], err)
			}
			if err := s.Check(map[string]string{}, q.Key, "", linkEnv); (err == nil) != q.Optional {
				t.Errorf("%s: Check(%s) of an empty answer = %v, want an error: %v", s.Kind, q.Key,
					err, !q.Optional)
			}
		}
		text := config.NewFile("[::1]:8080", "127.0.0.1:9090", s.Viewers(answers))
		_, err := config.New("new.yaml", text).Parse(linkEnv)
		if !config.LacksIntegrations(err) {
			t.Errorf("%s: Parse() = %v, want only that there is no integration, of\n%s", s.Kind, err, text)
		}
	}
}

func TestDefaultRegion(t *testing.T) {
	for endpoint, want := range map[string]string{
		"":                                      "auto",
		"https://store.example.com":             "us-east-1",
		"https://s3.amazonaws.com":              "auto",
		"https://s3.eu-central-1.amazonaws.com": "eu-central-1",
	} {
		if got := DefaultRegion(endpoint); got != want {
			t.Errorf("DefaultRegion(%q) = %q, want %q", endpoint, got, want)
		}
	}
}

func TestEndpointURL(t *testing.T) {
	for answer, want := range map[string]string{
		"":                              "",
		"https://store.example.com":     "https://store.example.com",
		"store.example.com":             "store.example.com",
		"s3.eu-central-1.amazonaws.com": "https://s3.eu-central-1.amazonaws.com",
		"http://s3.amazonaws.com":       "http://s3.amazonaws.com",
	} {
		if got := EndpointURL(answer); got != want {
			t.Errorf("EndpointURL(%q) = %q, want %q", answer, got, want)
		}
	}
}
