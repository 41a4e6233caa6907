package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/textproto"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"s3redirect/internal/presign"
)

// Load reads and parses a configuration file and the files that it includes. Its error is an
// [Errors].
func Load(path string) (*Config, error) {
	s, err := Read(path)
	if err != nil {
		return nil, err
	}
	return s.Parse(os.LookupEnv)
}

// Parse parses a configuration that does not come from a file, so it cannot include files. The name
// is used in errors; getenv looks up environment variables. Its error is an [Errors].
func Parse(name string, data []byte, getenv func(string) (string, bool)) (*Config, error) {
	return (&Source{path: name, main: data}).Parse(getenv)
}

// Parse parses and checks the configuration. getenv looks up environment variables. Its error is an
// [Errors], with all mistakes of all files.
func (s *Source) Parse(getenv func(string) (string, bool)) (*Config, error) {
	return s.ParseAnd(getenv, func(*Config) []Problem { return nil })
}

// ParseAnd is like Parse, and also reports the problems that verify finds. verify gets the
// configuration even if it has other mistakes.
//
// The integrations of files that were parsed before, by s or by a Source that s was reread from, are
// taken over. They are shared, and must not be changed.
func (s *Source) ParseAnd(
	getenv func(string) (string, bool), verify func(*Config) []Problem,
) (*Config, error) {
	root, err := parseMain(s.path, s.main)
	if err != nil {
		return nil, err
	}
	c, err := s.parse(root, getenv, verify, true)
	if err != nil {
		// The messages need the positions of all keys.
		c, err = s.parse(root, getenv, verify, false)
	}
	return c, err
}

// parse parses the configuration whose main file is root. With reuse, it takes over and keeps
// integrations without mistakes, and its error is incomplete.
func (s *Source) parse(
	root *yaml.Node, getenv func(string) (string, bool), verify func(*Config) []Problem, reuse bool,
) (*Config, error) {
	c := &Config{}
	setDefaults(reflect.ValueOf(c).Elem())
	d := newDecoder(s.path, &variables{getenv, s.secrets})
	d.decode(root, reflect.ValueOf(c).Elem(), "")
	d.complete(c)
	for n, i := range c.Integrations {
		i.Origin = Origin{File: s.path, Line: d.places[itemKey(n)].line}
		d.completeIntegration(c, n)
	}
	ofMain := len(c.Integrations)
	for _, f := range s.files {
		switch p := s.reusable(c, d, f); {
		case !reuse:
			s.include(c, d, f)
		case p != nil:
			d.reused(p)
			c.Integrations = append(c.Integrations, p.integrations...)
		default:
			s.parseSound(c, d, f)
		}
		if reuse && len(d.errs) > 0 {
			return nil, d.errs
		}
	}
	d.errs = append(d.errs, s.problems...)
	if len(s.problems) > 0 {
		d.broken["integrations"] = true // there may be more
	}
	s.checkInclude(c, d)
	d.unparsed = maps.Clone(d.broken)
	problems := validate(c, d.checked)
	if reuse && slices.ContainsFunc(problems, d.lacksPosition) {
		return nil, errLacksPosition
	}
	d.report(c, problems)
	d.report(c, certificateProblems(c))
	d.report(c, s.variableProblems(c))
	d.report(c, verify(c))
	if len(d.errs) > 0 {
		rank := map[string]int{s.path: -1}
		for n, f := range s.files {
			rank[f.path] = n
		}
		slices.SortStableFunc(d.errs, func(a, b *Error) int {
			return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line))
		})
		return nil, d.errs
	}
	s.share(c.Integrations[:ofMain:ofMain])
	s.shareIncluded(c.Integrations[ofMain:])
	return c, nil
}

// parseSound adds the integrations of an included file to c, and keeps them in f if they have no
// mistakes.
func (s *Source) parseSound(c *Config, d *decoder, f *file) {
	from, mistakes := len(c.Integrations), len(d.errs)
	d.added = d.added[:0]
	stop := d.record()
	s.include(c, d, f)
	values := stop()
	if len(d.errs) == mistakes {
		s.sound(c, d, f, from, values)
	}
}

