package config

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Append returns a configuration's text with an integration added at the end of its list; whatever else is in it stays, byte
// for byte. The integration's texts are taken as the file is to have them: ${NAME} stands for
// an environment variable. [NewFile] is a text to begin with.
//
// Its error is an [Errors] where the new text would not load, for whatever reason: what does not load is not written.
func Append(name string, text []byte, i *Integration, getenv func(string) (string, bool)) ([]byte, error) {
	root, err := parseMain(name, text)
	if err != nil {
		return nil, err
	}
	before, oldErr := Parse(name, text, getenv)
	if oldErr != nil && !LacksIntegrations(oldErr) {
		return nil, oldErr
	}
	return firstGood(name, getenv, [][]byte{inserted(text, root, i), bracketed(text, root, i)}, func(_ []byte, after *Config) bool {
		return before == nil || extends(before, after)
	})
}

// LacksIntegrations tells whether that is all that is wrong with a configuration.
func LacksIntegrations(err error) bool {
	all, ok := errors.AsType[Errors](err)
	return ok && len(all) == 1 && all[0].Key == "integrations"
}

// extends tells whether two configurations differ by an integration at the end and by nothing else.
func extends(before, after *Config) bool {
	if len(after.Integrations) != len(before.Integrations)+1 {
		return false
	}
	shorter := *after
	shorter.Integrations = after.Integrations[:len(before.Integrations)]
	return same(before, &shorter)
}

// inserted adds the integration's lines after the last one's, or returns nil where there are no such lines.
func inserted(text []byte, root *yaml.Node, i *Integration) []byte {
	l := linesOf(text)
	lines, end := l.all, l.end
	key, list := child(root, "integrations")
	at, indent, first := len(lines), 2, true
	switch {
	case list == nil && root.Style&yaml.FlowStyle != 0:
		return nil
	case list == nil:
		lines = append(lines, "integrations:"+end)
		at++
	case list.Kind == yaml.ScalarNode: // null, however it is written
		line := lines[list.Line-1]
		if begin := list.Column - 1; strings.HasPrefix(line[min(begin, len(line)):], list.Value) {
			lines[list.Line-1] = strings.TrimRight(line[:begin], " ") + line[begin+len(list.Value):]
		}
		at = max(key.Line, list.Line)
	case len(list.Content) == 0 && strings.HasPrefix(lines[list.Line-1][list.Column-1:], "[]"):
		line := lines[list.Line-1]
		lines[list.Line-1] = strings.TrimRight(line[:list.Column-1], " ") + line[list.Column+1:]
		at = list.Line
	case list.Style&yaml.FlowStyle != 0:
		return nil
	default:
		indent, first = list.Column-1, false
		at = lastLine(list)
		// What is further in than the list's own column is the last integration's: comments, and the rest of a text over several lines.
		for n := at; n < len(lines); n++ {
			rest := strings.TrimLeft(lines[n], " ")
			if strings.TrimSpace(rest) == "" {
				continue
			}
			least := indent + 1
			if rest[0] == '#' {
				least = max(1, indent)
			}
			if len(lines[n])-len(rest) < least {
				break
			}
			at = n + 1
		}
	}
	var b strings.Builder
	b.WriteString(strings.Join(lines[:at], ""))
	if !first && blankBetween(lines, list.Content[0].Line, at) {
		b.WriteString(end)
	}
	for line := range strings.Lines(i.block()) {
		b.WriteString(strings.Repeat(" ", indent) + strings.TrimSuffix(line, "\n") + end)
	}
	b.WriteString(strings.Join(lines[at:], ""))
	return []byte(b.String())
}

func blankBetween(lines []string, from, to int) bool {
	for _, line := range lines[from:to] {
		if strings.TrimSpace(line) == "" {
			return true
		}
	}
	return false
}

// child is a key of a mapping, with its value.
func child(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	for n := 0; n+1 < len(mapping.Content); n += 2 {
		if mapping.Content[n].Value == name {
			return mapping.Content[n], mapping.Content[n+1]
		}
	}
	return nil, nil
}

// lastLine is the last line that holds a part of a node, from 1.
func lastLine(n *yaml.Node) int {
	last := n.Line
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		last += strings.Count(strings.TrimRight(n.Value, "\n"), "\n") + 1
	}
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}

