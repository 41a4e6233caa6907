package config

import (
	"bytes"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Change returns a configuration's text in which an integration has other texts: those of the changes, of which an empty one
// takes its key out. Whatever else is in it stays, comments included; where the integration has a line for each key, byte for byte.
//
// Its error is an [Errors] where the new text would not load, for whatever reason: what does not load is not written.
func Change(name string, text []byte, integration string, changes Draft, getenv func(string) (string, bool)) ([]byte, error) {
	before, n, err := find(name, text, integration, getenv)
	if err != nil {
		return nil, err
	}
	want := draftAt(text, n)
	for key, value := range changes {
		if !slices.Contains(DraftKeys(), key) {
			return nil, Errors{{File: name, Key: key, Problem: "there is no such key; known here: " + strings.Join(DraftKeys(), ", ")}}
		}
		want[key] = value
	}
	want = want.plain()
	return firstGood(name, getenv, [][]byte{changedLines(text, n, want), changedTree(text, n, want)}, func(candidate []byte, after *Config) bool {
		if len(after.Integrations) != len(before.Integrations) || !draftAt(candidate, n).equal(want) {
			return false
		}
		others := *after
		others.Integrations = slices.Clone(after.Integrations)
		others.Integrations[n] = before.Integrations[n]
		return same(before, &others)
	})
}

// Remove returns a configuration's text without an integration and its comments.
//
// Its error is an [Errors] where the new text would not load, as it would not without any integration where the console may add none.
func Remove(name string, text []byte, integration string, getenv func(string) (string, bool)) ([]byte, error) {
	before, n, err := find(name, text, integration, getenv)
	if err != nil {
		return nil, err
	}
	want := *before
	want.Integrations = slices.Delete(slices.Clone(before.Integrations), n, n+1)
	return firstGood(name, getenv, [][]byte{withoutLines(text, n), withoutNode(text, n)}, func(_ []byte, after *Config) bool { return same(&want, after) })
}

// firstGood is the first of some texts that loads and is what was meant.
func firstGood(name string, getenv func(string) (string, bool), candidates [][]byte, meant func([]byte, *Config) bool) ([]byte, error) {
	var firstErr error
	for _, candidate := range candidates {
		if candidate == nil {
			continue
		}
		after, err := Parse(name, candidate, getenv)
		if err == nil && meant(candidate, after) {
			return candidate, nil
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	if firstErr != nil {
		return nil, firstErr
	}
	return nil, Errors{{File: name, Key: "integrations", Problem: "a list that is written like this cannot be changed by a program; write it with a line for each key, or change it by hand"}}
}

// same tells whether two configurations say the same.
func same(a, b *Config) bool {
	x, y := withoutOrigins(a), withoutOrigins(b)
	x.Warnings, y.Warnings = nil, nil
	if len(x.Integrations) == 0 && len(y.Integrations) == 0 {
		x.Integrations, y.Integrations = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

func withoutOrigins(c *Config) Config {
	x := *c
	x.Integrations = slices.Clone(c.Integrations)
	for n := range x.Integrations {
		x.Integrations[n].Origin = Origin{}
	}
	return x
}

// changedLines changes, key by key, the lines of the n-th integration; nil where they are not of a form that it knows.
func changedLines(text []byte, n int, want Draft) []byte {
	have := draftAt(text, n)
	for _, key := range DraftKeys() {
		if sameText(key, have[key], want[key]) {
			continue
		}
		_, list, item := itemAt(text, n)
		if item == nil || (list.Style|item.Style)&yaml.FlowStyle != 0 || len(item.Content) == 0 {
			return nil
		}
		l := linesOf(text)
		if !l.set(item, key, want[key]) {
			return nil
		}
		text = l.text()
	}
	return text
}

// lines are a text's, each with its end.
type lines struct {
	all []string
	end string
}

func linesOf(text []byte) *lines {
	l := &lines{all: strings.SplitAfter(string(text), "\n"), end: "\n"}
	if strings.HasSuffix(l.all[0], "\r\n") {
		l.end = "\r\n"
	}
	if last := len(l.all) - 1; l.all[last] == "" {
		l.all = l.all[:last]
	} else {
		l.all[last] += l.end
	}
	return l
}

func (l *lines) text() []byte { return []byte(strings.Join(l.all, "")) }

// replace puts lines in the place of those from one to before another, counted from 0.
func (l *lines) replace(from, to int, with ...string) {
	for n := range with {
		with[n] += l.end
	}
	l.all = slices.Replace(l.all, from, to, with...)
}

// set gives a key of an integration another text.
func (l *lines) set(item *yaml.Node, name, text string) bool {
	key, value := child(item, name)
	switch {
	case key == nil:
		last := lastLine(item)
		l.replace(last, last, strings.Repeat(" ", item.Column-1)+name+": "+written(name, text))
	case text == "":
		return l.takeOut(item, key, value)
	case value.Kind == yaml.SequenceNode && value.Style&yaml.FlowStyle == 0:
		l.setItems(value, strings.Fields(text))
	case value.Line != key.Line || lastLine(value) != key.Line:
		return false
	default:
		line := l.all[key.Line-1]
		begin := value.Column - 1
		l.all[key.Line-1] = line[:begin] + written(name, text) + line[begin+endOfValue(line[begin:]):]
	}
	return true
}

// takeOut removes a key. The item's dash, where it is on the same line, goes to the next key.
func (l *lines) takeOut(item, key, value *yaml.Node) bool {
	from, to := key.Line-1, max(key.Line, lastLine(value))
	if key != item.Content[0] {
		l.replace(from, to)
		return true
	}
	if len(item.Content) < 4 {
		return false
	}
	next := item.Content[2].Line - 1
	l.all[next] = l.all[from][:key.Column-1] + l.all[next][key.Column-1:]
	l.replace(from, to)
	return true
}

// setItems takes out of a list of a line for each item what is not wanted, and adds what is missing.
func (l *lines) setItems(list *yaml.Node, want []string) {
	var have []string
	for _, item := range list.Content {
		have = append(have, item.Value)
	}
	last := lastLine(list)
	indent := strings.Repeat(" ", list.Column-1)
	for _, text := range slices.Backward(want) {
		if !slices.Contains(have, text) {
			l.replace(last, last, indent+"- "+scalar(text))
		}
	}
	for _, item := range slices.Backward(list.Content) {
		if !slices.Contains(want, item.Value) {
			l.replace(item.Line-1, lastLine(item))
		}
	}
}

// endOfValue is where a value that begins a text ends: before its comment, or its line's end.
func endOfValue(text string) int {
	quote, depth := byte(0), 0
	for n := range len(text) {
		switch c := text[n]; {
		case quote != 0:
			if c == quote && (quote == '\'' || n == 0 || text[n-1] != '\\') {
				quote = 0
			}
		case c == '"' || c == '\'':
			if n == 0 || depth > 0 {
				quote = c
			}
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == '#' && n > 0 && (text[n-1] == ' ' || text[n-1] == '\t') && depth == 0:
			return len(strings.TrimRight(text[:n], " \t"))
		}
	}
	return len(strings.TrimRight(text, " \t\r\n"))
}

// written is a key's text as a file is to have it, on one line.
func written(name, text string) string {
	switch {
	case isList(name):
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range strings.Fields(text) {
			list.Content = append(list.Content, &yaml.Node{})
			list.Content[len(list.Content)-1].SetString(item)
		}
		return strings.TrimSpace(string(encode(list)))
	case fieldNamed(reflect.ValueOf(&Integration{}).Elem(), name).Kind() == reflect.Bool && (text == "true" || text == "false"):
		return text
	}
	return scalar(text)
}

// scalar is a text as YAML has it, with quotes where it needs them.
func scalar(text string) string {
	n := &yaml.Node{}
	n.SetString(text)
	if strings.ContainsAny(text, "\r\n") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return strings.TrimSuffix(string(encode(n)), "\n")
}

// changedTree changes the n-th integration in the syntax tree, and writes the tree: comments and order stay, the layout need not.
func changedTree(text []byte, n int, want Draft) []byte {
	document, _, item := itemAt(text, n)
	if item == nil {
		return nil
	}
	have := draftAt(text, n)
	for _, key := range DraftKeys() {
		if sameText(key, have[key], want[key]) {
			continue
		}
		if at := slices.IndexFunc(item.Content, func(k *yaml.Node) bool { return k.Value == key }); want[key] == "" && at%2 == 0 {
			item.Content = slices.Delete(item.Content, at, at+2)
			continue
		}
		fresh := &yaml.Node{}
		if yaml.Unmarshal([]byte(written(key, want[key])), fresh) != nil || len(fresh.Content) == 0 {
			return nil
		}
		if name, value := child(item, key); name == nil {
			item.Content = append(item.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, fresh.Content[0])
		} else {
			fresh.Content[0].LineComment = value.LineComment
			*value = *fresh.Content[0]
		}
	}
	return encodedWithComments(document, bytes.Count(text, []byte("#")))
}

// encodedWithComments writes a syntax tree, unless a comment was lost, as it happens to those within brackets.
func encodedWithComments(document *yaml.Node, comments int) []byte {
	written := encode(document)
	if bytes.Count(written, []byte("#")) < comments {
		return nil
	}
	return written
}

// withoutLines takes the n-th integration's lines out, with the comments above it and within; nil where it has none of its own.
func withoutLines(text []byte, n int) []byte {
	_, list, item := itemAt(text, n)
	if item == nil || list.Style&yaml.FlowStyle != 0 {
		return nil
	}
	l := linesOf(text)
	indent := list.Column - 1
	from, to := item.Line-1, lastLine(item)
	for from > 0 && isComment(l.all[from-1], indent, indent) {
		from--
	}
	for to < len(l.all) && isComment(l.all[to], indent+1, len(l.all[to])) {
		to++
	}
	if blank := func(n int) bool { return n >= 0 && n < len(l.all) && strings.TrimSpace(l.all[n]) == "" }; blank(from-1) && (blank(to) || to == len(l.all)) {
		from--
	} else if blank(to) && n == 0 && len(list.Content) > 1 {
		to++
	}
	l.replace(from, to)
	return l.text()
}

// isComment tells whether a line holds a comment alone, so many columns in.
func isComment(line string, least, most int) bool {
	rest := strings.TrimLeft(line, " ")
	in := len(line) - len(rest)
	return strings.HasPrefix(rest, "#") && least <= in && in <= most
}

// withoutNode takes the n-th integration out of the syntax tree, and writes the tree.
func withoutNode(text []byte, n int) []byte {
	document, list, item := itemAt(text, n)
	if item == nil {
		return nil
	}
	its := bytes.Count(encode(item), []byte("#"))
	list.Content = slices.Delete(list.Content, n, n+1)
	return encodedWithComments(document, bytes.Count(text, []byte("#"))-its)
}
