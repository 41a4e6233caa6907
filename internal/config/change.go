package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Change replaces the file of one integration: Old at OldPath by New at NewPath. Old is nil if the
// integration is added, and New is nil if it is removed. The paths differ if it is renamed.
//
// This program writes one file for each integration, into the directory of the first pattern of the
// include key. It changes and removes only files whose first line is [Marker].
type Change struct {
	OldPath, NewPath string
	Old, New         []byte
	source           *Source // the configuration before the change
	// conflict is the reason why no file can be created for the name, or "". If it is set, NewPath
	// is not a valid path.
	conflict string
}

// ReadOnlyError means that an integration cannot be changed because a person wrote its file.
type ReadOnlyError struct {
	Integration string
	Origin      Origin
	Problem     string
}

func (e *ReadOnlyError) Error() string {
	return fmt.Sprintf("integration %s at %s:%d cannot be changed here: %s", e.Integration,
		e.Origin.File, e.Origin.Line, e.Problem)
}

// LacksIntegrations reports whether the only error in err is that the configuration has no
// integration.
func LacksIntegrations(err error) bool {
	all, ok := errors.AsType[Errors](err)
	return ok && len(all) == 1 && all[0].Key == "integrations"
}

// Folder returns the directory that integrations are written to. If there is none, its error is an
// [Errors] that says how to configure one.
func (s *Source) Folder() (string, error) {
	if len(s.patterns) == 0 {
		return "", Errors{{File: s.path, Key: "include",
			Problem: "each integration is written to a file of its own: add the line " +
				"include: [integrations.d/*.yaml] to this file, and create the directory " +
				filepath.Join(filepath.Dir(s.path), "integrations.d")}}
	}
	return s.patterns[0].dir, nil
}

// Writable returns an error if a new integration cannot be written. It tests this by creating and
// removing a file, so a later save can still fail.
func (s *Source) Writable() error {
	dir, err := s.Folder()
	if err != nil {
		return err
	}
	if s.unwritten {
		if err := Writable(s.path); err != nil {
			return err
		}
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil // it will be created
		}
	}
	return Writable(filepath.Join(dir, "integration.yaml"))
}

// Draft returns an integration of c as its file holds it. c must be parsed from s. The error is a
// [*ReadOnlyError] if a person wrote the file.
func (s *Source) Draft(c *Config, name string) (Draft, error) {
	d, _, err := s.editable(c, name)
	return d, err
}

// Add returns the change that adds an integration. Its error is an [Errors].
func (s *Source) Add(d Draft) (*Change, error) {
	dir, err := s.Folder()
	if err != nil {
		return nil, err
	}
	if errs := d.unknownKeys(); errs != nil {
		return nil, errs
	}
	ch := &Change{source: s, New: []byte(d.Text())}
	ch.NewPath, ch.conflict = s.newPath(dir, d["name"])
	return ch, nil
}

// Edit returns the change that sets keys of an integration of c to the texts of d. c must be parsed
// from s. Keys that d lacks are unchanged; keys with an empty text are removed. Its error is an
// [Errors] or a [*ReadOnlyError].
func (s *Source) Edit(c *Config, name string, d Draft) (*Change, error) {
	before, f, err := s.editable(c, name)
	if err != nil {
		return nil, err
	}
	if errs := d.unknownKeys(); errs != nil {
		return nil, errs
	}
	ch := &Change{source: s, OldPath: f.path, Old: f.text, NewPath: f.path}
	after := Draft{}
	for _, key := range DraftKeys() {
		text, changed := d[key]
		if !changed {
			text = before[key]
		}
		after[key] = text
	}
	if after["name"] != before["name"] && filepath.Base(f.path) == name+".yaml" {
		ch.NewPath, ch.conflict = s.newPath(filepath.Dir(f.path), after["name"])
	}
	if ch.New = []byte(after.Text()); sameDraft(before, after) {
		ch.New = ch.Old
	}
	return ch, nil
}

func sameDraft(a, b Draft) bool {
	return !slices.ContainsFunc(DraftKeys(), func(key string) bool { return a[key] != b[key] })
}

