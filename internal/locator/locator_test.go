package locator

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestParsePath(t *testing.T) {
	long := strings.Repeat("k", MaxKeyBytes)
	for _, c := range []struct {
		path, bucket, key string
		err               error
	}{
		{path: "/s3/bucket/key", bucket: "bucket", key: "key"},
		{path: "/s3/my.dotted-bucket.1/a/b", bucket: "my.dotted-bucket.1", key: "a/b"},
		{path: "/s3/bucket//lead", bucket: "bucket", key: "/lead"},
		{path: "/s3/bucket/a//b/", bucket: "bucket", key: "a//b/"},
		{path: "/s3/bucket//", bucket: "bucket", key: "/"},
		{path: "/s3/bucket/a+b", bucket: "bucket", key: "a+b"},
		{path: "/s3/bucket/a%20b%2Fc%2fd%25", bucket: "bucket", key: "a b/c/d%"},
		{path: "/s3/bucket/%2541", bucket: "bucket", key: "%41"},
		{path: "/s3/bucket/%C3%BC", bucket: "bucket", key: "ü"},
		{path: "/s3/bucket/ü", bucket: "bucket", key: "ü"},
		{path: "/s3/bucket/...", bucket: "bucket", key: "..."},
		{path: "/s3/bucket/.a/b.", bucket: "bucket", key: ".a/b."},
		{path: "/s3/bucket/Icon%0D", bucket: "bucket", key: "Icon\r"},
		{path: "/s3/bucket/%01%09%0a%1b%7f", bucket: "bucket", key: "\x01\t\n\x1b\x7f"},
		// "ä" whose UTF-8 was decoded as Latin-1 and encoded again.
		{path: "/s3/bucket/%C3%83%C2%A4%C2%84", bucket: "bucket", key: "Ã¤\u0084"},
		{path: "/s3/bucket/" + long, bucket: "bucket", key: long},
		{path: `/s3/bucket/a\..b\.c\d..`, bucket: "bucket", key: `a\..b\.c\d..`},

		{path: "", err: ErrNotPath},
		{path: "/", err: ErrNotPath},
		{path: "/s3", err: ErrNotPath},
		{path: "//s3/bucket/key", err: ErrNotPath},
		{path: "/S3/bucket/key", err: ErrNotPath},
		{path: "/s3/", err: ErrBucket},
		{path: "/s3//key", err: ErrBucket},
		{path: "/s3//bucket/key", err: ErrBucket},
		{path: "/s3/bucket", err: ErrEmptyKey},
		{path: "/s3/bucket/", err: ErrEmptyKey},
		{path: "/s3/bu%63ket/key", err: ErrBucket},
		{path: "/s3/bucket%2Fkey", err: ErrBucket},
		{path: "/s3/bucket%2Fother/key", err: ErrBucket},
		{path: "/s3/../key", err: ErrBucket},
		{path: "/s3/%2e%2e/key", err: ErrBucket},
		{path: "/s3/evil.example%2f@bucket/key", err: ErrBucket},
		{path: "/s3/bucket@evil.example/key", err: ErrBucket},
		{path: "/s3/bucket:80/key", err: ErrBucket},
		{path: `/s3/bucket\key`, err: ErrBucket},
		{path: "/s3/arn:aws:s3:::bucket/key", err: ErrBucket},
		{path: "/s3/bucket/.", err: ErrDotSegment},
		{path: "/s3/bucket/..", err: ErrDotSegment},
		{path: "/s3/bucket/../other/key", err: ErrDotSegment},
		{path: "/s3/bucket/a/../b", err: ErrDotSegment},
		{path: "/s3/bucket/a/./b", err: ErrDotSegment},
		{path: "/s3/bucket/%2e%2e/key", err: ErrDotSegment},
		{path: "/s3/bucket/.%2E/key", err: ErrDotSegment},
		{path: "/s3/bucket/a%2F..%2Fb", err: ErrDotSegment},
		{path: "/s3/bucket/a/..", err: ErrDotSegment},
		{path: `/s3/bucket/a\..\b`, err: ErrDotSegment},
		{path: "/s3/bucket/a%5C.%5Cb", err: ErrDotSegment},
		{path: `/s3/bucket/a/..\b`, err: ErrDotSegment},
		{path: `/s3/bucket/..\b`, err: ErrDotSegment},
		{path: `/s3/bucket/a\..`, err: ErrDotSegment},
		{path: "/s3/bucket/%", err: ErrBadEscape},
		{path: "/s3/bucket/%4", err: ErrBadEscape},
		{path: "/s3/bucket/%zz", err: ErrBadEscape},
		{path: "/s3/bucket/a%00b", err: ErrNUL},
		{path: "/s3/bucket/%1f%00", err: ErrNUL},
		{path: "/s3/bucket/a\x00b", err: ErrControl},
		{path: "/s3/bucket/a\rb", err: ErrControl},
		{path: "/s3/bucket/a\x7fb", err: ErrControl},
		{path: "/s3/bucket/a\u0085b", err: ErrControl},
		{path: "/s3/bucket/%41\u009f", err: ErrControl},
		{path: "/s3/bucket/%ff%fe", err: ErrInvalidUTF8},
		{path: "/s3/bucket/%ed%a0%80", err: ErrInvalidUTF8},
		{path: "/s3/bucket/%c0%ae%c0%ae/key", err: ErrInvalidUTF8},
		{path: "/s3/bucket/key#/../other", err: ErrFragment},
		{path: "/s3/bucket/" + long + "k", err: ErrLongKey},
	} {
		l, err := ParsePath(c.path)
		if !errors.Is(err, c.err) || l != (Locator{c.bucket, c.key}) {
			t.Errorf("ParsePath(%.80q) = %+v, %v, want bucket %q, key %q, %v",
				c.path, l, err, c.bucket, c.key, c.err)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text, bucket, key string
		err               error
	}{
		{text: "s3://bucket/key", bucket: "bucket", key: "key"},
		{text: "s3://bucket/a%20b+c#d?e", bucket: "bucket", key: "a%20b+c#d?e"},
		{text: "s3://bucket//a//", bucket: "bucket", key: "/a//"},
		{text: "S3://bucket/key", err: ErrNotLocator},
		{text: "https://bucket/key", err: ErrNotLocator},
		{text: "s3:///key", err: ErrBucket},
		{text: "s3://bucket", err: ErrEmptyKey},
		{text: "s3://bucket/../key", err: ErrDotSegment},
		{text: "s3://bucket/Icon\r", bucket: "bucket", key: "Icon\r"},
		{text: "s3://bucket/a\u0085\x7f", bucket: "bucket", key: "a\u0085\x7f"},
		{text: "s3://bucket/a\x00", err: ErrNUL},
	} {
		l, err := Parse(c.text)
		if !errors.Is(err, c.err) || l != (Locator{c.bucket, c.key}) {
			t.Errorf("Parse(%q) = %+v, %v, want bucket %q, key %q, %v",
				c.text, l, err, c.bucket, c.key, c.err)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"s3://bucket/a ü":   "s3://bucket/a ü",
		`s3://bucket/"a\r"`: `s3://bucket/"a\r"`,
		"s3://bucket/a\r":   `"s3://bucket/a\r"`,
		"\x1b[2J\x7f":       `"\x1b[2J\x7f"`,
		"ü\u009b2J":         `"ü\u009b2J"`,
	} {
		if got := Printable(text); got != want {
			t.Errorf("Printable(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestCheckBucket(t *testing.T) {
	for _, name := range []string{
		"abc", "abc-s3alias", "1-2",
		"a.b.c", "my-bucket", "1.2.3", "1.2.3.4.5", "256.1.1.1", "a--b", "a.-b",
		strings.Repeat("a", 63),
	} {
		if err := CheckBucket(name); err != nil {
			t.Errorf("CheckBucket(%q) = %v, want nil", name, err)
		}
	}
	for _, name := range []string{
		"", "a", "ab", strings.Repeat("a", 64), "Abc", "a_b", "a b", "a/b", "-abc", "abc-", ".abc",
		"abc.", "a..b", "192.168.5.4", "xn--abc", "sthree-abc", "abc--op-s3", "abc--ol-s3",
		"abc.mrap", "abc--use1-az4--x-s3", "abc--table-s3", "bücket", "a\x00b", "a*b",
	} {
		if err := CheckBucket(name); !errors.Is(err, ErrBucket) {
			t.Errorf("CheckBucket(%q) = %v, want ErrBucket", name, err)
		}
	}
}

func TestCheckStoreBucket(t *testing.T) {
	for _, name := range []string{
		"abc", "My_Bucket", "_abc_", "UPPER", "a.b-c_D", "192.168.5.4", "xn--abc", "abc-s3alias",
		strings.Repeat("A", 255),
	} {
		if err := CheckStoreBucket(name); err != nil {
			t.Errorf("CheckStoreBucket(%q) = %v, want nil", name, err)
		}
	}
	for _, name := range []string{
		"", "ab", "..", "...", strings.Repeat("a", 256), "a b", "a/b", `a\b`, "-abc", "abc-", ".abc",
		"abc.", "a..b", "bücket", "a\x00b", "a\nb", "a*b", "a?b", "a%41b", "a:b", "a@b", "a#b",
		"a;b", "${x}", "a~b", "a+b",
	} {
		if err := CheckStoreBucket(name); !errors.Is(err, ErrBucket) {
			t.Errorf("CheckStoreBucket(%q) = %v, want ErrBucket", name, err)
		}
		if _, err := ParsePath(PathPrefix + name + "/key"); err == nil && name != "a/b" {
			t.Errorf("ParsePath() accepts the bucket %q, want an error", name)
		}
	}
	for _, p := range []string{"My_*", "*", "A.b-*"} {
		if err := CheckStorePattern(p); err != nil {
			t.Errorf("CheckStorePattern(%q) = %v, want nil", p, err)
		}
	}
	for _, p := range []string{"a/*", "a?*", "a%*", "ü*", "a*" + strings.Repeat("a", 254)} {
		if err := CheckStorePattern(p); !errors.Is(err, ErrBucket) {
			t.Errorf("CheckStorePattern(%q) = %v, want ErrBucket", p, err)
		}
	}
}

func TestIsHostLabel(t *testing.T) {
	for name, want := range map[string]bool{
		"lab": true, "a.b": true, "a_b": true, "Lab": false, "xn--lab": false, "a.xn--b": false,
		strings.Repeat("a", 63): true, strings.Repeat("a", 64): false,
	} {
		if got := IsHostLabel(name); got != want {
			t.Errorf("IsHostLabel(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestMatchBucket(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"team-*", "team-a", true},
		{"team-*", "team-", true},
		{"team-*", "teams", false},
		{"*", "anything", true},
		{"*-logs", "app-logs", true},
		{"*-logs", "app-logs-2", false},
		{"a*b*c", "a1b2c", true},
		{"a*b*c", "a1c2b", false},
		{"a**c", "abc", true},
		{"plain", "plain", true},
		{"plain", "plain2", false},
		{"*a*a*a*b", strings.Repeat("a", 63), false},
	} {
		if got := MatchBucket(c.pattern, c.name); got != c.want {
			t.Errorf("MatchBucket(%q, %q) = %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"team-*", "team-a", true},
		{"team-*", "*-logs", true},
		{"team-*", "staff-*", false},
		{"*", "x", true},
		{"a*", "*b", true},
		{"abc", "abc", true},
		{"abc", "abd", false},
		{"a*c", "a*d", false},
		{"a*b*", "*c*d", true},
		{"**", "*", true},
		{"ab*", "a", false},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			if got := Overlap(pair[0], pair[1]); got != c.want {
				t.Errorf("Overlap(%q, %q) = %v, want %v", pair[0], pair[1], got, c.want)
			}
		}
	}
}

func TestCheckPattern(t *testing.T) {
	for _, p := range []string{"Team-*", "a_*", "a/*", strings.Repeat("a", 64), "ü*"} {
		if err := CheckPattern(p); !errors.Is(err, ErrBucket) {
			t.Errorf("CheckPattern(%q) = %v, want ErrBucket", p, err)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"/s3/bucket/key",
		"/s3/bucket/%2e%2e/x",
		"/s3/bucket//a%2Fb+c",
		"/s3/b%2Fc/d",
		"/s3/bucket/%ff",
		"/s3/bucket/Icon%0D",
		"/s3/bucket/%01%1b%7F%C2%85",
		"/s3/bucket/\x7f\u0085",
		"/s3/bucket/%00",
		"/s3/My_Bucket/key",
		"/s3//x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		l, err := ParsePath(path)
		if err != nil {
			if l != (Locator{}) {
				t.Errorf("ParsePath(%q) = %+v, %v, want no locator with an error", path, l, err)
			}
			return
		}
		if err := CheckStoreBucket(l.Bucket); err != nil ||
			!strings.HasPrefix(path, PathPrefix+l.Bucket+"/") {
			t.Errorf("ParsePath(%q) returns bucket %q, %v", path, l.Bucket, err)
		}
		if !utf8.ValidString(l.Key) || l.Key == "" || len(l.Key) > MaxKeyBytes ||
			strings.Contains(l.Key, "\x00") {
			t.Errorf("ParsePath(%q) returns the invalid key %q", path, l.Key)
		}
		isVisible := func(r rune) bool { return r > ' ' && r < 0x7f }
		if encoded := strings.TrimLeftFunc(l.Path(), isVisible); encoded != "" {
			t.Errorf("Locator.Path() = %q, want visible ASCII characters only", l.Path())
		}
		if shown := Printable(l.String()); strings.ContainsFunc(shown, unicode.IsControl) {
			t.Errorf("Printable(%q) = %q, want no control characters", l.String(), shown)
		}
		// A browser must not remove segments from the path.
		want := PathPrefix + l.Bucket + "/" + l.Key
		if u, err := url.Parse(l.Path()); err != nil || u.Path != want {
			t.Errorf("url.Parse(%q) = %+v, %v, want the path %q", l.Path(), u, err, want)
		}
		if got, err := ParsePath(l.Path()); err != nil || got != l {
			t.Errorf("ParsePath(%q) = %+v, %v, want %+v", l.Path(), got, err, l)
		}
		if got, err := Parse(l.String()); err != nil || got != l {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", l.String(), got, err, l)
		}
	})
}

func BenchmarkParsePath(b *testing.B) {
	const path = "/s3/my-bucket/some/folder/with/a/key/of/usual/length/photo-0001.jpg"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePath(path); err != nil {
			b.Fatal(err)
		}
	}
}

func TestParseLinkPath(t *testing.T) {
	for path, want := range map[string]string{ // the token, the locator; "" means an error
		"/s3/bucket/a/b":       " s3://bucket/a/b",
		"/s3/~ab/bucket/a%2Fb": "~ab s3://bucket/a/b",
		"/s3/~/bucket/a":       "~ s3://bucket/a",
		"/s3/~a~b/bucket/~c/d": "~a~b s3://bucket/~c/d",
		"/s3/bucket/~ab/c":     " s3://bucket/~ab/c",
		"/s3/~ab/~cd/bucket/a": "",
		"/s3/%7Eab/bucket/a":   "",
		"/s3//~ab/bucket/a":    "",
		"/s3/~ab":              "",
		"/s3/~ab/":             "",
		"/s3/~ab/bucket":       "",
		"/s3/~ab/bucket/":      "",
		"/s3/~ab/bucket/../a":  "",
		"/s3/~ab/../bucket/a":  "",
		"/s4/~ab/bucket/a":     "",
	} {
		l, token, err := ParseLinkPath(path)
		got := ""
		if err == nil {
			got = token + " " + l.String()
		}
		if got != want {
			t.Errorf("ParseLinkPath(%q) = %q, %v, want %q", path, got, err, want)
		}
	}
	l := Locator{Bucket: "bucket", Key: "ü/a b"}
	if got, want := l.LinkPath("~ab"), "/s3/~ab/bucket/%C3%BC/a%20b"; got != want {
		t.Errorf("LinkPath = %q, want %q", got, want)
	}
}

// A path has a link or a bucket in its first segment, and never both. What follows the link is
// parsed as without it.
func FuzzParseLinkPath(f *testing.F) {
	for _, path := range []string{
		"/s3/bucket/k", "/s3/~ab/bucket/k", "/s3/~/~/k", "/s3/~ab/bucket/%2e%2e/k", "/s3/~ab", "/s3/",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		plain, plainErr := ParsePath(path)
		l, token, err := ParseLinkPath(path)
		switch {
		case token == "" && (l != plain || (err == nil) != (plainErr == nil)):
			t.Errorf("ParseLinkPath(%q) = %v, %v, want %v, %v as ParsePath", path, l, err, plain, plainErr)
		case token != "" && plainErr == nil:
			t.Errorf("ParsePath(%q) = %v, want an error, because %q is a token", path, plain, token)
		case token != "" && err == nil:
			rest := strings.TrimPrefix(path, PathPrefix+token)
			without, err := ParsePath(PathPrefix + strings.TrimPrefix(rest, "/"))
			if err != nil || without != l || strings.Contains(token, "/") {
				t.Errorf("ParseLinkPath(%q) = %v, %q, want %v, %v", path, l, token, without, err)
			}
		}
	})
}

// AppendPath escapes every character as package url does.
func TestAppendPath(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	for _, key := range []string{string(all), "a//b/", "*", "a b.jpg", "ü/~x"} {
		want := (&url.URL{Path: PathPrefix + "b/" + key}).EscapedPath()
		if got := string(Locator{"b", key}.AppendPath([]byte("x"))); got != "x"+want {
			t.Errorf("AppendPath of %q = %q, want x%s", key, got, want)
		}
	}
}
