package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// decoder reads YAML nodes into the configuration's structs. yaml.v3 itself would stop at a syntax tree: it neither names
// the nearest known key, nor remembers on which line a value stands, nor knows of ${NAME}.
type decoder struct {
	file   string
	getenv func(string) (string, bool)
	errs   Errors
	places map[string]place
}

// place is where a key stands.
type place struct {
	line    int
	written string // a scalar as it stands in the file, before ${NAME} is replaced
}

func (d *decoder) fail(line int, key, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.file, Line: line, Key: key, Problem: fmt.Sprintf(format, args...)})
}

// plainTags are the tags that YAML itself gives to scalars.
var plainTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}

// decode reads a node into a value. A key without a value is as good as absent.
func (d *decoder) decode(n *yaml.Node, into reflect.Value, key string) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail(n.Line, key, "anchors and aliases are not understood here; write the value out")
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
	case into.Kind() == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		setDefaults(into.Elem())
		d.decode(n, into.Elem(), key)
	case into.Kind() == reflect.Struct:
		d.mapping(n, into, key)
	case into.Kind() == reflect.Slice:
		d.sequence(n, into, key)
	case n.Kind != yaml.ScalarNode:
		d.fail(n.Line, key, "one value is expected here, not a list and not keys")
	case !slices.Contains(plainTags, n.ShortTag()):
		d.fail(n.Line, key, "the tag %s is not understood here; write the value without it", n.Tag)
	default:
		d.places[key] = place{line: n.Line, written: n.Value}
		text, err := expand(n.Value, d.getenv)
		if err != nil {
			d.fail(n.Line, key, "%v", err)
			return
		}
		if text == "" {
			// Such as a variable that is set to nothing: an external_id or an endpoint must not be lost like that.
			d.fail(n.Line, key, "the value is empty; write one, or remove the key")
			return
		}
		if err := setScalar(into, text); err != nil {
			d.fail(n.Line, key, "%s: %v", d.shown(into, n.Value), err)
		}
	}
}

// shown is a value as an error may show it: as it was written, and not at all where it is a secret.
func (d *decoder) shown(into reflect.Value, written string) string {
	if into.Type() == reflect.TypeFor[Secret]() {
		return redacted
	}
	return strconv.Quote(written)
}

func (d *decoder) sequence(n *yaml.Node, into reflect.Value, key string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n.Line, key, "a list is expected here: [a, b], or a line each that begins with '- '")
		return
	}
	d.places[key] = place{line: n.Line}
	for i, item := range n.Content {
		value := reflect.New(into.Type().Elem()).Elem()
		setDefaults(value)
		at := fmt.Sprintf("%s[%d]", key, i)
		d.places[at] = place{line: item.Line}
		d.decode(item, value, at)
		into.Set(reflect.Append(into, value))
	}
}

func (d *decoder) mapping(n *yaml.Node, into reflect.Value, key string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, key, "keys with values are expected here, such as {%s: …}", fieldNames(into.Type())[0])
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(key+"."+name.Value, ".")
		if line, twice := first[name.Value]; twice {
			d.fail(name.Line, at, "the key is there already, on line %d; keep one of them", line)
			continue
		}
		first[name.Value] = name.Line
		field := fieldNamed(into, name.Value)
		if !field.IsValid() {
			d.unknown(name, at, into.Type())
			continue
		}
		d.places[at] = place{line: name.Line}
		d.decode(value, field, at)
	}
}

func (d *decoder) unknown(name *yaml.Node, at string, in reflect.Type) {
	known := fieldNames(in)
	switch nearest := nearest(name.Value, known); {
	case name.Value == "<<":
		d.fail(name.Line, at, "merge keys are not understood here; write the values out")
	case nearest != "":
		d.fail(name.Line, at, "there is no such key; did you mean %s?", nearest)
	default:
		d.fail(name.Line, at, "there is no such key; known here: %s", strings.Join(known, ", "))
	}
}

func fieldNames(t reflect.Type) (names []string) {
	for f := range t.Fields() {
		if name := f.Tag.Get("yaml"); name != "-" {
			names = append(names, name)
		}
	}
	return names
}

func fieldNamed(v reflect.Value, name string) reflect.Value {
	for f, field := range v.Fields() {
		if f.Tag.Get("yaml") == name && name != "-" {
			return field
		}
	}
	return reflect.Value{}
}

// setScalar reads a text into a value. Its error does not repeat the text.
func setScalar(into reflect.Value, text string) error {
	if into.Type() == reflect.TypeFor[time.Duration]() {
		v, err := time.ParseDuration(text)
		if err != nil {
			if _, number := strconv.ParseFloat(text, 64); number == nil {
				return errors.New("a duration needs a unit, as in 45m, 1h or 30s")
			}
			return errors.New("this is no duration; write it as 45m, 1h30m or 168h (7 days)")
		}
		into.SetInt(int64(v))
		return nil
	}
	if u, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok {
		// slog would take "info+1" as well.
		if !slices.Contains([]string{"debug", "info", "warn", "error"}, text) || u.UnmarshalText([]byte(text)) != nil {
			return errors.New("write one of debug, info, warn and error")
		}
		return nil
	}
	switch into.Kind() {
	case reflect.String:
		into.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return errors.New("this is neither true nor false")
		}
		into.SetBool(text == "true")
	case reflect.Int:
		v, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
		if err != nil {
			return errors.New("this is no whole number")
		}
		into.SetInt(int64(v))
	default:
		panic("config: a field of type " + into.Type().String())
	}
	return nil
}