// itemKey returns the key of the nth integration.
func itemKey(n int) string { return "integrations[" + strconv.Itoa(n) + "]" }

// include adds the integrations of an included file to c.
func (s *Source) include(c *Config, d *decoder, f *file) {
	root, err := parseYAML(f.path, f.text)
	if all, ok := errors.AsType[Errors](err); ok {
		d.errs = append(d.errs, all...)
		d.broken["integrations"] = true // there may be more
		return
	}
	items, isList := []*yaml.Node{root}, false
	switch {
	case root == nil:
		d.errs = append(d.errs, &Error{File: f.path,
			Problem: "the file is empty; write an integration to it, or remove it"})
		d.broken["integrations"] = true // there may be more
		return
	case root.Kind == yaml.SequenceNode && root.Anchor == "":
		items, isList = root.Content, true
	case root.Kind != yaml.MappingNode:
		d.errs = append(d.errs, &Error{File: f.path,
			Line:    root.Line,
			Problem: "an included file is an integration, with keys such as name: lab, or a list of integrations"})
		d.broken["integrations"] = true // there may be more
		return
	}
	d.file = f.path
	for m, item := range items {
		n := len(c.Integrations)
		key, local := itemKey(n), ""
		if isList {
			local = fmt.Sprintf("[%d]", m)
		}
		d.local[n] = local
		d.setPlace(key, position{file: f.path, line: item.Line})
		i := &Integration{}
		setDefaults(reflect.ValueOf(i).Elem())
		d.decode(item, reflect.ValueOf(i).Elem(), key)
		i.Origin = Origin{File: f.path, Line: item.Line, Editable: s.isEditable(f, root)}
		c.Integrations = append(c.Integrations, i)
		d.completeIntegration(c, n)
	}
	d.file = s.path
}

// parseMain parses the text of a main file, which must be a mapping.
func parseMain(name string, data []byte) (*yaml.Node, error) {
	root, err := parseYAML(name, data)
	switch {
	case err != nil:
		return nil, err
	case root == nil:
		return nil, Errors{{File: name, Problem: "the file is empty; start from a copy of the example config.yaml"}}
	case root.Kind != yaml.MappingNode:
		return nil, Errors{{File: name, Line: root.Line,
			Problem: "a mapping is expected, with keys such as listen: 127.0.0.1:8080"}}
	}
	return root, nil
}

