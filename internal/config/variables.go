package config

import (
	"reflect"

	"gopkg.in/yaml.v3"
)

// Variables returns the environment variables that a text names as ${NAME}.
func Variables(text string) (names []string) {
	// An error is that of a text that does not load.
	_, _ = expand(text, func(name string) (string, bool) {
		names = append(names, name)
		return "", true
	})
	return names
}

// SecretVariables returns the environment variables that the secrets of a configuration name, leaving out those of one integration.
func SecretVariables(text []byte, except string) (names []string) {
	root, err := parseYAML("", text)
	if err != nil {
		return nil
	}
	secrets, excepted := map[*yaml.Node]bool{}, map[*yaml.Node]bool{}
	collectSecrets(root, reflect.TypeFor[Config](), secrets)
	if _, list := child(root, "integrations"); list != nil && except != "" {
		for _, item := range list.Content {
			if _, name := child(item, "name"); name != nil && name.Value == except {
				collectSecrets(item, reflect.TypeFor[Integration](), excepted)
			}
		}
	}
	for n := range secrets {
		if !excepted[n] {
			names = append(names, Variables(n.Value)...)
		}
	}
	return names
}
