package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gopkg.in/yaml.v3"

	"s3redirect/internal/reread"
)

const (
	// maxBytes bounds each file. 10,000 integrations take 3 MB.
	maxBytes = 10 << 20
	// maxIncludedBytes bounds the included files together.
	maxIncludedBytes = 64 << 20
	// settleTime is the age from which a file's modification time identifies its content. A younger
	// file can change again without a new modification time, because file systems count in steps of
	// up to two seconds.
	settleTime = 3 * time.Second
)

// DefaultPath is the configuration file that commands read without --config. The repository has
// another file, config.yaml, as the example.
const DefaultPath = "s3redirect.yaml"

// exampleName is the name of the example in the repository, and of the default of earlier builds.
const exampleName = "config.yaml"

// Source is the text of a configuration: its main file and the files that its include key matches.
// A Source is immutable.
type Source struct {
	path     string
	main     []byte
	isFile   bool      // false if the text does not come from a file and cannot include any
	patterns []pattern // the valid items of the include key
	files    []*file   // the included files, sorted by path
	problems Errors    // the included files that cannot be read
	secrets  []*file   // the files that variables name, sorted by path; see readSecrets
	// unwritten means that the main file does not exist yet. Saving a change creates it and the
	// directory of the first pattern.
	unwritten bool
	// kept holds the integrations of the main file at the last parse without mistakes, by s or by the
	// Source that s was reread from. It may be nil.
	kept *atomic.Pointer[[]*Integration]
}

// pattern is an item of the include key.
type pattern struct {
	key       string
	line      int
	dir, glob string // dir includes the directory of the main file
}

// file is an included file, or one that holds a secret.
type file struct {
	path    string
	text    []byte
	link    bool        // a symbolic link
	info    fs.FileInfo // nil if the file was not read from disk
	settled bool        // info identifies the content
	secrets []string    // the file: and credential: variables in text
	problem string      // why a file that holds a secret cannot be read, or ""
	parsed  atomic.Pointer[parsed]
}

// Read reads a configuration file and the files that it includes. Its error is an [Errors]. Read
// does not report problems of included files; [Source.Parse] reports them with all others.
func Read(path string) (*Source, error) { return (&Source{path: path}).Reread() }

// New returns the source of a configuration file with the given content that does not exist yet.
func New(path string, text []byte) *Source {
	s := &Source{path: path, main: text, isFile: true, unwritten: true, patterns: includePatterns(path, text)}
	s.readIncluded(nil)
	s.readSecrets(nil)
	return s
}

// Reread reads the files of s again. It reads the content of an included file only if its size,
// times or inode have changed.
func (s *Source) Reread() (*Source, error) {
	text, err := readMain(s.path)
	if err != nil {
		return nil, err
	}
	next := &Source{path: s.path, main: text, isFile: true, patterns: s.patterns, kept: s.kept}
	if next.kept == nil {
		next.kept = &atomic.Pointer[[]*Integration]{}
	}
	if !s.isFile || !bytes.Equal(text, s.main) {
		next.patterns = includePatterns(s.path, text)
	}
	next.readIncluded(s.files)
	next.readSecrets(s.secrets)
	return next, nil
}

// Equal reports whether two sources have the same files with the same content and the same
// problems, including the files that variables name. A nil source equals only itself.
func (s *Source) Equal(other *Source) bool {
	if s == nil || other == nil {
		return s == other
	}
	same := func(a, b *file) bool {
		return a == b || a.path == b.path && a.problem == b.problem && bytes.Equal(a.text, b.text)
	}
	return s.path == other.path && bytes.Equal(s.main, other.main) &&
		slices.EqualFunc(s.files, other.files, same) &&
		slices.EqualFunc(s.secrets, other.secrets, same) &&
		slices.EqualFunc(s.problems, other.problems, func(a, b *Error) bool { return *a == *b })
}

// HasOnlyExample reports whether path is [DefaultPath], and the directory has a config.yaml instead:
// the repository's example, or a configuration that earlier builds read without --config.
func HasOnlyExample(path string) bool {
	if path != DefaultPath {
		return false
	}
	_, err := os.Stat(path)
	_, exampleErr := os.Stat(exampleName)
	return errors.Is(err, fs.ErrNotExist) && exampleErr == nil
}

func readMain(path string) ([]byte, error) {
	whole := func(problem string) error { return Errors{{File: path, Problem: problem}} }
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		problem := "the file does not exist; pass its path with --config, or create one with s3redirect integrate"
		if HasOnlyExample(path) {
			problem += "; " + exampleName + " is here, and is read with --config " + exampleName
		}
		return nil, whole(problem)
	case errors.Is(err, fs.ErrPermission):
		return nil, whole("permission denied; let the user that runs s3redirect read it")
	case err != nil:
		return nil, whole(err.Error())
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, whole("this is a directory; pass the path of the file in it")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, whole(err.Error())
	}
	return data, nil
}

