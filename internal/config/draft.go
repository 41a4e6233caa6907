package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Draft is an integration as a file holds it: texts by key, in which ${NAME} stands for an
// environment variable. The items of a list are separated by white space or, if they contain some,
// are YAML on one line like a mapping. An empty text is the same as a missing key.
type Draft map[string]string

// DraftKeys returns the keys that a draft may have, in the order of the fields of [Integration].
func DraftKeys() []string { return fieldNames(reflect.TypeFor[Integration]()) }

// SecretKeys returns the keys of [DraftKeys] whose texts are secrets, unless they name a variable.
func SecretKeys() (keys []string) {
	for f := range reflect.TypeFor[Integration]().Fields() {
		if f.Type == reflect.TypeFor[Secret]() {
			keys = append(keys, f.Tag.Get("yaml"))
		}
	}
	return keys
}

// Draft returns the integration as a draft, without the keys that have their default values.
func (i *Integration) Draft() Draft {
	var defaults Integration
	setDefaults(reflect.ValueOf(&defaults).Elem())
	d := Draft{}
	for f, v := range reflect.ValueOf(i).Elem().Fields() {
		key := f.Tag.Get("yaml")
		if key == "-" || reflect.DeepEqual(v.Interface(), reflect.ValueOf(defaults).FieldByIndex(f.Index).Interface()) {
			continue
		}
		switch x := v.Interface().(type) {
		case []string:
			d[key] = listText(x)
		case time.Duration:
			d[key] = Short(x)
		case bool:
			d[key] = fmt.Sprint(x)
		case map[string]string:
			d[key] = flowText(x)
		case *InPlace:
			d[key] = flowText(x)
		default:
			d[key] = v.String()
		}
	}
	if i.HostStyle {
		d["path_style"] = "false"
	}
	return d
}

// Integration returns the integration that the draft describes. It does not replace variables, and
// sets only defaults that do not depend on other keys. Its error is an [Errors] with the draft's
// keys.
func (d Draft) Integration() (*Integration, error) {
	i := &Integration{}
	setDefaults(reflect.ValueOf(i).Elem())
	errs := d.unknownKeys()
	for _, key := range slices.Sorted(maps.Keys(d)) {
		field := fieldNamed(reflect.ValueOf(i).Elem(), key)
		switch {
		case !field.IsValid() || d[key] == "":
		case field.Kind() == reflect.Slice:
			items, err := parseList(d[key])
			if err != nil {
				errs = append(errs, &Error{Key: key, Problem: err.Error()})
			}
			field.Set(reflect.ValueOf(items))
		case field.Kind() == reflect.Map:
			all := map[string]string{}
			if yaml.Unmarshal([]byte(d[key]), &all) != nil {
				errs = append(errs, &Error{Key: key, Problem: "write it as {name: value, other: value}"})
			}
			field.Set(reflect.ValueOf(all))
		case field.Kind() == reflect.Pointer:
			field.Set(reflect.New(field.Type().Elem()))
			setDefaults(field.Elem())
			strict := yaml.NewDecoder(strings.NewReader(d[key]))
			strict.KnownFields(true)
			if strict.Decode(field.Interface()) != nil {
				errs = append(errs, &Error{Key: key,
					Problem: "write it as {" + fieldNames(field.Type().Elem())[0] + ": …}"})
			}
		default:
			if err := setScalar(field, d[key]); err != nil {
				errs = append(errs, &Error{Key: key, Problem: err.Error()})
			}
		}
	}
	if errs != nil {
		return nil, errs
	}
	i.HostStyle = d["path_style"] != "" && !i.PathStyle
	return i, nil
}

func (d Draft) unknownKeys() (errs Errors) {
	for _, key := range slices.Sorted(maps.Keys(d)) {
		if !slices.Contains(DraftKeys(), key) {
			errs = append(errs, &Error{Key: key,
				Problem: "unknown key; known keys: " + strings.Join(DraftKeys(), ", ")})
		}
	}
	return errs
}

// Check checks the draft on its own. The errors have the draft's keys and no file.
func (d Draft) Check(getenv func(string) (string, bool)) Errors {
	const path = "draft"
	s := &Source{main: []byte("listen: 127.0.0.1:8080\nviewers: {anonymous: true}\n"),
		files: []*file{{path: path, text: []byte(d.Text())}}}
	_, err := s.Parse(getenv)
	all, _ := errors.AsType[Errors](err)
	for _, e := range all {
		e.File, e.Line = "", 0
	}
	return all
}

// Check checks the integration on its own, as if a file contained it. The errors have the
// integration's own keys and no file.
func (i *Integration) Check(getenv func(string) (string, bool)) Errors {
	return i.Draft().Check(getenv)
}

