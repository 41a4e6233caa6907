package config

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// canary stands for a secret. The configurations below and the messages contain no four of its
// characters in a row.
const canary = "s0Canary9"

// hasCanary reports whether text contains at least four consecutive characters of the canary.
func hasCanary(text string) bool {
	for n := range len(canary) - 3 {
		if strings.Contains(text, canary[n:n+4]) {
			return true
		}
	}
	return false
}

// secretTemplates are configurations with every key that holds a secret, in block style and in flow
// style. Each @ is the place of a secret.
var secretTemplates = []string{`listen: 127.0.0.1:8080
admin_listen: 127.0.0.1:9090
admin:
  token: @
  hosts: [admin.example.com]
referrer_policy: no-referrer
integrations:
  - name: lab
    bucket: photos
    region: us-east-1
    access_key_id: AKIA
    secret_access_key: @
  - name: other
    bucket: scans
    region: us-east-1
    access_key_id: AKIA
    secret_access_key: @
viewers:
  anonymous: true
  links:
    keys:
      - id: k1
        secret: @
      - id: k2
        secret: @
cache:
  urls: 65536
  redis:
    url: redis://user:@@127.0.0.1:6379/0
    encryption_key: @
    old_encryption_keys:
      - @
      - @
log:
  level: info
`, `listen: 127.0.0.1:8080
admin: {token: @, hosts: [admin.example.com]}
integrations: [{name: lab, bucket: photos, region: us-east-1, access_key_id: AKIA, secret_access_key: @}]
viewers: {anonymous: true, links: {keys: [{id: k1, secret: @}, {id: k2, secret: @}]}}
cache: {urls: 65536, redis: {url: "redis://user:@@127.0.0.1:6379/0", encryption_key: @, old_encryption_keys: [@, @]}}
log: {level: info}
`, Marker + `
name: lab
bucket: photos
region: us-east-1
access_key_id: AKIA
secret_access_key: @
`, `listen: 127.0.0.1:8080
viewers: {anonymous: true}
cache:
  redis:
    url: redis://127.0.0.1:6379/0
    username: s3redirect
    password: @
    key_prefix: media
    encryption_key: @
`, `listen: 127.0.0.1:8080
cache: {redis: {username: proxy, password: @, url: "redis://127.0.0.1:6379/0", key_prefix: media, encryption_key: @}}
`}

// includedFile is the index of the included file in secretTemplates.
const includedFile = 2

// filler is a valid secret for the places without the canary.
const filler = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI="

// typos are mistakes in writing a secret. Each replaces "key: value", or "value" in a list.
// K stands for the key and V for the canary.
var typos = []string{
	"K:V", "K V", "KV", "K: *V", "K: &V", "K: &V x", "K: !V", "K: !V x", "K: !!V x",
	"K: !<V> x", "K: !e!V x", "K: |V", "K: >V", "K: %V", "K: @V", "K: `V", "K: 'V", "K: \"V",
	"K: \"\\V\"", "K: \"\\xV\"",
	"K: 'V'V", "K: [V", "K: [V]", "K: {V}", "K: {V: V}", "K: {V", "K: V]",
	"K: V}", "K: - V", "K: V: V", "K: V # V", "K: ,V", "K: ?V", "K: ${V}", "K: ${V", "K: x${V}y",
	"K: ${V}${", "K: $${V}",
	"K: !!int V", "K: !!bool V", "K: !!binary V", "K: !!null V", "K: !!float V", "K: !!map V",
	"K: !!seq V", "K: !!str V",
	"? V", "? K: V", "? [V]", "? {V: V}", "? |\n V", "V: K", "V:", "V", "\"V\": x", "'V': x",
	"V: {K: V}", "*V : x", "&V K: x", "!V K: x", "! V",
	"<<: V", "<<: *V", "<<: {V: V}", "<<: [V]", "K: &a V\n*a : V",
	"K:\tV", "\tK: V", "K: V\n\tV: V", "K: V\n V: V", "K:\nV", "K:\n V", "K:\n   - V",
	"K:\n    V:\n", "K: V\nV", "K: V\n V",
	"--- V", "---\nV: V", "...\nV: V", "%V", "%YAML V", "%TAG ! V",
	"K: V\r V", "K: V\u2028V", "K: \x01V", "K: \xffV",
	"x: a,K:V", "name: a,K:V", "name: a;K=V", "region: us-east-1,K=V", "region: K:V", "id: a,K:V",
	"level: info,K=V", "urls: 1;K:V",
	"hosts: [a,K:V]", "hosts: [K:V]", "name: \"a\"K:V", "listen: :80?K=V", "bucket: a@V",
	"bucket: a&K=V", "KK: V", "xK: V", "K_: V", "k-K: V", "K.V: x", "K: V, V: V", "K: V\nK: V",
	"V: V\nV: V", "K=V", "K = V", "K:: V", ":K: V",
	"K : V", "- K: V", "[V]: K", "{V: V}: K", "K: \"V\nV\"", "K: 'V\n\nV'",
	"K: >-\n V\nV", "K: |\n        V\n      V",
}

