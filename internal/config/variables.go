package config

import (
	"fmt"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// Variables returns the names of the variables in a text: those of environment variables, and with
// their prefixes file:PATH and credential:NAME.
func Variables(text string) (names []string) {
	// A text with an error does not load, so ignore it here.
	_, _ = expand(text, func(name string) (string, error) {
		names = append(names, name)
		return "", nil
	})
	return names
}

// SecretVariables returns the variables that the secrets of the configuration name. It skips the
// integration whose name in its file is except.
func (s *Source) SecretVariables(except string) (names []string) {
	collect := func(n *yaml.Node, t reflect.Type) {
		for _, secret := range secretsIn(n, t) {
			names = append(names, Variables(secret.Value)...)
		}
	}
	integration := func(n *yaml.Node) {
		if _, name := child(n, "name"); except == "" || name == nil || name.Value != except {
			collect(n, reflect.TypeFor[Integration]())
		}
	}
	if root, err := parseMain(s.path, s.main); err == nil {
		list, kept := &yaml.Node{}, *root
		if key, value := child(root, "integrations"); key != nil {
			list = value
			kept.Content = nil
			for n := 0; n+1 < len(root.Content); n += 2 {
				if root.Content[n].Value != "integrations" {
					kept.Content = append(kept.Content, root.Content[n:n+2]...)
				}
			}
		}
		collect(&kept, reflect.TypeFor[Config]())
		for _, item := range list.Content {
			integration(item)
		}
	}
	for _, f := range s.files {
		root, err := parseYAML(f.path, f.text)
		switch {
		case err != nil || root == nil:
		case root.Kind == yaml.SequenceNode:
			for _, item := range root.Content {
				integration(item)
			}
		default:
			integration(root)
		}
	}
	return names
}

// variableProblems returns a problem for each variable that access key IDs may name although a
// secret of the file uses it. An access key ID is part of every URL.
func (s *Source) variableProblems(c *Config) []Problem {
	if len(c.Admin.Variables.IDs) == 0 {
		return nil // SecretVariables parses every file again
	}
	k := &checker{Config: c}
	secrets := s.SecretVariables("")
	for n, name := range c.Admin.Variables.IDs {
		if slices.Contains(secrets, name) {
			key := fmt.Sprintf("admin.variables.ids[%d]", n)
			k.wrong(key, "a secret of the configuration uses %s, and access key IDs are part of every URL; "+
				"list it under secrets", value(key))
		}
	}
	return k.problems
}

// secretsIn returns the scalars of a tree that are the values of fields of type [Secret].
func secretsIn(n *yaml.Node, t reflect.Type) (found []*yaml.Node) {
	switch {
	case t.Kind() == reflect.Pointer:
		return secretsIn(n, t.Elem())
	case t == reflect.TypeFor[Secret]():
		return []*yaml.Node{n}
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			found = append(found, secretsIn(item, t.Elem())...)
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		for k := 0; k+1 < len(n.Content); k += 2 {
			for f := range t.Fields() {
				if f.Tag.Get("yaml") == n.Content[k].Value {
					found = append(found, secretsIn(n.Content[k+1], f.Type)...)
				}
			}
		}
	}
	return found
}