// NamesVariable reports whether the value of a key contains ${, as the configuration reads it. The
// text of a mapping is YAML, in which an escape such as \x24 stands for the dollar sign.
func (d Draft) NamesVariable(key string) bool {
	root, err := parseYAML("draft", []byte(Draft{key: d[key]}.Text()))
	if err != nil {
		return true // it does not load
	}
	var names func(n *yaml.Node) bool
	names = func(n *yaml.Node) bool {
		return strings.Contains(n.Value, "${") || slices.ContainsFunc(n.Content, names)
	}
	return root != nil && names(root)
}

// Marker is the first line of the files that this program writes. It replaces and removes only
// files with this line.
const Marker = "# Written by s3redirect."

// Text returns the draft as the content of a file.
func (d Draft) Text() string {
	var b strings.Builder
	b.WriteString(Marker + "\n")
	for _, key := range DraftKeys() {
		if d[key] != "" {
			b.WriteString(key + ": " + yamlValue(key, d[key]) + "\n")
		}
	}
	return b.String()
}

// yamlValue returns the text of a key as YAML on one line.
func yamlValue(key, text string) string {
	n := &yaml.Node{}
	switch fieldNamed(reflect.ValueOf(&Integration{}).Elem(), key).Kind() {
	case reflect.Slice:
		items, err := parseList(text)
		if err != nil {
			n.SetString(text) // Parse reports it
			break
		}
		n.Kind, n.Style = yaml.SequenceNode, yaml.FlowStyle
		for _, item := range items {
			value := &yaml.Node{}
			value.SetString(item)
			n.Content = append(n.Content, value)
		}
	case reflect.Map, reflect.Pointer:
		var document yaml.Node
		if yaml.Unmarshal([]byte(text), &document) == nil && len(document.Content) == 1 &&
			document.Content[0].Kind == yaml.MappingNode {
			n = document.Content[0]
			n.Style = yaml.FlowStyle
		} else {
			n.SetString(text) // Parse reports it
		}
	case reflect.Bool:
		n.Kind, n.Value = yaml.ScalarNode, text
		if text != "true" && text != "false" {
			n.SetString(text)
		}
	default:
		n.SetString(text)
	}
	if strings.ContainsAny(n.Value, "\r\n") {
		n.Style = yaml.DoubleQuotedStyle
	}
	out, err := yaml.Marshal(n)
	if err != nil {
		panic("config: " + err.Error()) // a scalar or a list of scalars can always be encoded
	}
	return strings.TrimSuffix(string(out), "\n")
}

// flowText returns a mapping or a list as YAML on one line. The keys of a map are sorted.
func flowText(value any) string {
	n := &yaml.Node{}
	if err := n.Encode(value); err != nil {
		panic("config: " + err.Error()) // texts and lists of texts can always be encoded
	}
	n.Style = yaml.FlowStyle
	out, err := yaml.Marshal(n)
	if err != nil {
		panic("config: " + err.Error())
	}
	return strings.TrimSuffix(string(out), "\n")
}

// draftOf returns the draft of an integration in a syntax tree.
func draftOf(item *yaml.Node) Draft {
	d := Draft{}
	for k := 0; k+1 < len(item.Content); k += 2 {
		if text := draftText(item.Content[k+1]); text != "" {
			d[item.Content[k].Value] = text
		}
	}
	return d
}

func draftText(value *yaml.Node) string {
	switch {
	case value.Tag == "!!null":
		return ""
	case value.Kind == yaml.MappingNode:
		var texts map[string]string // keeps numbers as they are written
		if value.Decode(&texts) == nil {
			return flowText(texts)
		}
		var all map[string]any
		if value.Decode(&all) != nil {
			return ""
		}
		return flowText(all)
	case value.Kind != yaml.SequenceNode:
		return value.Value
	}
	var items []string
	for _, item := range value.Content {
		items = append(items, item.Value)
	}
	return listText(items)
}

// listText returns a list as a draft holds it: with blanks between the items or, if an item
// contains one, as YAML on one line.
func listText(items []string) string {
	text := strings.Join(items, " ")
	if slices.Equal(strings.Fields(text), items) && !strings.HasPrefix(text, "[") {
		return text
	}
	return flowText(items)
}

// parseList returns the items of a list that a draft holds; see listText.
func parseList(text string) (items []string, err error) {
	if !strings.HasPrefix(text, "[") {
		return strings.Fields(text), nil
	}
	if yaml.Unmarshal([]byte(text), &items) != nil {
		return nil, errors.New("separate the items with blanks, or write them as [a, b]")
	}
	return items, nil
}

// child returns a key of a mapping with its value, or nil, nil.
func child(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	for n := 0; n+1 < len(mapping.Content); n += 2 {
		if mapping.Content[n].Value == name {
			return mapping.Content[n], mapping.Content[n+1]
		}
	}
	return nil, nil
}