// Remove returns the change that removes an integration of c. c must be parsed from s. Its error is
// an [Errors] or a [*ReadOnlyError].
func (s *Source) Remove(c *Config, name string) (*Change, error) {
	_, f, err := s.editable(c, name)
	if err != nil {
		return nil, err
	}
	return &Change{source: s, OldPath: f.path, Old: f.text}, nil
}

// newPath returns the path of a new file for an integration. If no file can be created, it returns
// the reason, and a text that errors can show as the path.
func (s *Source) newPath(dir, name string) (path, conflict string) {
	base := name + ".yaml"
	path = filepath.Join(dir, base)
	if !nameGrammar.MatchString(name) {
		return filepath.Join(dir, "(new)"),
			"this is not a valid name; use a letter or digit, then letters, digits, '.', '_' and '-', 64 at most"
	}
	if matches, _ := filepath.Match(s.patterns[0].glob, base); !matches { // the pattern is valid
		return path + " (new)",
			fmt.Sprintf("the pattern %s of include does not match the file %s that the integration "+
				"would be written to; make it *.yaml",
				s.patterns[0].glob, base)
	}
	if _, err := os.Lstat(path); err == nil {
		return path + " (new)", fmt.Sprintf("the file %s exists already; choose another name, or move the file", path)
	}
	return path, ""
}

// editable returns the draft and the file of an integration of c that this program wrote.
func (s *Source) editable(c *Config, name string) (Draft, *file, error) {
	n := slices.IndexFunc(c.Integrations, func(i *Integration) bool { return i.Name == name })
	if n < 0 {
		return nil, nil, Errors{{File: s.path, Key: "integrations",
			Problem: fmt.Sprintf("there is no integration %s any more", name)}}
	}
	origin := c.Integrations[n].Origin
	readOnly := func(problem string) error {
		return &ReadOnlyError{Integration: name,
			Origin: origin, Problem: problem}
	}
	at := slices.IndexFunc(s.files, func(f *file) bool { return f.path == origin.File })
	if at < 0 || !origin.Editable {
		return nil, nil, readOnly("only people edit this file. To change it here, " + s.howToMove(name))
	}
	f := s.files[at]
	root, err := parseYAML(f.path, f.text)
	if err != nil {
		return nil, nil, err
	}
	d := draftOf(root)
	if bytes.Count(f.text, []byte("#")) != strings.Count(d.Text(), "#") {
		return nil, nil,
			readOnly("the file has comments, which would be lost. To change it here, remove them, " +
				"except for the first line")
	}
	return d, f, nil
}

// howToMove returns instructions for making an integration editable.
func (s *Source) howToMove(name string) string {
	path := filepath.Join(filepath.Dir(s.path), "integrations.d", name+".yaml")
	first := ""
	if dir, err := s.Folder(); err == nil {
		path = filepath.Join(dir, name+".yaml")
	} else {
		first = "add include: [integrations.d/*.yaml] to " + s.path + " and "
	}
	return fmt.Sprintf("%smove its keys to %s, at "+
		"the left margin, with the first line \"%s\" and with an environment variable as its secret", first, path,
		Marker)
}

// isEditable reports whether this program wrote f, whose content is root: f has the marker, is a
// regular file in the folder, and holds one integration and no secret.
func (s *Source) isEditable(f *file, root *yaml.Node) bool {
	if len(s.patterns) == 0 || f.link || filepath.Dir(f.path) != s.patterns[0].dir || root.Kind != yaml.MappingNode {
		return false
	}
	if first, _, _ := strings.Cut(string(f.text), "\n"); strings.TrimSuffix(first, "\r") != Marker {
		return false
	}
	return !holdsSecret(root)
}

// holdsSecret reports whether a mapping with the keys of an integration holds a secret itself,
// instead of an environment variable.
func holdsSecret(root *yaml.Node) bool {
	for _, key := range SecretKeys() {
		_, value := child(root, key)
		if value != nil && value.Tag != "!!null" && !IsVariable(value.Value) {
			return true
		}
	}
	return false
}

