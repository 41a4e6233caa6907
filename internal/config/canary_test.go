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

// canary stands for a secret. No four of its letters stand together in the configurations below, nor in a message.
const canary = "s0Canary9"

// hasCanary reports whether a text holds the canary, or a good part of it.
func hasCanary(text string) bool {
	for n := range len(canary) - 3 {
		if strings.Contains(text, canary[n:n+4]) {
			return true
		}
	}
	return false
}

// A configuration with every key that holds a secret, in block style and in flow style. @ is the place of a secret.
var secretive = []string{`listen: 127.0.0.1:8080
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
`}

// includedFile is the index of the included file in secretive.
const includedFile = 2

// filler is right for the places that do not hold the canary.
const filler = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI="

// slips are mistakes in how a secret is written: what stands in the place of "key: value", or of "value" in a list.
var slips = []string{
	"K:V", "K V", "KV", "K: *V", "K: &V", "K: &V x", "K: !V", "K: !V x", "K: !!V x",
	"K: !<V> x", "K: !e!V x", "K: |V", "K: >V", "K: %V", "K: @V", "K: `V", "K: 'V", "K: \"V",
	"K: \"\\V\"", "K: \"\\xV\"",
	"K: 'V'V", "K: [V", "K: [V]", "K: {V}", "K: {V: V}", "K: {V", "K: V]",
	"K: V}", "K: - V", "K: V: V", "K: V # V", "K: ,V", "K: ?V", "K: ${V}", "K: ${V", "K: x${V}y",
	"K: ${V}${", "K: $${V}",
	"K: !!int V", "K: !!bool V", "K: !!binary V", "K: !!null V", "K: !!float V", "K: !!map V",
	"K: !!seq V", "K: !!str V",
	"? V", "? K: V", "? [V]", "? {V: V}", "? |\n V", "V: K", "V:", "V", "\"V\": x", "'V': x",
	"V: {K: V}", "*V : x", "&V K: x", "!V K: x", "! V", "<<: V", "<<: *V", "<<: {V: V}", "<<: [V]", "K: &a V\n*a : V",
	"K:\tV", "\tK: V", "K: V\n\tV: V", "K: V\n V: V", "K:\nV", "K:\n V", "K:\n   - V",
	"K:\n    V:\n", "K: V\nV", "K: V\n V",
	"--- V", "---\nV: V", "...\nV: V", "%V", "%YAML V", "%TAG ! V", "K: V\r V", "K: V\u2028V", "K: \x01V", "K: \xffV",
	"x: a,K:V", "name: a,K:V", "name: a;K=V", "region: us-east-1,K=V", "region: K:V", "id: a,K:V",
	"level: info,K=V", "urls: 1;K:V",
	"hosts: [a,K:V]", "hosts: [K:V]", "name: \"a\"K:V", "listen: :80?K=V", "bucket: a@V",
	"bucket: a&K=V", "KK: V", "xK: V", "K_: V", "k-K: V", "K.V: x", "K: V, V: V", "K: V\nK: V",
	"V: V\nV: V", "K=V", "K = V", "K:: V", ":K: V",
	"K : V", "- K: V", "[V]: K", "{V: V}: K", "K: \"V\nV\"", "K: 'V\n\nV'", "K: >-\n V\nV", "K: |\n        V\n      V",
}

// secretiveText returns a configuration with the canary in the place of one of its secrets, with
// mistakes that r chooses.
func secretiveText(r *rand.Rand) (text string, included bool) {
	which := r.IntN(len(secretive))
	text = secretive[which]
	places := regexp.MustCompile(`([a-z_]+: )?("?redis://user:)?@`).FindAllStringIndex(text, -1)
	place := places[r.IntN(len(places))]
	fill := func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(s, "@@", filler+"\x00"), "@", filler)
	}
	own := strings.ReplaceAll(text[place[0]:place[1]], "@", canary)
	if key, _, ok := strings.Cut(own, ": "); ok && r.IntN(3) > 0 {
		own = strings.NewReplacer("K", key, "V", canary).Replace(slips[r.IntN(len(slips))])
	} else if !ok && r.IntN(3) > 0 {
		own = strings.TrimPrefix(strings.NewReplacer("K", "", "V", canary).Replace(slips[r.IntN(len(slips))]), ": ")
	}
	after := text[place[1]:]
	if rest, ok := strings.CutPrefix(after, "@"); ok { // what separates the password of a URL from its host
		after = "\x00" + rest
	}
	text = strings.ReplaceAll(fill(text[:place[0]])+own+fill(after), "\x00", "@")
	for range r.IntN(4) {
		text = muddle(r, text)
	}
	return text, which == includedFile
}

