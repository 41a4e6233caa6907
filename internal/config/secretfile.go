package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxSecretFile bounds a file that ${file:PATH} or ${credential:NAME} names, in bytes.
	maxSecretFile = 64 << 10

	filePrefix       = "file:"
	credentialPrefix = "credential:"
	// credentialsDirectory is the environment variable in which systemd passes the directory of a
	// unit's credentials (systemd.exec(5), LoadCredential=).
	credentialsDirectory = "CREDENTIALS_DIRECTORY"
)

// credentialName is the grammar of ${credential:NAME}: the name of a file. It must not lead out of
// the directory.
var credentialName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,254}$`)

// isVariableName reports whether ${name} is valid: the name of an environment variable, file: and
// an absolute path without superfluous elements, or credential: and a name.
func isVariableName(name string) bool {
	if path, ok := strings.CutPrefix(name, filePrefix); ok {
		return filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/" &&
			!strings.ContainsFunc(path, isControl)
	}
	if credential, ok := strings.CutPrefix(name, credentialPrefix); ok {
		return credentialName.MatchString(credential)
	}
	return envName.MatchString(name)
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// IsVariable reports whether the whole text is one ${NAME}, ${file:PATH} or ${credential:NAME}.
func IsVariable(text string) bool {
	name, ok := strings.CutPrefix(text, "${")
	name, closed := strings.CutSuffix(name, "}")
	return ok && closed && isVariableName(name)
}

// kindOf returns how messages call a variable: with its kind and, unless it is a part of a value
// that may be a secret, with its name. Paths are always named.
func kindOf(name string, named bool) string {
	path, isFile := strings.CutPrefix(name, filePrefix)
	credential, isCredential := strings.CutPrefix(name, credentialPrefix)
	switch {
	case isFile:
		return "the file " + path
	case isCredential && named:
		return "the systemd credential " + credential
	case isCredential:
		return "the systemd credential in this value"
	case named:
		return "the environment variable " + name
	}
	return "the environment variable in this value"
}

// variables looks up the values of ${NAME}, ${file:PATH} and ${credential:NAME}.
type variables struct {
	getenv func(string) (string, bool)
	files  []*file // those that were read with the configuration, sorted by path
}

// lookup returns the value of a variable whose name is valid. Its error is a [variableError].
func (v *variables) lookup(name string) (string, error) {
	if !strings.HasPrefix(name, filePrefix) && !strings.HasPrefix(name, credentialPrefix) {
		value, set := v.getenv(name)
		if !set {
			return "", variableError{name, "is not set; set it, or write the value here"}
		}
		return value, nil
	}
	path, ok := secretPath(name, v.getenv)
	if !ok {
		return "", variableError{name, "is missing, because " + credentialsDirectory + " is not set; " +
			"add LoadCredential= to the systemd unit, or use ${file:PATH}"}
	}
	f := &file{path: path}
	if n, found := slices.BinarySearchFunc(v.files, path, comparePath); found {
		f = v.files[n]
	} else {
		f = readSecret(path, nil)
	}
	text := f.text
	switch {
	case f.problem != "":
		return "", variableError{name, f.problem}
	case len(text) > maxSecretFile:
		return "", variableError{name, "has more than 64 kB; is it the right one?"}
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	if len(text) == 0 {
		return "", variableError{name, "is empty; write the value to it"}
	}
	return string(text), nil
}

// Lookup returns the value of the variable with a name: an environment variable, file:PATH or
// credential:NAME. Its error names the variable.
func Lookup(name string) (string, error) {
	if !isVariableName(name) {
		return "", errors.New("this is not the name of a variable; write it as SCANS_KEY, " +
			"file:/run/secrets/scans or credential:scans")
	}
	return (&variables{getenv: os.LookupEnv}).lookup(name)
}

func comparePath(f *file, path string) int { return strings.Compare(f.path, path) }

// secretPath returns the path of the file that a variable stands for. ok is false if there is no
// directory of credentials.
func secretPath(name string, getenv func(string) (string, bool)) (path string, ok bool) {
	if path, ok := strings.CutPrefix(name, filePrefix); ok {
		return path, true
	}
	dir, _ := getenv(credentialsDirectory)
	return filepath.Join(dir, strings.TrimPrefix(name, credentialPrefix)), dir != ""
}

// secretReference matches ${file:PATH} and ${credential:NAME} in the text of a file. It also
// matches in comments, which is harmless: what nothing else names is only read.
var secretReference = regexp.MustCompile(`\$\{((?:file|credential):[^}\r\n]*)\}`)

// secretNames returns the valid file: and credential: names in the text of a file.
func secretNames(text []byte) (names []string) {
	for _, m := range secretReference.FindAllSubmatch(text, -1) {
		if name := string(m[1]); isVariableName(name) {
			names = append(names, name)
		}
	}
	return names
}

// readSecrets reads the files that the variables in s name, so that [Source.Equal] notices when
// they change. It does not read unchanged files in known again.
func (s *Source) readSecrets(known []*file) {
	names := secretNames(s.main)
	for _, f := range s.files {
		names = append(names, f.secrets...)
	}
	var paths []string
	for _, name := range names {
		if path, ok := secretPath(name, os.LookupEnv); ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for _, path := range slices.Compact(paths) {
		var previous *file
		if n, found := slices.BinarySearchFunc(known, path, comparePath); found {
			previous = known[n]
		}
		s.secrets = append(s.secrets, readSecret(path, previous))
	}
}

// readSecret reads a file with a secret, or returns previous if the file has not changed. A problem
// is part of the result. Only regular files are opened: opening a pipe would block.
func readSecret(path string, previous *file) *file {
	f := &file{path: path}
	info, err := os.Stat(path)
	if err == nil && previous != nil && previous.settled && sameVersion(info, previous.info) {
		return previous
	}
	switch {
	case err == nil && info.IsDir():
		f.problem = "is a directory; name a file in it"
		return f
	case err == nil && !info.Mode().IsRegular():
		f.problem = "is not a regular file; name one"
		return f
	case err == nil:
		f.text, f.info, err = readRegular(path, maxSecretFile+1)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.problem = "does not exist; create it, or write the value here"
	case errors.Is(err, fs.ErrPermission):
		f.problem = "cannot be read: permission denied; let the user that runs s3redirect read it"
	case err != nil:
		f.problem = fmt.Sprintf("cannot be read: %v", withoutPath(err))
	default:
		f.settle()
	}
	return f
}

// withoutPath returns the cause of an error about a file.
func withoutPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// variableError is a variable without a usable value.
type variableError struct{ name, problem string }

func (e variableError) Error() string { return kindOf(e.name, true) + " " + e.problem }

// unnamed returns the error without the variable's name. In the value of a secret key, the name may
// be the secret itself, as in ${hunter2}.
func (e variableError) unnamed() error { return errors.New(kindOf(e.name, false) + " " + e.problem) }
