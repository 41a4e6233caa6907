package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"gopkg.in/yaml.v3"
)

// decoder decodes YAML nodes into the configuration's structs. In contrast to yaml.v3 it suggests
// the nearest known key, remembers the line of each value, and replaces ${NAME}.
type decoder struct {
	file   string
	lookup func(name string) (string, error) // the values of ${NAME}
	errs   Errors
	broken map[string]bool // the keys with a mistake in their values
	// unparsed are the keys in broken whose values could not be parsed. It is nil until all are.
	unparsed map[string]bool
	places   map[string]position
	added    []string // keys that were added to places; see [Source.sound]
	// checked has the integrations whose own keys have no mistakes, with the warnings about them.
	checked map[*Integration][]string
	// local maps integrations of included files to their keys relative to their own file: "" if the
	// file holds only one.
	local map[int]string
	// single has the keys of the lists that the file has without a list, as their only item.
	single []string
}

func newDecoder(file string, v *variables) *decoder {
	return &decoder{file: file, lookup: v.lookup, broken: map[string]bool{},
		places: map[string]position{}, local: map[int]string{}, checked: map[*Integration][]string{}}
}

// setPlace records the position of a key.
func (d *decoder) setPlace(key string, p position) {
	d.places[key] = p
	d.added = append(d.added, key)
}

// position is the position of a key in the files.
type position struct {
	file    string
	line    int
	written string // a scalar as the file has it, before ${NAME} is replaced; "" if it must not be shown
}

func (d *decoder) fail(line int, key, format string, args ...any) {
	d.failAt(position{file: d.file, line: line}, key, format, args...)
}

func (d *decoder) failAt(p position, key, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: p.file, Line: p.line, Key: d.localKey(key),
		Problem: fmt.Sprintf(format, args...)})
	d.broken[key] = true
}

// localKey returns a key as errors show it: relative to the file that it is in, and without the
// index of an item that is not in a list.
func (d *decoder) localKey(key string) string {
	for _, list := range slices.Backward(d.single) { // an inner list comes after the outer one
		if rest, ok := strings.CutPrefix(key, list+"[0]"); ok {
			key = list + rest
		}
	}
	rest, ok := strings.CutPrefix(key, "integrations[")
	number, rest, closed := strings.Cut(rest, "]")
	n, err := strconv.Atoi(number)
	if local, included := d.local[n]; ok && closed && err == nil && included {
		return strings.TrimPrefix(local+rest, ".")
	}
	return key
}

// plainTags are the tags of scalars without an explicit tag.
var plainTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}

// decode decodes a node into a value. A list without a value is empty, which differs from a missing
// one. Other keys need a value: without one, an admin.token or a rate_limit would silently not apply.
func (d *decoder) decode(n *yaml.Node, into reflect.Value, key string) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail(n.Line, key,
			"anchors and aliases are not supported; write out the value, quoted if it begins with & or *")
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		switch into.Kind() {
		case reflect.Slice:
			into.Set(reflect.MakeSlice(into.Type(), 0, 0))
		case reflect.Map:
			into.Set(reflect.MakeMap(into.Type()))
		default:
			d.fail(n.Line, key, "the value is empty; set it, or remove the key")
		}
	case into.Kind() == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		setDefaults(into.Elem())
		d.decode(n, into.Elem(), key)
	case into.Kind() == reflect.Struct:
		d.mapping(n, into, key)
	case into.Kind() == reflect.Map:
		d.texts(n, into, key)
	case isOneOrMore(into) && n.Kind != yaml.SequenceNode:
		d.one(n, into, key)
	case into.Kind() == reflect.Slice:
		d.sequence(n, into, key)
	case n.Kind != yaml.ScalarNode:
		d.fail(n.Line, key, "a single value is expected, not a list or a mapping")
	case !slices.Contains(plainTags, n.ShortTag()):
		d.fail(n.Line, key, "tags are not supported; quote values that begin with !")
	default:
		shown := shown(into, n.Value)
		d.setPlace(key, position{file: d.file, line: n.Line, written: shown})
		text, err := expand(n.Value, d.lookup)
		if unset, ok := errors.AsType[variableError](err); ok && shown == "" {
			err = unset.unnamed()
		}
		if err != nil {
			d.fail(n.Line, key, "%v", err)
			return
		}
		if name := d.untrimmed(n.Value); name != "" && isCredential(into, key) {
			d.fail(n.Line, key, "%v", untrimmedError(name))
			return
		}
		if text == "" {
			// For example, an empty variable must not silently remove an external_id or an
			// endpoint.
			d.fail(n.Line, key, "the value is empty; set it, or remove the key")
			return
		}
		if err := setScalar(into, text); err != nil && shown == "" {
			d.fail(n.Line, key, "%v", err)
		} else if err != nil {
			d.fail(n.Line, key, "%q: %v", shown, err)
		}
	}
}