// muddle makes one mistake somewhere in a text, as a hurried hand would.
func muddle(r *rand.Rand, text string) string {
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

// slipped matches values into which a slip drew a secret with its key, or whatever comes after a separator.
var slipped = regexp.MustCompile(`[\s,;=?@&"']|(?i)(token|secret|secret_access_key|encryption_key|url):`)

// misplaced reports whether the canary became, by mistake, a part of the value of a known key that
// holds no secret, without anything
// in the value that tells: such values are shown, since the program cannot know better.
func misplaced(text string, included bool) bool {
	var document yaml.Node
	if yaml.Unmarshal([]byte(text), &document) != nil || len(document.Content) == 0 {
		return false
	}
	var look func(n *yaml.Node, t reflect.Type) bool
	look = func(n *yaml.Node, t reflect.Type) bool {
		switch {
		case t == reflect.TypeFor[Secret]():
			return false
		case n.Kind == yaml.ScalarNode:
			return hasCanary(n.Value) && !slipped.MatchString(n.Value)
		case t.Kind() == reflect.Pointer:
			return look(n, t.Elem())
		case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
			for _, item := range n.Content {
				if look(item, t.Elem()) {
					return true
				}
			}
		case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				for f := range t.Fields() {
					if f.Tag.Get("yaml") == n.Content[i].Value && look(n.Content[i+1], f.Type) {
						return true
					}
				}
			}
		}
		return false
	}
	if !included {
		return look(document.Content[0], reflect.TypeFor[Config]())
	}
	return look(document.Content[0], reflect.TypeFor[Integration]()) ||
		look(document.Content[0], reflect.TypeFor[[]Integration]())
}

// shownOf returns everything that is said of a text: when it is loaded and, if changed is set, when
// integrations are added,
// changed and removed.
func shownOf(text string, included, changed bool) (said string, loads bool) {
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
		c = &Config{Integrations: []Integration{{Name: "lab", Origin: Origin{File: "d/lab.yaml"}}}}
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

func checkSecrets(t *testing.T, seed uint64) (loads, elsewhere bool) {
	t.Helper()
	text, included := secretiveText(rand.New(rand.NewPCG(seed, 0)))
	said, loads := shownOf(text, included, seed%4 == 0)
	if elsewhere = misplaced(text, included); !elsewhere && hasCanary(said) {
		t.Errorf("seed %d: the secret is shown.\nThe file:\n%s\nWhat is said:\n%s", seed, text, said)
	}
	return loads, elsewhere
}

// Whatever is wrong with a file, and wherever, no secret of it is in a message.
func TestNoSecretInMessages(t *testing.T) {
	const cases = 5_000
	loaded, elsewhere := 0, 0
	for seed := range uint64(cases) {
		good, misplaced := checkSecrets(t, seed)
		if good {
			loaded++
		}
		if misplaced {
			elsewhere++
		}
		if t.Failed() && seed%100 == 99 {
			t.FailNow()
		}
	}
	// The test says little if nearly all files load, or hardly any, or if many cases are excepted.
	if loaded < cases/100 || loaded > cases/2 || elsewhere > cases/20 {
		t.Errorf("of %d files %d load, and in %d the secret is the value of another key", cases, loaded, elsewhere)
	}
}

func FuzzNoSecretInMessages(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { checkSecrets(t, seed) })
}