// bracketed adds the integration to a list within brackets, or returns nil where there is none. The syntax tree does not tell where the
// list ends: it is at the first bracket before which an item makes the list longer by one.
func bracketed(text []byte, root *yaml.Node, i *Integration) []byte {
	_, list := child(root, "integrations")
	if list == nil || list.Kind != yaml.SequenceNode || list.Style&yaml.FlowStyle == 0 {
		return nil
	}
	node := i.node()
	node.Style = yaml.FlowStyle
	item := strings.TrimSuffix(string(encode(node)), "\n")
	from, items := list.Line, len(list.Content)
	if items > 0 {
		from = list.Content[items-1].Line
	}
	l := linesOf(text)
	start := len(strings.Join(l.all[:from-1], ""))
	for at := start; at < len(text); at++ {
		if text[at] != ']' {
			continue
		}
		before := strings.TrimRight(string(text[:at]), " \r\n")
		gap := string(text[len(before):at])
		between := " "
		if _, indent, broken := strings.Cut(gap, "\n"); broken { // the bracket has a line of its own
			if items > 0 {
				indent = strings.Repeat(" ", list.Content[0].Column-1)
			}
			between = l.end + indent
		}
		// A comma is there already, or not; or it must not go into a comment.
		for _, candidate := range []string{before + "," + between + item + gap, before + between + item + gap, string(text[:at]) + ", " + item + l.end, string(text[:at]) + item + l.end} {
			candidate += string(text[at:])
			if after, err := parseMain("", []byte(candidate)); err == nil && len(after.Content) == len(root.Content) {
				if _, longer := child(after, "integrations"); longer != nil && len(longer.Content) == items+1 {
					return []byte(candidate)
				}
			}
		}
	}
	return nil
}

func encode(n *yaml.Node) []byte {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if e.Encode(n) != nil || e.Close() != nil {
		return nil
	}
	return b.Bytes()
}

// block is the integration as an item of a list with a line for each key.
func (i *Integration) block() string {
	return string(encode(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{i.node()}}))
}

// Text is the integration as a file would have it.
func (i *Integration) Text() string { return "integrations:\n" + i.block() }

// node has the keys whose values are not the defaults, in the order of the fields.
func (i *Integration) node() *yaml.Node {
	var defaults Integration
	setDefaults(reflect.ValueOf(&defaults).Elem())
	n := &yaml.Node{Kind: yaml.MappingNode}
	for f, v := range reflect.ValueOf(i).Elem().Fields() {
		if f.Tag.Get("yaml") == "-" || reflect.DeepEqual(v.Interface(), reflect.ValueOf(defaults).FieldByIndex(f.Index).Interface()) {
			continue
		}
		value := &yaml.Node{Kind: yaml.ScalarNode}
		switch x := v.Interface().(type) {
		case []string:
			value = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, s := range x {
				item := &yaml.Node{}
				item.SetString(s)
				value.Content = append(value.Content, item)
			}
		case time.Duration:
			value.SetString(Short(x))
		case bool:
			value.Value, value.Tag = map[bool]string{true: "true", false: "false"}[x], "!!bool"
		default:
			value.SetString(v.String())
		}
		key := &yaml.Node{}
		key.SetString(f.Tag.Get("yaml"))
		n.Content = append(n.Content, key, value)
	}
	return n
}

// Check judges an integration by itself, as a file would have it. The errors' keys are the integration's own, and they are of no
// file.
func (i *Integration) Check(getenv func(string) (string, bool)) Errors {
	_, err := Parse("", append([]byte("listen: 127.0.0.1:8080\nviewers: {anonymous: true}\n"), i.Text()...), getenv)
	all, _ := errors.AsType[Errors](err)
	for _, e := range all {
		e.Line, e.Key = 0, strings.TrimPrefix(strings.TrimPrefix(e.Key, "integrations[0]"), ".")
	}
	return all
}

// NewFile is the beginning of a configuration file that has no integration yet.
const NewFile = `# The configuration of s3redirect. The example in its repository has every key, with comments.

# Where viewers ask: browsers, or the reverse proxy in front.
listen: 127.0.0.1:8080

# Where the console, /metrics, /healthz and /readyz are. Never make it public.
admin_listen: 127.0.0.1:9090

# Who may ask: everyone who can reach listen. The example has the other ways.
viewers:
  anonymous: true

# Which role serves which buckets.
integrations:
`
