package config

import (
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Masked is a configuration's text for people to read: where a secret is written out, there is a note of it instead. What is not YAML is
// not shown at all.
func Masked(text []byte) []byte {
	root, err := parseMain("", text)
	if err != nil {
		return []byte(redacted + "\n")
	}
	l := linesOf(text)
	nodes, secret := nodesOf(root, nil), map[*yaml.Node]bool{}
	collectSecrets(root, reflect.TypeFor[Config](), secret)
	for n, node := range slices.Backward(nodes) { // so that what stands before it is still where it was
		if secret[node] && !isVariable(node.Value) {
			l.mask(node, nodes[n+1:])
		}
	}
	return l.text()
}

// mask puts a note in the place of a scalar, and leaves out the comment after it. The nodes that follow tell where it ends at the latest.
func (l *lines) mask(n *yaml.Node, following []*yaml.Node) {
	first := []rune(strings.TrimRight(l.all[n.Line-1], "\r\n"))
	before, rest := string(first[:min(len(first), n.Column-1)]), string(first[min(len(first), n.Column-1):])
	if length := lengthOf(n, rest); length > 0 {
		rest = rest[length:]
		if comment := strings.Index(rest, "#"); comment >= 0 {
			rest = rest[:comment]
		}
		l.all[n.Line-1] = before + redacted + strings.TrimRight(rest, " \t") + l.end
		return
	}
	l.all[n.Line-1] = before + redacted + l.end
	end := len(l.all)
	for _, next := range following {
		if next.Line > n.Line {
			// On the line of what follows the scalar may have its end.
			last := []rune(l.all[next.Line-1])
			if head := string(last[:min(len(last), next.Column-1)]); strings.TrimLeft(head, " -") != "" {
				l.all[next.Line-1] = redacted + string(last[min(len(last), next.Column-1):])
			}
			end = next.Line - 1
			break
		}
	}
	for m := n.Line; m < end; m++ {
		l.all[m] = redacted + l.end
	}
}

// lengthOf is how much of a text is a scalar with which it begins, in bytes; 0 where the scalar goes on after it, or begins otherwise.
func lengthOf(n *yaml.Node, text string) int {
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) != 0 || text == "" {
		return 0
	}
	quote := text[0]
	if quote != '"' && quote != '\'' {
		if n.Value != "" && strings.HasPrefix(text, n.Value) {
			return len(n.Value)
		}
		return 0
	}
	for i := 1; i < len(text); i++ {
		switch {
		case quote == '"' && text[i] == '\\', quote == '\'' && text[i] == quote && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return 0
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