// parseYAML parses a file with one YAML document. It returns nil if the document is empty. Its
// error is an [Errors].
func parseYAML(name string, data []byte) (*yaml.Node, error) {
	mistake := func(line int, problem string) error { return Errors{{File: name, Line: line, Problem: problem}} }
	if len(data) > maxBytes {
		return nil, mistake(0, "the file is larger than 10 MiB; is it the right one?")
	}
	if line := invalidLine(data); line > 0 {
		return nil, mistake(line, "this line is not UTF-8; save the file as UTF-8")
	}
	if line := oddBreak(data); line > 0 {
		return nil, mistake(line,
			"this line contains a line break that editors do not show (a CR alone, U+0085, U+2028 "+
				"or U+2029); remove it")
	}
	documents := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	err := documents.Decode(&document)
	if err == nil {
		err = documents.Decode(&second)
		if err == nil {
			return nil, mistake(second.Line, "a second YAML document begins here; a file holds a single one")
		}
	} else if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if !errors.Is(err, io.EOF) {
		line, problem := syntaxError(data, err)
		return nil, mistake(line, "invalid YAML: "+problem)
	}
	if root := document.Content[0]; root.Kind != yaml.ScalarNode || root.Tag != "!!null" {
		return root, nil
	}
	return nil, nil
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// yamlProblems are the parser's messages that are helpful and do not quote the file. Some others
// quote it.
var yamlProblems = []string{
	"block sequence entries are not allowed in this context", "control characters are not allowed",
	"could not find expected ':'",
	"did not find expected ',' or ']'", "did not find expected ',' or '}'", "did not find expected '-' indicator",
	"did not find expected <document start>", "did not find expected alphabetic or numeric character",
	"did not find expected comment or line break", "did not find expected hexdecimal number",
	"did not find expected key",
	"did not find expected node content", "did not find expected whitespace or line break",
	"found a tab character that violates indentation", "found a tab character where an indentation space is expected",
	"found character that cannot start any token", "found undefined tag handle", "found unexpected document indicator",
	"found unexpected end of stream", "found unknown directive name", "found unknown escape character",
	"mapping keys are not allowed in this context", "mapping values are not allowed in this context",
}

// syntaxError returns the line and the problem of an error of the YAML parser.
func syntaxError(data []byte, err error) (line int, problem string) {
	m := yamlError.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, "it cannot be parsed"
	}
	line, _ = strconv.Atoi(m[1]) // the group matches digits only, or is ""
	switch anchor, unknown := strings.CutPrefix(m[2], "unknown anchor '"); {
	case unknown:
		before, _, _ := bytes.Cut(data, []byte("*"+strings.TrimSuffix(anchor, "' referenced")))
		return 1 + bytes.Count(before, []byte("\n")), "an alias (*) without an anchor; quote values that begin with *"
	case slices.Contains(yamlProblems, m[2]):
		problem = m[2]
	default:
		problem = "it cannot be parsed"
	}
	if namesVariable(data, line) {
		problem += "; inside braces and brackets, quote ${NAME}"
	}
	if at := bareAddress.FindIndex(data); at != nil && line == 0 {
		return 1 + bytes.Count(data[:at[1]], []byte("\n")), problem + "; quote addresses in brackets"
	}
	return line, problem
}

// bareAddress matches an IPv6 address with a port, without quotes. YAML reads it as a list, and the
// parser does not tell in which line.
var bareAddress = regexp.MustCompile(`(?:^|[\s\[,])\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]:[0-9]`)

// oddBreak returns the first line with a line break other than LF and CR LF, or 0. Programs count
// such lines differently.
func oddBreak(data []byte) int {
	line := 1
	for n, r := range string(data) {
		switch {
		case r == '\n':
			line++
		case r == '\r' && (n+1 == len(data) || data[n+1] != '\n'), r == '\u0085', r == '\u2028', r == '\u2029':
			return line
		}
	}
	return 0
}

// namesVariable reports whether a line or the one after it contains ${. For unbalanced braces,
// the parser may report the line before.
func namesVariable(data []byte, line int) bool {
	all := bytes.Split(data, []byte("\n"))
	return line > 0 && line <= len(all) &&
		bytes.Contains(bytes.Join(all[line-1:min(line+1, len(all))], nil), []byte("${"))
}

// invalidLine returns the first line that is not UTF-8, or 0.
func invalidLine(data []byte) int {
	line := 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return line
		case r == '\n':
			line++
		}
		data = data[size:]
	}
	return 0
}

// setDefaults sets the defaults that do not depend on other keys.
func setDefaults(v reflect.Value) {
	switch c := v.Addr().Interface().(type) {
	case *Config:
		*c = Config{
			AdminListen: OneOrMore[string]{"127.0.0.1:9090"}, URLLifetime: 45 * time.Minute,
			MinRemaining: 15 * time.Minute, ReferrerPolicy: "no-referrer",
			Cache: Cache{URLs: 65536, Credentials: 1000}, Log: Log{Format: "json"},
			Metrics: Metrics{Integrations: MetricsUsed},
		}
	case *Integration:
		*c = Integration{SessionPolicy: true}
	case *InPlace:
		*c = InPlace{MaxBytes: defaultInPlace}
	case *JWT:
		*c = JWT{
			AudienceClaims: []string{"aud"}, Algorithms: []string{"RS256", "ES256"},
			UserClaim: "email", GroupsClaim: "groups", Leeway: 30 * time.Second,
		}
	case *Forwarded:
		*c = Forwarded{GroupsSeparator: ","}
	case *Links:
		*c = Links{MaxLifetime: 24 * time.Hour}
	}
}

