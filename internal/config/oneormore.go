package config

import (
	"errors"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// OneOrMore is a list. A file may have its only item instead of a list.
type OneOrMore[T any] []T

func (OneOrMore[T]) oneOrMore() {}

func isOneOrMore(v reflect.Value) bool {
	_, ok := v.Interface().(interface{ oneOrMore() })
	return ok
}

// one decodes the only item of a [OneOrMore].
func (d *decoder) one(n *yaml.Node, into reflect.Value, key string) {
	d.single = append(d.single, key)
	item := reflect.New(into.Type().Elem()).Elem()
	setDefaults(item)
	at := key + "[0]"
	d.setPlace(at, d.places[key])
	d.decode(n, item, at)
	list := reflect.MakeSlice(into.Type(), 0, 1)
	into.Set(reflect.Append(list, item))
}

// texts decodes a mapping with any keys. The keys are not shown in errors: in {token:VALUE} the
// secret is part of the key.
func (d *decoder) texts(n *yaml.Node, into reflect.Value, key string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, key, "a mapping is expected, such as {name: value}")
		return
	}
	all := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, v := n.Content[i], n.Content[i+1]
		_, twice := all[name.Value]
		switch {
		case !isPlainKey(name) || name.ShortTag() == "!!merge":
			d.fail(name.Line, key, "a name is a plain or quoted word, without anchor, alias or tag")
		case twice:
			d.fail(name.Line, key, "a name is here twice; keep one of the two")
		case v.Kind == yaml.ScalarNode && v.ShortTag() == "!!null":
			d.fail(name.Line, key, "a value is missing; write name: value, with a space after the colon")
		case v.Kind != yaml.ScalarNode || v.Anchor != "" || !slices.Contains(plainTags, v.ShortTag()):
			d.fail(v.Line, key, "each value is a text, a number, true or false")
		case v.ShortTag() == "!!bool" && v.Value != "true" && v.Value != "false":
			d.fail(v.Line, key, "write true or false, as tokens do, or quote the value")
		default:
			text, err := expand(v.Value, d.lookup)
			unset, ok := errors.AsType[variableError](err)
			if ok && shown(reflect.ValueOf(text), v.Value) == "" {
				err = unset.unnamed()
			}
			if err != nil {
				d.fail(v.Line, key, "%v", err)
			} else if text == "" {
				d.fail(v.Line, key, "a value is empty; set it, or remove its name")
			}
			all[name.Value] = text
		}
	}
	into.Set(reflect.ValueOf(all))
}
