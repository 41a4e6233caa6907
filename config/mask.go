package config

import (
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// Masked is a configuration's text for people to read: where a secret is written out, there is a note of it instead. What is not YAML is
// not shown at all.
func Masked(text []byte) []byte {
	root, err := parseYAML("", text)
	if err != nil {
		return []byte(redacted + "\n")
	}
	l := linesOf(text)
	nodes, secret := nodesOf(root, nil), map[*yaml.Node]bool{}
	collectSecrets(root, reflect.TypeFor[Config](), secret)
	for n, node := range nodes {
		if !secret[node] || isVariable(node.Value) {
			continue
		}
		// Where the next value begins, this one has ended; what is between the two may be its own further lines.
		end := len(l.all)
		for _, next := range nodes[n+1:] {
			if next.Line > node.Line {
				end = next.Line - 1
				break
			}
		}
		first := l.all[node.Line-1]
		l.all[node.Line-1] = first[:min(len(first), node.Column-1)] + redacted + l.end
		if strings.Contains(first, node.Value) {
			continue
		}
		for m := node.Line; m < end; m++ {
			l.all[m] = redacted + l.end
		}
	}
	return l.text()
}

// nodesOf are a tree's nodes, in the order in which they stand.
func nodesOf(n *yaml.Node, all []*yaml.Node) []*yaml.Node {
	all = append(all, n)
	for _, c := range n.Content {
		all = nodesOf(c, all)
	}
	return all
}

// isVariable tells whether a text is ${NAME}, and nothing else.
func isVariable(text string) bool {
	name, ok := strings.CutPrefix(text, "${")
	name, closed := strings.CutSuffix(name, "}")
	return ok && closed && envName.MatchString(name)
}

// collectSecrets finds the scalars of a tree that belong into fields of type [Secret].
func collectSecrets(n *yaml.Node, t reflect.Type, found map[*yaml.Node]bool) {
	switch {
	case t.Kind() == reflect.Pointer:
		collectSecrets(n, t.Elem(), found)
	case t == reflect.TypeFor[Secret]():
		found[n] = true
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			collectSecrets(item, t.Elem(), found)
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		for k := 0; k+1 < len(n.Content); k += 2 {
			for f := range t.Fields() {
				if f.Tag.Get("yaml") == n.Content[k].Value {
					collectSecrets(n.Content[k+1], f.Type, found)
				}
			}
		}
	}
}