// Parse returns the configuration as it will be after the change, with the changed integration at
// its end. Its error is an [Errors], in which NewPath is the file of that integration.
func (ch *Change) Parse(getenv func(string) (string, bool)) (*Config, error) {
	return ch.parse(ch.source, getenv)
}

// parse is like Parse, but applies the change to s.
func (ch *Change) parse(s *Source, getenv func(string) (string, bool)) (*Config, error) {
	c, err := ch.after(s).Parse(getenv)
	if ch.conflict == "" {
		return c, err
	}
	all, _ := errors.AsType[Errors](err)
	if !slices.ContainsFunc(all, func(e *Error) bool { return e.File == ch.NewPath && e.Key == "name" }) {
		all = append(all, &Error{File: ch.NewPath, Key: "name", Problem: ch.conflict})
	}
	return nil, all
}

// after returns s with the change. The changed file comes last, so that duplicate names and buckets
// are reported as errors of that file.
func (ch *Change) after(s *Source) *Source {
	after := *s
	after.files = slices.DeleteFunc(slices.Clone(s.files),
		func(f *file) bool { return f.path == ch.OldPath || f.path == ch.NewPath })
	if ch.New != nil {
		after.files = append(after.files, &file{path: ch.NewPath, text: ch.New})
	}
	return &after
}

// Save writes the change. If the integration's files have changed since they were read, the error
// wraps [ErrChanged]. The whole configuration must load with the change. Save holds the lock of the
// folder, so if two programs save concurrently, the second checks its change against the files that
// the first has written.
//
// Each file is replaced atomically. A new file gets the mode, group and access control lists of
// another file in the folder. If the configuration is new, all users may read its files, because
// the service has a user of its own, and secrets are in environment variables. During a rename both
// files briefly contain the integration: if the program is killed then, the configuration does not
// load until one of them is removed.
func (ch *Change) Save(ctx context.Context, getenv func(string) (string, bool)) error {
	dir, err := ch.source.Folder()
	if err != nil {
		return err
	}
	if ch.conflict != "" {
		return Errors{{File: ch.NewPath, Key: "name", Problem: ch.conflict}}
	}
	if ch.source.unwritten {
		if err := makeFolder(dir); err != nil {
			return explain(dir, err)
		}
	}
	unlock, err := lock(ctx, dir)
	if err != nil {
		return explain(dir, err)
	}
	defer unlock()
	now, err := ch.source.again()
	if err != nil {
		return err
	}
	if _, err := ch.parse(now, getenv); err != nil {
		return err
	}
	if ch.New != nil {
		old := ch.Old
		if ch.NewPath != ch.OldPath {
			old = nil
		}
		if err := save(ctx, ch.NewPath, old, ch.New, now.model(dir), ch.newMode()); err != nil {
			return err
		}
	}
	switch {
	case ch.Old != nil && ch.NewPath != ch.OldPath:
		err = remove(ctx, ch.OldPath, ch.Old)
	case ch.source.unwritten:
		err = save(ctx, ch.source.path, nil, ch.source.main, "", sharedMode)
	}
	if err != nil && ch.New != nil && ch.NewPath != ch.OldPath {
		_ = remove(context.WithoutCancel(ctx), ch.NewPath, ch.New)
	}
	return err
}

// newMode returns the mode of the integration's file if there is no file to take the access of.
func (ch *Change) newMode() fs.FileMode {
	root, err := parseYAML(ch.NewPath, ch.New)
	if !ch.source.unwritten || err != nil || holdsSecret(root) {
		return privateMode
	}
	return sharedMode
}

// makeFolder makes a folder that all users may enter, whatever the umask is. It leaves an existing
// one unchanged.
func makeFolder(dir string) error {
	err := os.Mkdir(dir, sharedFolder)
	if errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return os.Chmod(dir, sharedFolder)
}

// again rereads the files of s.
func (s *Source) again() (*Source, error) {
	if s.unwritten {
		return New(s.path, s.main), nil
	}
	return s.Reread()
}

// model returns the file whose access rights a new file in dir gets: another one in dir, or else
// the main file.
func (s *Source) model(dir string) string {
	for _, f := range s.files {
		if filepath.Dir(f.path) == dir && !f.link {
			return f.path
		}
	}
	return s.path
}