// canaryConfig returns a configuration that has the canary in place of one secret, and mistakes
// chosen by r. included reports whether it is the text of an included file.
func canaryConfig(r *rand.Rand) (text string, included bool) {
	which := r.IntN(len(secretTemplates))
	text = secretTemplates[which]
	places := regexp.MustCompile(`([a-z_]+: )?("?redis://user:)?@`).FindAllStringIndex(text, -1)
	place := places[r.IntN(len(places))]
	fill := func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(s, "@@", filler+"\x00"), "@", filler)
	}
	secret := strings.ReplaceAll(text[place[0]:place[1]], "@", canary)
	if key, _, ok := strings.Cut(secret, ": "); ok && r.IntN(3) > 0 {
		secret = strings.NewReplacer("K", key, "V", canary).Replace(typos[r.IntN(len(typos))])
	} else if !ok && r.IntN(3) > 0 {
		secret = strings.NewReplacer("K", "", "V", canary).Replace(typos[r.IntN(len(typos))])
		secret = strings.TrimPrefix(secret, ": ")
	}
	after := text[place[1]:]
	if rest, ok := strings.CutPrefix(after, "@"); ok { // the @ between password and host
		after = "\x00" + rest
	}
	text = strings.ReplaceAll(fill(text[:place[0]])+secret+fill(after), "\x00", "@")
	for range r.IntN(4) {
		text = mutate(r, text)
	}
	return text, which == includedFile
}

// mutate makes one random editing mistake in text.
func mutate(r *rand.Rand, text string) string {
	at := r.IntN(len(text) + 1)
	if near := strings.Index(text, canary); near >= 0 && r.IntN(2) == 0 {
		at = max(0, min(len(text), near+r.IntN(40)-20))
	}
	lines := strings.SplitAfter(text, "\n")
	n := r.IntN(len(lines))
	switch r.IntN(8) {
	case 0:
		const odd = "{}[],:?-*&!|>'\"%@#`\\ \t\n<=$~"
		return text[:at] + string(odd[r.IntN(len(odd))]) + text[at:]
	case 1:
		return text[:at] + text[min(at+1, len(text)):]
	case 2:
		lines[n] = " " + lines[n]
	case 3:
		lines[n] = strings.TrimPrefix(lines[n], " ")
	case 4:
		lines[n] = strings.TrimLeft(lines[n], " ")
	case 5:
		lines[n] += lines[n]
	case 6:
		lines[n] = strings.TrimSuffix(lines[n], "\n")
	case 7:
		m := r.IntN(len(lines))
		lines[n], lines[m] = lines[m], lines[n]
	}
	return strings.Join(lines, "")
}

// suspicious matches values that may contain another key's secret because of a typo: those with a
// separator, and those with the name of a secret key before a colon.
var suspicious = regexp.MustCompile(
	`[\s,;=?@&"']|(?i)(token|secret|secret_access_key|encryption_key|url):`)

// misplaced reports whether a mistake made the canary part of the value of a known key that holds
// no secret, and the value does not look suspicious. Messages show such values, because the program
// cannot recognize them.
func misplaced(text string, included bool) bool {
	var document yaml.Node
	if yaml.Unmarshal([]byte(text), &document) != nil || len(document.Content) == 0 {
		return false
	}
	var search func(n *yaml.Node, t reflect.Type) bool
	search = func(n *yaml.Node, t reflect.Type) bool {
		switch {
		case t == reflect.TypeFor[Secret]():
			return false
		case n.Kind == yaml.ScalarNode:
			return hasCanary(n.Value) && !suspicious.MatchString(n.Value)
		case t.Kind() == reflect.Pointer:
			return search(n, t.Elem())
		case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
			for _, item := range n.Content {
				if search(item, t.Elem()) {
					return true
				}
			}
		case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				for f := range t.Fields() {
					if f.Tag.Get("yaml") == n.Content[i].Value && search(n.Content[i+1], f.Type) {
						return true
					}
				}
			}
		}
		return false
	}
	if !included {
		return search(document.Content[0], reflect.TypeFor[Config]())
	}
	return search(document.Content[0], reflect.TypeFor[Integration]()) ||
		search(document.Content[0], reflect.TypeFor[[]Integration]())
}

