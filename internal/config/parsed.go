package config

import (
	"errors"
	"reflect"
	"strings"
	"time"
)

// parsed holds the integrations of an included file without mistakes, so that a reload does not
// parse the file again, and shares them with the previous configuration. It is immutable. What it
// depends on, besides the text and the path of the file, is recorded in it.
type parsed struct {
	integrations []*Integration
	warnings     []string          // about its integrations alone, in the order of their checks
	defaults     defaults          // of the main file
	folder       string            // see [Source.isEditable]
	values       map[string]string // of the variables in the file
}

// defaults are the values of the main file that integrations inherit.
type defaults struct{ lifetime, remaining, age time.Duration }

func defaultsOf(c *Config) defaults {
	return defaults{lifetime: c.URLLifetime, remaining: c.MinRemaining, age: c.MaxSignatureAge}
}

// folder returns the directory of the files that this program writes, or "".
func (s *Source) folder() string {
	if len(s.patterns) == 0 {
		return ""
	}
	return s.patterns[0].dir
}

// reusable returns what parsing f yielded before, or nil if it has to be parsed.
func (s *Source) reusable(c *Config, d *decoder, f *file) *parsed {
	p := f.parsed.Load()
	if p == nil || p.defaults != defaultsOf(c) || p.folder != s.folder() {
		return nil
	}
	for name, value := range p.values {
		if now, err := d.lookup(name); err != nil || now != value {
			return nil
		}
	}
	return p
}

// record makes d record the values of variables until the returned function is called, which
// returns them.
func (d *decoder) record() (stop func() map[string]string) {
	lookup, values := d.lookup, map[string]string(nil)
	d.lookup = func(name string) (string, error) {
		value, err := lookup(name)
		if err == nil {
			if values == nil {
				values = map[string]string{}
			}
			values[name] = value
		}
		return value, err
	}
	return func() map[string]string {
		d.lookup = lookup
		return values
	}
}

// sound checks those integrations of c that f holds, from the nth on. If they have no mistakes,
// sound keeps them for the next configuration, and drops their positions: with thousands of files,
// these would take more memory than the configuration.
//
// Mistakes that concern other integrations, such as a bucket that two of them serve, are found
// later. [Source.ParseAnd] then starts again and keeps all positions.
func (s *Source) sound(c *Config, d *decoder, f *file, from int, values map[string]string) {
	p := &parsed{
		integrations: c.Integrations[from:len(c.Integrations):len(c.Integrations)],
		defaults:     defaultsOf(c),
		folder:       s.folder(),
		values:       values,
	}
	k := &checker{Config: c}
	for n := from; n < len(c.Integrations); n++ {
		k.checkIntegration(itemKey(n), c.Integrations[n])
	}
	var only Config // receives the warnings
	mistakes := len(d.errs)
	d.unparsed = d.broken
	d.report(&only, k.problems)
	d.unparsed = nil
	if len(d.errs) > mistakes {
		return
	}
	p.warnings = only.Warnings
	f.parsed.Store(p)
	d.reused(p)
	for _, key := range d.added {
		delete(d.places, key)
	}
	for n := range p.integrations {
		delete(d.local, from+n)
	}
}

// reused records that integrations have been checked, and which warnings there are about them.
func (d *decoder) reused(p *parsed) {
	for n, i := range p.integrations {
		warnings := p.warnings
		if n > 0 {
			warnings = nil // they are reported with the first
		}
		d.checked[i] = warnings
	}
}

// errLacksPosition means that a problem is about an integration whose positions were dropped.
var errLacksPosition = errors.New("the positions are not known")

// lacksPosition reports whether a problem is about an integration whose positions were dropped.
func (d *decoder) lacksPosition(p Problem) bool {
	return p.rendered == "" && strings.HasPrefix(p.Key, "integrations[") && !d.has(p.Key)
}

// share replaces integrations of the main file by equal ones of the configuration before, so that
// reloads share them.
func (s *Source) share(all []*Integration) {
	if s.kept == nil {
		return
	}
	before := map[string]*Integration{}
	if kept := s.kept.Load(); kept != nil {
		for _, i := range *kept {
			before[i.Name] = i
		}
	}
	for n, i := range all {
		if same, ok := before[i.Name]; ok && reflect.DeepEqual(i, same) {
			all[n] = same
		}
	}
	s.kept.Store(&all)
}

// shareIncluded replaces integrations of included files, which are in the order of the files, by the
// equal ones that the files keep. They differ if a warning needed the positions of all keys.
func (s *Source) shareIncluded(all []*Integration) {
	for _, f := range s.files {
		var kept []*Integration
		if p := f.parsed.Load(); p != nil {
			kept = p.integrations
		}
		for n := 0; len(all) > 0 && all[0].Origin.File == f.path; n++ {
			if n < len(kept) && all[0] != kept[n] && reflect.DeepEqual(all[0], kept[n]) {
				all[0] = kept[n]
			}
			all = all[1:]
		}
	}
}
