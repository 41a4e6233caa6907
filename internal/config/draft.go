package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Draft is an integration as a file has it: texts by key, in which ${NAME} stands for an environment variable. A list's items
// have blanks between them. A key with an empty text is not in the file.
type Draft map[string]string

// DraftKeys are the keys that a draft may have, in the order of the fields of [Integration].
func DraftKeys() []string { return fieldNames(reflect.TypeFor[Integration]()) }

// SecretKeys are those of them whose texts are secrets, unless they name a variable.
func SecretKeys() (keys []string) {
	for f := range reflect.TypeFor[Integration]().Fields() {
		if f.Type == reflect.TypeFor[Secret]() {
			keys = append(keys, f.Tag.Get("yaml"))
		}
	}
	return keys
}

// DraftOf is an integration of a configuration that loads. A secret that is written out in it is not in the draft. Its error is an [Errors].
func DraftOf(name string, text []byte, integration string, getenv func(string) (string, bool)) (Draft, error) {
	_, n, err := find(name, text, integration, getenv)
	if err != nil {
		return nil, err
	}
	d := draftAt(text, n)
	for _, key := range SecretKeys() {
		if !isVariable(d[key]) {
			delete(d, key)
		}
	}
	return d, nil
}

// Integration is what the draft describes, with the texts as they are: variables are not replaced, and what is not said is left to
// the defaults. Its error is an [Errors] whose keys are the draft's.
func (d Draft) Integration() (*Integration, error) {
	i := &Integration{}
	setDefaults(reflect.ValueOf(i).Elem())
	var errs Errors
	for _, key := range slices.Sorted(maps.Keys(d)) {
		field := fieldNamed(reflect.ValueOf(i).Elem(), key)
		switch {
		case !field.IsValid():
			errs = append(errs, &Error{Key: key, Problem: "there is no such key; known here: " + strings.Join(DraftKeys(), ", ")})
		case d[key] == "":
		case field.Kind() == reflect.Slice:
			field.Set(reflect.ValueOf(strings.Fields(d[key])))
		default:
			if err := setScalar(field, d[key]); err != nil {
				errs = append(errs, &Error{Key: key, Problem: err.Error()})
			}
		}
	}
	if errs != nil {
		return nil, errs
	}
	return i, nil
}

// find loads a configuration, and says which of its integrations has a name.
func find(name string, text []byte, integration string, getenv func(string) (string, bool)) (*Config, int, error) {
	c, err := Parse(name, text, getenv)
	if err != nil {
		return nil, 0, err
	}
	n := slices.IndexFunc(c.Integrations, func(i Integration) bool { return i.Name == integration })
	if n < 0 {
		return nil, 0, Errors{{File: name, Key: "integrations", Problem: fmt.Sprintf("there is no integration %s any more", integration)}}
	}
	return c, n, nil
}

// itemAt is the n-th integration in the syntax tree of a text that is YAML, with the list that it is in.
func itemAt(text []byte, n int) (document *yaml.Node, list, item *yaml.Node) {
	document = &yaml.Node{}
	if yaml.Unmarshal(text, document) != nil || len(document.Content) == 0 {
		return nil, nil, nil
	}
	if _, list = child(document.Content[0], "integrations"); list == nil || n >= len(list.Content) {
		return nil, nil, nil
	}
	return document, list, list.Content[n]
}

// draftAt is the n-th integration of a text, nil where there is none.
func draftAt(text []byte, n int) Draft {
	_, _, item := itemAt(text, n)
	if item == nil {
		return nil
	}
	d := Draft{}
	for k := 0; k+1 < len(item.Content); k += 2 {
		d[item.Content[k].Value] = textOf(item.Content[k+1])
	}
	return d.plain()
}

func textOf(value *yaml.Node) string {
	if value.Kind != yaml.SequenceNode {
		if value.Tag == "!!null" {
			return ""
		}
		return value.Value
	}
	var items []string
	for _, item := range value.Content {
		items = append(items, item.Value)
	}
	return strings.Join(items, " ")
}

// plain is the draft without what is not in the file, and with one blank between a list's items.
func (d Draft) plain() Draft {
	p := maps.Clone(d)
	maps.DeleteFunc(p, func(_, text string) bool { return text == "" })
	for key, text := range p {
		if isList(key) {
			p[key] = strings.Join(strings.Fields(text), " ")
		}
	}
	return p
}

func isList(key string) bool {
	return fieldNamed(reflect.ValueOf(&Integration{}).Elem(), key).Kind() == reflect.Slice
}

// equal tells whether two drafts say the same.
func (d Draft) equal(other Draft) bool {
	return !slices.ContainsFunc(DraftKeys(), func(key string) bool { return !sameText(key, d[key], other[key]) })
}

// sameText tells whether two texts of a key say the same: the order of a list's items says nothing.
func sameText(key, a, b string) bool {
	if !isList(key) {
		return a == b
	}
	return slices.Equal(slices.Sorted(strings.FieldsSeq(a)), slices.Sorted(strings.FieldsSeq(b)))
}