// messagesFor returns all messages for a configuration: those of loading it and, if changed is set,
// those of adding, editing and removing integrations. loads reports whether the text is valid.
func messagesFor(text string, included, changed bool) (messages string, loads bool) {
	s := New("config.yaml", []byte(text))
	s.patterns = []pattern{{dir: "d", glob: "*.yaml"}}
	if included {
		s.main, s.files = []byte("listen: :0\nviewers: {anonymous: true}\n"),
			[]*file{{path: "d/lab.yaml", text: []byte(text)}}
	}
	var all []string
	note := func(err error) {
		if err != nil {
			all = append(all, err.Error())
		}
	}
	c, err := s.Parse(noEnv)
	if err != nil {
		note(err)
		c = &Config{Integrations: []*Integration{{Name: "lab", Origin: Origin{File: "d/lab.yaml"}}}}
	} else {
		all = append(all, c.Warnings...)
	}
	if !changed {
		return strings.Join(all, "\n"), err == nil
	}
	changes := []*Change{}
	for _, change := range []func() (*Change, error){
		func() (*Change, error) { return s.Add(Draft{"name": "fresh", "bucket": "photos"}) },
		func() (*Change, error) { return s.Edit(c, "lab", Draft{"bucket": "fresh"}) },
		func() (*Change, error) { return s.Edit(c, "lab", Draft{"name": "fresh"}) },
		func() (*Change, error) { return s.Remove(c, "lab") },
	} {
		ch, err := change()
		note(err)
		if err == nil {
			changes = append(changes, ch)
		}
	}
	for _, ch := range changes {
		_, err := ch.Parse(noEnv)
		note(err)
		all = append(all, string(ch.Old), string(ch.New)) // the console shows the difference
	}
	return strings.Join(all, "\n"), err == nil
}

// checkSecrets checks that the messages for the configuration of a seed do not contain its secret.
func checkSecrets(t *testing.T, seed uint64) (loads, excepted bool) {
	t.Helper()
	text, included := canaryConfig(rand.New(rand.NewPCG(seed, 0)))
	messages, loads := messagesFor(text, included, seed%4 == 0)
	if excepted = misplaced(text, included); !excepted && hasCanary(messages) {
		t.Errorf("seed %d: the messages contain the secret.\nFile:\n%s\nMessages:\n%s",
			seed, text, messages)
	}
	return loads, excepted
}

// secretKeys returns the names of the keys below a type that hold secrets.
func secretKeys(t reflect.Type) (names []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for f := range t.Fields() {
		if f.Type == reflect.TypeFor[Secret]() || f.Type == reflect.TypeFor[[]Secret]() {
			names = append(names, f.Tag.Get("yaml"))
		}
		names = append(names, secretKeys(f.Type)...)
	}
	return names
}

// No message contains a secret, regardless of the mistakes in a file.
func TestNoSecretInMessages(t *testing.T) {
	for _, name := range secretKeys(reflect.TypeFor[Config]()) {
		if !strings.Contains(strings.Join(secretTemplates, ""), " "+name+": ") {
			t.Errorf("no template has the key %s, which holds a secret", name)
		}
	}
	const cases = 5_000
	loaded, excepted := 0, 0
	for seed := range uint64(cases) {
		loads, misplaced := checkSecrets(t, seed)
		if loads {
			loaded++
		}
		if misplaced {
			excepted++
		}
		if t.Failed() && seed%100 == 99 {
			t.FailNow()
		}
	}
	// The test proves little if almost all or almost no files load, or if many cases are excepted.
	if loaded < cases/100 || loaded > cases/2 || excepted > cases/20 {
		t.Errorf("of %d files, %d load and %d are excepted; want %d to %d, and at most %d",
			cases, loaded, excepted, cases/100, cases/2, cases/20)
	}
}

func FuzzNoSecretInMessages(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { checkSecrets(t, seed) })
}