// checkInclude checks the patterns of included files.
func (s *Source) checkInclude(c *Config, d *decoder) {
	if len(c.Include) > 0 && !s.isFile {
		d.failAt(d.position("include"), "include", "only a configuration file can include files")
	}
	for n, text := range c.Include {
		key, shown := fmt.Sprintf("include[%d]", n), "the value"
		if written := d.places[key].written; written != "" {
			text, shown = written, written // without the values of variables
		}
		if problem := patternProblem(text); problem != "" && !d.broken[key] {
			d.failAt(d.position(key), key, "%s: %s", shown, problem)
		}
	}
}

// bounded returns d, or bound if d is longer. A bound that is invalid, or too short for a third of
// it, is ignored.
func bounded(d, bound time.Duration) time.Duration {
	if bound < 3*time.Second || bound%time.Second != 0 {
		return d
	}
	return min(d, bound)
}

// third returns a third of d, in whole seconds.
func third(d time.Duration) time.Duration { return (d / 3).Truncate(time.Second) }

// complete sets the defaults of the main file that depend on other keys, and the fields that are
// parsed from others. See also completeIntegration.
func (d *decoder) complete(c *Config) {
	c.Proxies = parseProxies(c.TrustedProxies)
	if f := c.Viewers.Forwarded; f != nil {
		f.Proxies = parseProxies(f.TrustedProxies)
		f.UserHeader, f.GroupsHeader = textproto.CanonicalMIMEHeaderKey(f.UserHeader),
			textproto.CanonicalMIMEHeaderKey(f.GroupsHeader)
	}
	for n := range c.Viewers.JWT {
		j := &c.Viewers.JWT[n]
		if !d.has(fmt.Sprintf("viewers.jwt[%d].lowercase_user", n)) {
			j.LowercaseUser = j.UserClaim == "email"
		}
		j.Header = textproto.CanonicalMIMEHeaderKey(j.Header)
	}
	if !d.has("url_lifetime") {
		c.URLLifetime = bounded(c.URLLifetime, c.MaxSignatureAge)
	}
	if !d.has("min_remaining") && c.MaxSignatureAge > 0 {
		c.MinRemaining = min(c.MinRemaining, third(c.URLLifetime))
	}
}

// completeIntegration sets the defaults of the nth integration that depend on other keys. The main
// file must be complete.
func (d *decoder) completeIntegration(c *Config, n int) {
	i, at := c.Integrations[n], itemKey(n)+"."
	own := d.has(at + "max_signature_age")
	if !own {
		i.MaxSignatureAge = c.MaxSignatureAge
	}
	if !d.has(at + "url_lifetime") {
		i.URLLifetime = c.URLLifetime
		if own {
			i.URLLifetime = bounded(i.URLLifetime, i.MaxSignatureAge)
		}
	}
	if !d.has(at + "min_remaining") {
		i.MinRemaining = c.MinRemaining
		if own && i.MaxSignatureAge > 0 {
			i.MinRemaining = min(i.MinRemaining, third(i.URLLifetime))
		}
	}
	if i.RoleARN != "" && !d.has(at+"session_duration") {
		i.SessionDuration = time.Hour
	}
	if i.RoleARN != "" && i.SessionName == "" {
		i.SessionName = defaultSessionName(i.Name)
	}
	if p, err := presign.ParseAccessPoint(i.AccessPoint); err == nil &&
		(i.Region == "" || i.Region == RegionAuto) {
		i.Region = p.Region
	}
	i.HostStyle = d.has(at+"path_style") && !i.PathStyle
	if i.Region == "" && !i.IsAWS() {
		i.Region = "us-east-1"
	}
}
