package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME} by environment variables and $${ by ${. It does not expand the values of
// variables again.
func expand(text string, getenv func(string) (string, bool)) (string, error) {
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
		if !closed || !envName.MatchString(name) {
			return "", errors.New("${ must be followed by the name of a variable and }; write a literal ${ as $${")
		}
		value, set := getenv(name)
		if !set {
			return "", unsetError(name)
		}
		b.WriteString(before + value)
		text = after
	}
}

// unsetError is an environment variable that is not set.
type unsetError string

func (e unsetError) Error() string {
	return fmt.Sprintf("the environment variable %s is not set; set it, or write the value here", string(e))
}

// unnamed returns the error without the variable's name. In the value of a secret key, the name may
// be the secret itself, as in ${hunter2}.
func (unsetError) unnamed() error {
	return errors.New("the environment variable in this value is not set; set it, or write the value here")
}

// untrimmed returns the first environment variable of a text whose value begins or ends with white
// space, or "".
func (d *decoder) untrimmed(text string) string {
	for _, name := range Variables(text) {
		if value, _ := d.getenv(name); strings.TrimSpace(value) != value {
			return name
		}
	}
	return ""
}

// untrimmedError is an environment variable whose value begins or ends with white space, in the
// value of a credential.
//
// Variables often end with a line break that their author does not see: echo VALUE | base64
// encodes it into a Kubernetes Secret. With it, a store answers SignatureDoesNotMatch.
type untrimmedError string

func (e untrimmedError) Error() string {
	return fmt.Sprintf("the environment variable %s begins or ends with a blank or a line break; "+
		"remove it (echo VALUE | base64 adds a line break: use printf '%%s' VALUE | base64)", string(e))
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