// The messages for common typos are helpful and do not contain the secret.
func TestMessagesForMistypedSecrets(t *testing.T) {
	const rest = "listen: 127.0.0.1:8080\nviewers: {anonymous: true}\nintegrations: " +
		"[{name: a, bucket: aaa, region: us-east-1, access_key_id: A, secret_access_key: s}]\n"
	adminKeys := strings.Join(fieldNames(reflect.TypeFor[Admin]()), ", ")
	rootKeys := strings.Join(fieldNames(reflect.TypeFor[Config]()), ", ")
	const aliasProblem = "config.yaml:1: invalid YAML: an alias (*) without an anchor; " +
		"quote values that begin with *"
	for text, want := range map[string]string{
		"admin: {token:" + canary + "}": "config.yaml:1:9: admin: " +
			"a space is missing after the colon of token",
		"admin: {tokn: " + canary + "}": "config.yaml:1:9: admin: " +
			"unknown key; did you mean token?",
		"admin:\n  ? " + canary: "config.yaml:2:5: admin: " +
			"unknown key (not shown, because it could be a secret); known keys: " + adminKeys,
		canary + ": x": "config.yaml:1:1: " +
			"unknown key (not shown, because it could be a secret); known keys: " + rootKeys,
		"admin: {token: *" + canary + "}": aliasProblem,
		"admin: {token: !" + canary + " x}": "config.yaml:1: admin.token: " +
			"tags are not supported; quote values that begin with !",
		"admin: {token: !" + canary + "}": "config.yaml: invalid YAML: " +
			"did not find expected whitespace or line break",
		"admin: {token: &" + canary + " x}": "config.yaml:1: admin.token: " +
			"anchors and aliases are not supported; write out the value, " +
			"quoted if it begins with & or *",
		"admin: {token: \"${" + canary + "}\"}": "config.yaml:1: admin.token: " +
			"the environment variable in this value is not set; set it, or write the value here",
		"admin: {token: \"${" + canary + "\"}": "config.yaml:1: admin.token: " +
			"${ must be followed by the name of a variable and }; write a literal ${ as $${",
		"admin: {token: " + canary + "}": "config.yaml:1: admin.token: " +
			"it is too short: use 32 bytes at least, such as openssl rand -base64 32 prints",
		"admin: {*" + canary + " : x}": aliasProblem,
		"admin: {!" + canary + " token: x}": "config.yaml:1:9: admin: " +
			"a key is a plain word, without anchor, alias or tag; known keys: " + adminKeys,
		"admin: {[" + canary + "]: x}": "config.yaml:1:9: admin: " +
			"a key is a plain word, without anchor, alias or tag; known keys: " + adminKeys,
		"public_url: https://media.example.com token " + canary: "config.yaml:1: public_url: " +
			"the value is not an http or https URL; write it as https://media.example.com",
		"referrer_policy: no-referrer\n  token " + canary: "config.yaml:1: referrer_policy: " +
			"the value is not a referrer policy; use one of " +
			strings.Join(referrerPolicies, ", "),
		"url_lifetime: 45m\n  " + canary: "config.yaml:1: url_lifetime: " +
			"invalid duration; write it as 45m, 1h30m or 7d (days of 24 hours)",
		"cache: {redis: {url: \"http://u:" + canary + "@h\", encryption_key: " + filler +
			"}}": "config.yaml:1: cache.redis.url: " +
			"invalid URL; write it as redis://user:password@host:6379/0, or rediss:// with TLS; " +
			"further nodes are ?addr=host:port, and Sentinels have &master_set=NAME",
	} {
		_, err := Parse("config.yaml", []byte(text+"\n"+rest), noEnv)
		if got := fmt.Sprint(err); got != want {
			t.Errorf("Parse(%q) =\n%s\nwant\n%s", text, got, want)
		}
	}
}

// syntaxError returns only those messages of the YAML parser that are known not to quote the file.
func TestUnknownSyntaxErrorsAreNotShown(t *testing.T) {
	const data = "a: 1\nb: *x\nc: " + canary
	for text, want := range map[string]string{
		"yaml: line 3: did not find expected key":  "3 did not find expected key",
		"yaml: control characters are not allowed": "0 control characters are not allowed",
		"yaml: unknown anchor 'x' referenced": "2 an alias (*) without an anchor; " +
			"quote values that begin with *",
		"yaml: line 3: did not find expected key near " + canary:      "3 it cannot be parsed",
		"yaml: anchor '" + canary + "' value contains itself":         "0 it cannot be parsed",
		"yaml: line 2: found '" + canary + "' in an unexpected place": "2 it cannot be parsed",
		canary: "0 it cannot be parsed",
	} {
		line, problem := syntaxError([]byte(data), errors.New(text))
		if got := fmt.Sprint(line, " ", problem); got != want {
			t.Errorf("syntaxError(%q) = %s, want %s", text, got, want)
		}
	}
}
