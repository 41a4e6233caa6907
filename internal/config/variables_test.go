package config

import (
	"fmt"
	"slices"
	"testing"
)

func TestVariables(t *testing.T) {
	for text, want := range map[string]string{
		"": "[]", "plain": "[]", "${A}": "[A]",
		"x${A}y${B_2}z": "[A B_2]", "$${A}": "[]", "$${A}${B}": "[B]", "${A": "[]", "${A}${": "[A]",
		"$A": "[]", "${a}": "[a]", "${file:/run/x}${credential:a.b}": "[file:/run/x credential:a.b]",
		"${file:run/x}": "[]", "${file:/run/../x}": "[]", "${credential:../x}": "[]", "${file:}": "[]",
	} {
		if got := fmt.Sprint(Variables(text)); got != want {
			t.Errorf("Variables(%q) = %s, want %s", text, got, want)
		}
	}
}

// SecretVariables returns the variables of all secrets, including those in a part of a value, and
// no variables of other keys.
func TestSecretVariables(t *testing.T) {
	const text = `listen: ${LISTEN}
admin: {token: "${ADMIN}", hosts: ["${HOST}"]}
viewers: {links: {keys: [{id: "${ID}", secret: "a${LINK}b"}, {id: k2, secret: "${OLD_LINK}"}]}}
cache:
  redis:
    url: "redis://:${REDIS}@h:${PORT}"
    encryption_key: "${FLEET}"
    old_encryption_keys: ["${OLD_FLEET}", "$${NOT}"]
integrations:
  - {name: a, access_key_id: "${A_KEY}", secret_access_key: "${A_SECRET}"}
  - {name: b, access_key_id: "${B_KEY}", secret_access_key: "${B_SECRET}"}
`
	const one, list = `{name: c, access_key_id: "${C_KEY}", secret_access_key: "${C_SECRET}"}`,
		`[{name: d, secret_access_key: "${D_SECRET}"}]`
	s := New("config.yaml", []byte(text))
	s.files = []*file{{path: "one", text: []byte(one)}, {path: "list", text: []byte(list)}}
	for except, want := range map[string]string{
		"":  "[ADMIN A_SECRET B_SECRET C_SECRET D_SECRET FLEET LINK OLD_FLEET OLD_LINK PORT REDIS]",
		"a": "[ADMIN B_SECRET C_SECRET D_SECRET FLEET LINK OLD_FLEET OLD_LINK PORT REDIS]",
		"d": "[ADMIN A_SECRET B_SECRET C_SECRET FLEET LINK OLD_FLEET OLD_LINK PORT REDIS]",
		"c": "[ADMIN A_SECRET B_SECRET D_SECRET FLEET LINK OLD_FLEET OLD_LINK PORT REDIS]",
	} {
		got := s.SecretVariables(except)
		slices.Sort(got)
		if fmt.Sprint(got) != want {
			t.Errorf("SecretVariables(%q) = %s, want %s", except, got, want)
		}
	}
}