// includePatterns returns the valid items of the include key in the text of a main file.
// [Source.Parse] reports the invalid ones.
func includePatterns(path string, text []byte) (patterns []pattern) {
	root, err := parseMain(path, text)
	if err != nil {
		return nil
	}
	_, list := child(root, "include")
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	for n, item := range list.Content {
		if item.Kind != yaml.ScalarNode || patternProblem(item.Value) != "" {
			continue
		}
		whole := item.Value
		if !filepath.IsAbs(whole) {
			whole = filepath.Join(filepath.Dir(path), whole)
		}
		p := pattern{key: fmt.Sprintf("include[%d]", n), line: item.Line}
		p.dir, p.glob = filepath.Dir(whole), filepath.Base(whole)
		patterns = append(patterns, p)
	}
	return patterns
}

// patternProblem returns what is wrong with an item of the include key, or "".
func patternProblem(text string) string {
	if strings.Contains(text, "${") {
		return "variables are not supported here; write the path itself"
	}
	_, err := filepath.Match(filepath.Base(text), "")
	switch base := filepath.Base(text); {
	case strings.ContainsAny(filepath.Dir(text), "*?["):
		return "only the last part of the path may be a pattern; write one pattern for each directory"
	case err != nil, base == "." || base == "..", strings.HasSuffix(text, "/"):
		return "this is not a pattern of file names; write it as integrations.d/*.yaml"
	}
	return ""
}

// readIncluded reads the files that the patterns match. It does not read unchanged files in known
// again.
func (s *Source) readIncluded(known []*file) {
	var found []*file
	for _, p := range s.patterns {
		matches, err := p.match(s.path)
		if errors.Is(err, fs.ErrNotExist) && s.unwritten {
			continue
		}
		if err != nil {
			s.problems = append(s.problems, &Error{File: s.path, Line: p.line, Key: p.key, Problem: p.problem(err)})
		}
		found = append(found, matches...)
	}
	byPath := func(a, b *file) int { return strings.Compare(a.path, b.path) }
	slices.SortFunc(found, byPath)
	before := map[string]*file{}
	for _, f := range known {
		before[f.path] = f
	}
	total := 0
	for _, f := range slices.CompactFunc(found, func(a, b *file) bool { return a.path == b.path }) {
		f, err := f.read(before[f.path])
		if err != nil {
			s.problems = append(s.problems, &Error{File: f.path, Problem: err.Error()})
			continue
		}
		if f == nil {
			continue
		}
		if total += len(f.text); total > maxIncludedBytes {
			s.problems = append(s.problems, &Error{File: s.path, Line: s.patterns[0].line, Key: "include",
				Problem: "the included files hold more than 64 MiB; do the patterns match the right files?"})
			return
		}
		s.files = append(s.files, f)
	}
}

var errMatchesMain = errors.New("the pattern matches the configuration file itself; put the " +
	"included files into a directory of their own")

// match returns the files that a pattern matches, without reading them. It skips names that begin
// with a dot: editors, Kubernetes and this program use such names for incomplete files.
func (p *pattern) match(main string) (found []*file, err error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		matches, _ := filepath.Match(p.glob, e.Name()) // patternProblem has checked the pattern
		if !matches || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		f := &file{path: filepath.Join(p.dir, e.Name()), link: e.Type()&fs.ModeSymlink != 0}
		if f.path == filepath.Clean(main) {
			return nil, errMatchesMain
		}
		found = append(found, f)
	}
	return found, nil
}

// problem explains an error of match.
func (p *pattern) problem(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("the directory %s does not exist; create it, or remove the pattern", p.dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("the directory %s may not be read; give the user that runs s3redirect the permission", p.dir)
	case errors.Is(err, errMatchesMain):
		return err.Error()
	}
	return fmt.Sprintf("the directory %s cannot be read: %v", p.dir, err)
}

// read returns f with its content, or previous if the file has not changed since. It returns nil
// for a directory. If it fails, it returns f and the error.
func (f *file) read(previous *file) (*file, error) {
	info, err := os.Stat(f.path)
	if err == nil && info.IsDir() {
		return nil, nil
	}
	if err == nil && previous != nil && previous.settled && previous.link == f.link &&
		sameVersion(info, previous.info) {
		return previous, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		return f, errors.New("it is not a regular file; remove it from the directory")
	}
	if err == nil {
		f.text, f.info, err = readRegular(f.path, maxBytes+1)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, errors.New("the file does not exist; if this is a link, correct or remove it")
	case errors.Is(err, fs.ErrPermission):
		return f, errors.New("permission denied; let the user that runs s3redirect read it")
	case err != nil:
		return f, errors.New("it cannot be read: " + err.Error())
	}
	f.settle()
	if previous != nil && previous.link == f.link && bytes.Equal(previous.text, f.text) {
		f.text, f.secrets = previous.text, previous.secrets
		f.parsed.Store(previous.parsed.Load())
		return f, nil
	}
	f.text = bytes.Clone(f.text) // without the spare room of the reader's buffer
	f.secrets = secretNames(f.text)
	return f, nil
}

// settle decides whether f.info identifies the content.
func (f *file) settle() { f.settled = time.Since(f.info.ModTime()) > settleTime }

// sameVersion reports whether two descriptions are those of the same version of a file, provided
// that it has settled.
func sameVersion(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) &&
		reread.ChangeTime(a).Equal(reread.ChangeTime(b))
}

// readRegular reads at most limit bytes of a regular file.
func readRegular(path string, limit int64) (text []byte, info fs.FileInfo, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	// Take the time before reading, so that a change during the read leads to another read.
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	text, err = io.ReadAll(io.LimitReader(f, limit))
	return text, info, err
}