// What is said of the usual slips, to the letter: useful, and without the secret.
func TestMistypedSecrets(t *testing.T) {
	const rest = "listen: 127.0.0.1:8080\nviewers: " +
		"{anonymous: true}\nintegrations: [{name: a, bucket: aaa, region: us-east-1, access_key_id: " +
		"A, secret_access_key: s}]\n"
	adminKeys := strings.Join(fieldNames(reflect.TypeFor[Admin]()), ", ")
	rootKeys := strings.Join(fieldNames(reflect.TypeFor[Config]()), ", ")
	for text, want := range map[string]string{
		"admin: {token:" +
			canary + "}": "config.yaml:1:9: admin: a space is missing after the colon of token",
		"admin: {tokn: " + canary +
			"}": "config.yaml:1:9: admin: unknown key; did you mean token?",
		"admin:\n  ? " +
			canary: "config.yaml:2:5: admin: unknown key (not shown, because it could be a secret); known keys: " +
			adminKeys,
		canary + ": x": "config.yaml:1:1: unknown key (not " +
			"shown, because it could be a secret); known keys: " + rootKeys,
		"admin: {token: *" + canary +
			"}": "config.yaml:1: invalid YAML: an alias (*) without an anchor; quote values that begin with *",
		"admin: {token: !" + canary +
			" x}": "config.yaml:1: admin.token: tags are not supported; quote values that begin with !",
		"admin: {token: !" +
			canary + "}": "config.yaml: invalid YAML: did not find expected whitespace or line break",
		"admin: {token: &" + canary +
			" x}": "config.yaml:1: admin.token: anchors and aliases are not supported; write out " +
			"the value, quoted if it begins with & or *",
		"admin: {token: \"${" + canary +
			"}\"}": "config.yaml:1: admin.token: the environment variable in this value is not set; " +
			"set it, or write the value here",
		"admin: {token: \"${" + canary +
			"\"}": "config.yaml:1: admin.token: ${ must be followed by the name of a variable and " +
			"}; write a literal ${ as $${",
		"admin: {token: " + canary +
			"}": "config.yaml:1: admin.token: it is too short: use 32 bytes at least, such as " +
			"openssl rand -base64 32 prints",
		"admin: {*" + canary +
			" : x}": "config.yaml:1: invalid YAML: an alias (*) without an anchor; quote values that begin with *",
		"admin: {!" + canary +
			" token: x}": "config.yaml:1:9: admin: a key is a plain word, without anchor, alias or " +
			"tag; known keys: " + adminKeys,
		"admin: {[" + canary +
			"]: x}": "config.yaml:1:9: admin: a key is a plain word, without anchor, alias or tag; known keys: " +
			adminKeys,
		"public_url: https://media.example.com token " +
			canary: "config.yaml:1: public_url: the value is not an http or https URL; write it as " +
			"https://media.example.com",
		"referrer_policy: no-referrer\n  token " +
			canary: "config.yaml:1: referrer_policy: the value is not a referrer policy; use one of " +
			strings.Join(referrerPolicies, ", "),
		"url_lifetime: 45m\n  " +
			canary: "config.yaml:1: url_lifetime: invalid duration; write it as 45m, 1h30m or 168h (7 days)",
		"cache: {redis: {url: \"http://u:" + canary + "@h\", encryption_key: " + filler +
			"}}": "config.yaml:1: cache.redis.url: invalid URL; write it as " +
			"redis://user:password@host:6379/0, or rediss:// with TLS; " +
			"further nodes are ?addr=host:port, and Sentinels have &master_set=NAME",
	} {
		_, err := Parse("config.yaml", []byte(text+"\n"+rest), noEnv)
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
	}
}

// A message of the YAML parser that is not known to be harmless is not repeated, whatever a later version of it says.
func TestSyntaxErrorsAreNotRepeated(t *testing.T) {
	const data = "a: 1\nb: *x\nc: " + canary
	for text, want := range map[string]string{
		"yaml: line 3: did not find expected key":  "3 did not find expected key",
		"yaml: control characters are not allowed": "0 control characters are not allowed",
		"yaml: unknown anchor 'x' referenced": "2 an alias (*) without an " +
			"anchor; quote values that begin with *",
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
