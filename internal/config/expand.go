package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME}, ${file:PATH} and ${credential:NAME} by the values that lookup returns,
// and $${ by ${. It does not expand these values again.
func expand(text string, lookup func(name string) (string, error)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), nil
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(escaped + "${")
			text = rest
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || !isVariableName(name) {
			return "", invalidName(name, closed)
		}
		value, err := lookup(name)
		if err != nil {
			return "", err
		}
		b.WriteString(before + value)
		text = after
	}
}

// invalidName returns an error about the name of a variable, without the name.
func invalidName(name string, closed bool) error {
	switch {
	case closed && strings.HasPrefix(name, filePrefix):
		return errors.New("${file: must be followed by an absolute path, without . or .. or repeated " +
			"slashes, and }")
	case closed && strings.HasPrefix(name, credentialPrefix):
		return errors.New("${credential: must be followed by the name of a systemd credential, " +
			"without slashes, and }")
	}
	return errors.New("${ must be followed by the name of a variable and }; write a literal ${ as $${")
}

// untrimmed returns the first variable of a text whose value begins or ends with white space, or "".
func (d *decoder) untrimmed(text string) string {
	for _, name := range Variables(text) {
		if value, _ := d.lookup(name); strings.TrimSpace(value) != value {
			return name
		}
	}
	return ""
}

// untrimmedError is a variable whose value begins or ends with white space, in the value of a
// credential.
//
// Variables often end with a line break that their author does not see: echo VALUE | base64
// encodes it into a Kubernetes Secret. With it, a store answers SignatureDoesNotMatch.
type untrimmedError string

func (e untrimmedError) Error() string {
	return fmt.Sprintf("%s begins or ends with a blank or a line break; "+
		"remove it (echo VALUE | base64 adds a line break: use printf '%%s' VALUE | base64)",
		kindOf(string(e), true))
}

// isCredential reports whether a value is a secret, or the identifier that goes with one.
func isCredential(into reflect.Value, key string) bool {
	name := key[strings.LastIndexByte(key, '.')+1:]
	return into.Type() == reflect.TypeFor[Secret]() || name == "access_key_id" || name == "external_id"
}

// nearest returns the known name with the smallest edit distance, or "" if none is close.
func nearest(name string, known []string) (best string) {
	least := min(2, max(1, len(name)/3)) + 1
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance returns the Levenshtein distance of two texts.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, cost)
		}
	}
	return row[len(b)]
}
