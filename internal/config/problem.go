package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is a mistake in a configuration, or a warning. [Validate] finds problems from the values
// alone; [Source.Parse] adds the file, the line and the values as the file has them.
type Problem struct {
	Key string
	// Instead are keys to report if the file has no Key.
	Instead []string
	// Needs are the keys that the problem depends on, besides Key and those in the message. It is
	// not reported if the value of one of them could not be parsed, because that is reported already.
	Needs   []string
	Warning bool
	format  string
	args    []any // of format; values and places are rendered from the file
	// rendered is the whole text of a warning that was reported before; the other fields are not
	// used then.
	rendered string
}

// NewProblem returns a mistake in the value of a key.
func NewProblem(key, message string) Problem {
	return Problem{Key: key, format: "%s", args: []any{message}}
}

// value is a key whose value a message shows as the file has it: with ${NAME} unexpanded, and never
// a secret.
type value string

// place is a key whose position is shown in a message about the key from.
type place struct{ key, from string }

// Message returns what is wrong and what to do, without values and positions.
func (p Problem) Message() string { return p.render(nil, nil) }

// Others returns the other keys that the message refers to.
func (p Problem) Others() (keys []string) {
	for _, a := range p.args {
		switch a := a.(type) {
		case value:
			keys = append(keys, string(a))
		case place:
			keys = append(keys, a.key)
		}
	}
	return slices.DeleteFunc(keys, func(key string) bool { return key == p.Key })
}

// render returns the message. written returns a key's value as its file has it, or "" if it must
// not be shown; where returns the position of a key for a message about from.
func (p Problem) render(written func(key string) string, where func(key, from string) string) string {
	args := slices.Clone(p.args)
	for n, a := range args {
		switch a := a.(type) {
		case value:
			args[n] = "the value"
			if written != nil && written(string(a)) != "" {
				args[n] = written(string(a))
			}
		case place:
			args[n] = "at " + a.key
			if where != nil {
				args[n] = where(a.key, a.from)
			}
		}
	}
	return fmt.Sprintf(p.format, args...)
}

// report adds the problems of the decoded configuration c, with their positions, to the decoder's
// errors and to c's warnings.
func (d *decoder) report(c *Config, problems []Problem) {
	for _, p := range problems {
		if p.rendered != "" {
			c.Warnings = append(c.Warnings, p.rendered)
			continue
		}
		key := p.Key
		if at := slices.IndexFunc(p.Instead, d.has); !d.has(key) && at >= 0 {
			key = p.Instead[at]
		}
		message := p.render(func(key string) string { return d.places[key].written }, d.where)
		switch at := d.position(key); {
		case p.Warning:
			w := Error{File: at.file, Line: at.line, Key: d.localKey(key), Problem: message}
			c.Warnings = append(c.Warnings, w.Error())
		case !d.broken[key] &&
			!slices.ContainsFunc(slices.Concat(d.needs(&p), p.Others(), []string{p.Key, key}), d.isUnparsed):
			d.failAt(at, key, "%s", message)
		}
	}
}

// needs returns the keys that a problem needs, without the top-level keys that the integration at
// fault overrides.
func (d *decoder) needs(p *Problem) (keys []string) {
	prefix := p.Key[:strings.LastIndexByte(p.Key, '.')+1]
	for _, key := range p.Needs {
		if prefix == "" || strings.Contains(key, ".") || !d.has(prefix+key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// isUnparsed reports whether the value of a key, of an enclosing key or of an item could not be
// parsed, which has an error of its own. The list of integrations does not count for its items: an
// included file that cannot be read leaves those of the others.
func (d *decoder) isUnparsed(key string) bool {
	for outer := key; outer != ""; outer = outer[:max(0, strings.LastIndexAny(outer, ".["))] {
		if d.unparsed[outer] && (outer == key || outer != "integrations") {
			return true
		}
	}
	for other := range d.unparsed {
		if strings.HasPrefix(other, key+"[") {
			return true
		}
	}
	return false
}

// has reports whether one of the files contains a key.
func (d *decoder) has(key string) bool {
	_, ok := d.places[key]
	return ok
}

// position returns the position of a key or, if it is missing, of the nearest enclosing key.
func (d *decoder) position(key string) position {
	for {
		if p, ok := d.places[key]; ok {
			return p
		}
		i := strings.LastIndexAny(key, ".[")
		if i < 0 {
			return position{file: d.file}
		}
		key = key[:i]
	}
}

// where returns the position of a key as an error about the key from shows it.
func (d *decoder) where(key, from string) string {
	p := d.position(key)
	if p.file == d.position(from).file {
		return fmt.Sprintf("on line %d", p.line)
	}
	return fmt.Sprintf("at %s:%d", p.file, p.line)
}