// shown returns a value as messages may show it, or "" if they must not. They must not show
// secrets, control characters, or values that may contain another key's secret because of a typo:
// those with white space or a separator, as in "lab,secret_access_key:VALUE", and those with the
// name of a key before a colon, as in "token:VALUE".
func shown(into reflect.Value, written string) string {
	isSeparator := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`,;=?&@"'`, r)
	}
	if into.Type() == reflect.TypeFor[Secret]() || strings.ContainsFunc(written, isSeparator) ||
		strings.Contains(written, ":") && keyInValue().MatchString(written) {
		return ""
	}
	return written
}

// keyInValue matches a text with the name of a configuration key before a colon.
var keyInValue = sync.OnceValue(func() *regexp.Regexp {
	names := map[string]bool{}
	collectNames(reflect.TypeFor[Config](), names)
	return regexp.MustCompile(`(?i)(^|[^a-z])(` + strings.Join(slices.Sorted(maps.Keys(names)), "|") + `):`)
})

// collectNames adds the names of t's keys, and of all keys below them, to names.
func collectNames(t reflect.Type, names map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		collectNames(t.Elem(), names)
	case reflect.Struct:
		for f := range t.Fields() {
			if name := f.Tag.Get("yaml"); name != "" && name != "-" {
				names[name] = true
				collectNames(f.Type, names)
			}
		}
	}
}

func (d *decoder) sequence(n *yaml.Node, into reflect.Value, key string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n.Line, key, "a list is expected: [a, b], or lines that begin with '- '")
		return
	}
	d.setPlace(key, position{file: d.file, line: n.Line})
	into.Set(reflect.MakeSlice(into.Type(), 0, len(n.Content)))
	for i, item := range n.Content {
		into.Set(reflect.Append(into, reflect.Zero(into.Type().Elem())))
		value := into.Index(i)
		if value.Kind() == reflect.Pointer { // an item without a value is not nil
			value.Set(reflect.New(value.Type().Elem()))
			value = value.Elem()
		}
		setDefaults(value)
		at := fmt.Sprintf("%s[%d]", key, i)
		d.setPlace(at, position{file: d.file, line: item.Line})
		d.decode(item, value, at)
	}
}

func (d *decoder) mapping(n *yaml.Node, into reflect.Value, key string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, key, "a mapping is expected, such as {%s: …}", fieldNames(into.Type())[0])
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		field := fieldNamed(into, name.Value)
		if !isPlainKey(name) || !field.IsValid() {
			d.unknown(name, key, into.Type())
			continue
		}
		at := strings.TrimPrefix(key+"."+name.Value, ".")
		if line, twice := first[name.Value]; twice {
			d.fail(name.Line, at, "duplicate key, also on line %d; keep one of the two", line)
			continue
		}
		first[name.Value] = name.Line
		d.setPlace(at, position{file: d.file, line: name.Line})
		d.decode(value, field, at)
	}
}

// isPlainKey reports whether a key is a word without an anchor, alias or tag.
func isPlainKey(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Anchor == "" && n.Style&yaml.TaggedStyle == 0
}

// unknown adds an error about an unknown key in the mapping at a key. The error does not show the
// key, only its position: in {token:VALUE} and in "? VALUE" the secret itself is the key.
func (d *decoder) unknown(name *yaml.Node, at string, in reflect.Type) {
	known := fieldNames(in)
	all := "known keys: " + strings.Join(known, ", ")
	problem := "unknown key (not shown, because it could be a secret); " + all
	before, _, colon := strings.Cut(name.Value, ":")
	switch nearest := nearest(name.Value, known); {
	case name.ShortTag() == "!!merge":
		problem = "merge keys are not supported; write out the values"
	case !isPlainKey(name):
		problem = "a key is a plain word, without anchor, alias or tag; " + all
	case colon && slices.Contains(known, before):
		problem = "a space is missing after the colon of " + before
	case nearest != "":
		problem = "unknown key; did you mean " + nearest + "?"
	}
	// The mapping itself is not marked as broken, so that its missing keys are reported as well.
	d.errs = append(d.errs, &Error{File: d.file, Line: name.Line, Column: name.Column,
		Key: d.localKey(at), Problem: problem})
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

// setScalar parses a text into a value. Its error does not contain the text.
func setScalar(into reflect.Value, text string) error {
	if into.Type() == reflect.TypeFor[time.Duration]() {
		v, err := ParseDuration(text)
		if err != nil {
			return err
		}
		into.SetInt(int64(v))
		return nil
	}
	if b, ok := into.Addr().Interface().(*Bytes); ok {
		return b.UnmarshalText([]byte(text))
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
		// YAML 1.2, section 10.3.2: the core schema.
		switch text {
		case "true", "True", "TRUE":
			into.SetBool(true)
		case "false", "False", "FALSE":
			into.SetBool(false)
		default:
			return errors.New("write true or false")
		}
	case reflect.Int:
		v, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
		if err != nil {
			return errors.New("write a whole number")
		}
		into.SetInt(int64(v))
	default:
		panic("config: a field of type " + into.Type().String())
	}
	return nil
}
