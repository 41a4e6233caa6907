package viewer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

const (
	firstSecret  = "canary-first-secret-of-32-bytes!!"
	secondSecret = "canary-second-secret-of-32-bytes!"
)

func newTestLinks(keys ...config.LinkKey) *Links {
	return NewLinks(&config.Links{Keys: keys, MaxLifetime: 24 * time.Hour})
}

// query returns the query of a link to a target that expires after a duration.
func query(t testing.TB, l *Links, target string, lives time.Duration) string {
	t.Helper()
	parsed, err := ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	q, err := l.Query(parsed, now, now.Add(lives))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestLinks(t *testing.T) {
	old := config.LinkKey{ID: "k1", Secret: firstSecret}
	recent := config.LinkKey{ID: "k2", Secret: secondSecret}
	l := newTestLinks(old)
	const name = "folder/a b+c%.jpg"
	own := query(t, l, "s3://bucket/"+name, time.Hour)
	folder := query(t, l, "s3://bucket/folder/*", time.Hour)
	everything := query(t, l, "s3://bucket/*", time.Hour)
	// set returns q with a parameter set, or removed if value is empty.
	set := func(q, name, value string) string {
		v, err := url.ParseQuery(q)
		if err != nil {
			t.Fatal(err)
		}
		if value == "" {
			v.Del(name)
		} else {
			v.Set(name, value)
		}
		return v.Encode()
	}
	text := own + folder + fmt.Sprintf("%v %+v %#v", l, *l, *l)
	if strings.Contains(text, "canary") {
		t.Fatalf("%q contains the secret", text)
	}
	unix := func(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
	for _, c := range []struct {
		what, query, key string // key is the object's
		good             bool
	}{
		{"unchanged", own, name, true},
		{"with other parameters", "v=3&" + own + "&download", name, true},
		{"another key", own, "folder/a b+c%.jpg.bak", false},
		{"a prefix of the key", own, "folder/a b+c%.jp", false},
		{"the key encoded twice", own, "folder/a%20b+c%.jpg", false},
		{"a control character after the key", own, name + "\r", false},
		{"a letter in upper case", own, "folder/A b+c%.jpg", false},
		{"an additional slash", own, "folder//a b+c%.jpg", false},
		{"a later expiry", set(own, "exp", unix(now.Add(2*time.Hour))), name, false},
		{
			"the same expiry with a leading zero",
			set(own, "exp", "0"+unix(now.Add(time.Hour))),
			name,
			true,
		},
		{"no expiry", set(own, "exp", ""), name, false},
		{"a negative expiry", set(own, "exp", "-1"), name, false},
		{"an expiry that is not an integer", set(own, "exp", "1e18"), name, false},
		{"an expiry that overflows", set(own, "exp", "99999999999999999999"), name, false},
		{"another key ID", set(own, "kid", "k2"), name, false},
		{"no key ID", set(own, "kid", ""), name, false},
		{"no signature", set(own, "sig", ""), name, false},
		{"half a signature", own[:len(own)-20], name, false},
		{"a signature with a suffix", own + "AA", name, false},
		{"a version", own + "&versionId=1", name, false},
		{"a version with an escaped name", "version%49d=1&" + own, name, false},
		{"a signature with padding", own + "%3D", name, false},
		{"a signature with a line break", own + "%0A", name, false},
		{"two signatures", own + "&sig=AA", name, false},
		{"two expiries", own + "&exp=9999999999", name, false},
		{"another signature before the link's", "sig=AA&" + own, name, false},
		{"another expiry before the link's", "exp=9999999999&" + own, name, false},
		{"another key ID before the link's", "kid=k2&" + own, name, false},
		{"the same key ID twice", own + "&kid=k1", name, false},
		{"a repeated parameter with an escaped name", "k%69d=k2&" + own, name, false},
		{"a semicolon, which some treat as a separator", own + "&a;b", name, false},
		{"a bad escape", own + "&x=%zz", name, false},
		{"widened to a folder", own + "&prefix=folder%2F", name, false},

		{"in the folder", folder, "folder/x", true},
		{"deeper in the folder", folder, "folder/x/y/z.jpg", true},
		{"the folder itself", folder, "folder/", true},
		{"a folder that begins with the same letters", folder, "folders/x", false},
		{"another folder", folder, "other/x", false},
		{"the folder without its slash", folder, "folder", false},
		{"the folder in upper case", folder, "Folder/x", false},
		{"a folder that looks the same", folder, "fоlder/x", false}, // a Cyrillic о
		{"the prefix of another folder", set(folder, "prefix", "other/"), "other/x", false},
		{"a shorter prefix", set(folder, "prefix", "f"), "folder/x", false},
		{"a second, empty prefix", folder + "&prefix=", "other/x", false},
		{"no prefix", set(folder, "prefix", ""), "folder/", false},

		{"anywhere in the bucket", everything, "any/thing", true},
	} {
		until, err := l.Check(c.query, locator.Locator{Bucket: "bucket", Key: c.key}, now)
		if (err == nil) != c.good {
			t.Errorf("%s: Check = %v, want accepted: %v", c.what, err, c.good)
		}
		if want := now.Add(time.Hour); c.good && !until.Equal(want) {
			t.Errorf("%s: Check = %v, want %v", c.what, until, want)
		}
		_, err = l.Check(c.query, locator.Locator{Bucket: "another", Key: c.key}, now)
		if err == nil {
			t.Errorf("%s in another bucket: Check = nil, want an error", c.what)
		}
	}
	object := locator.Locator{Bucket: "bucket", Key: "folder/x"}
	for when, good := range map[time.Duration]bool{
		-time.Hour:              true,
		time.Hour - time.Second: true,
		time.Hour:               false,
		100 * time.Hour:         false,
		-30 * time.Hour:         false,
	} {
		if _, err := l.Check(folder, object, now.Add(when)); (err == nil) != good {
			t.Errorf("%v after signing: Check = %v, want accepted: %v", when, err, good)
		}
	}

	// A prefix must end in a slash, even if the link is signed.
	part := Target{Locator: locator.Locator{Bucket: "bucket", Key: "fold"}, Prefix: true}
	if q, err := l.Query(part, now, now.Add(time.Hour)); err == nil {
		if _, err := l.Check(q, object, now); err == nil {
			t.Error("a prefix without a slash: Check = nil, want an error")
		}
	}

	// After a rotation the new key signs. Links of the old key remain valid while it is listed.
	both := newTestLinks(recent, old)
	if _, err := both.Check(folder, object, now); err != nil {
		t.Errorf("a link of the old key, which is listed: Check = %v, want nil", err)
	}
	fresh := query(t, both, "s3://bucket/folder/*", time.Hour)
	if !strings.Contains(fresh, "kid=k2") {
		t.Errorf("Query = %s, want it signed with k2", fresh)
	}
	if _, err := both.Check(fresh, object, now); err != nil {
		t.Errorf("a link of the new key: Check = %v, want nil", err)
	}
	if _, err := newTestLinks(recent).Check(folder, object, now); err == nil {
		t.Error("a link of a removed key: Check = nil, want an error")
	}
	other := newTestLinks(config.LinkKey{ID: "k1", Secret: secondSecret})
	if _, err := other.Check(folder, object, now); err == nil {
		t.Error("another secret with the same ID: Check = nil, want an error")
	}
}

// The signature covers every field of a link unambiguously.
func TestLinkSignatureCoversEveryField(t *testing.T) {
	keys := newTestLinks(
		config.LinkKey{ID: "k1", Secret: firstSecret},
		config.LinkKey{ID: "k2", Secret: firstSecret},
		config.LinkKey{ID: "k1", Secret: secondSecret},
	).keys
	const expires = 1_777_777_777
	sign := func(key linkKey, bucket, object string, prefix bool, expires int64) string {
		l := locator.Locator{Bucket: bucket, Key: object}
		return linkSignature(key, Target{Locator: l, Prefix: prefix}, expires)
	}
	keyK := linkKey{id: "k", mac: keys[0].mac}
	expiry := string(binary.BigEndian.AppendUint64(nil, expires))
	signatures := map[string]string{
		"the link":                       sign(keys[0], "bucket-a", "b/c", false, expires),
		"another key ID":                 sign(keys[1], "bucket-a", "b/c", false, expires),
		"another secret":                 sign(keys[2], "bucket-a", "b/c", false, expires),
		"another expiry":                 sign(keys[0], "bucket-a", "b/c", false, expires+1),
		"a prefix":                       sign(keys[0], "bucket-a", "b/c", true, expires),
		"another bucket":                 sign(keys[0], "bucket-b", "b/c", false, expires),
		"another key":                    sign(keys[0], "bucket-a", "b/d", false, expires),
		"a letter from key to bucket":    sign(keys[0], "bucket-ab", "/c", false, expires),
		"a letter from bucket to key":    sign(keys[0], "bucket-", "ab/c", false, expires),
		"a letter from key ID to bucket": sign(keyK, "1bucket-a", "b/c", false, expires),
		"the expiry in the key":          sign(keys[0], "bucket-a", "b/c"+expiry, false, expires),
	}
	seen := map[string]string{}
	for name, signature := range signatures {
		if other, twice := seen[signature]; twice {
			t.Errorf("%s and %s have the same signature, want different ones", name, other)
		}
		seen[signature] = name
	}

	// The format must not change, or existing links would become invalid: the purpose, each field
	// preceded by its length in eight bytes, and the expiry.
	mac := hmac.New(sha256.New, []byte(firstSecret))
	mac.Write([]byte("s3redirect link v1 read\n" +
		"\x00\x00\x00\x00\x00\x00\x00\x06object" + "\x00\x00\x00\x00\x00\x00\x00\x02k1" +
		"\x00\x00\x00\x00\x00\x00\x00\x08bucket-a" + "\x00\x00\x00\x00\x00\x00\x00\x03b/c" +
		"\x00\x00\x00\x00\x69\xf6\xbc\x71"))
	want := base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	if got := signatures["the link"]; got != want {
		t.Errorf("linkSignature = %s, want %s", got, want)
	}
}

// The cost of checking a query is bounded, since any client can have one checked.
func TestLinkCheckCostIsBounded(t *testing.T) {
	l := newTestLinks(config.LinkKey{ID: "k1", Secret: firstSecret})
	own := query(t, l, "s3://bucket/folder/x", time.Hour)
	object := locator.Locator{Bucket: "bucket", Key: "folder/x"}
	check := func(q string) error { _, err := l.Check(q, object, now); return err }
	few := strings.Repeat("a=b&", maxLinkParams-3) // a link has three
	// long returns the link with a parameter, n bytes long.
	long := func(n int) string { return own + "&a=" + strings.Repeat("b", n-len(own)-3) }
	for name, c := range map[string]struct {
		query string
		good  bool
	}{
		"the maximum number of parameters":       {few + own, true},
		"one too many, first":                    {"a&" + few + own, false},
		"one too many, last":                     {few + own + "&a", false},
		"one too many, empty":                    {few + own + "&", false},
		"the maximum length":                     {long(maxLinkQuery), true},
		"a byte too long":                        {long(maxLinkQuery + 1), false},
		"10,000 parameters":                      {strings.Repeat("a=b&", 10_000) + own, false},
		"10,000 parameters with different names": {manyParams(10_000) + own, false},
	} {
		if err := check(c.query); (err == nil) != c.good {
			t.Errorf("%s: Check = %v, want accepted: %v", name, err, c.good)
		}
		if !HasLink(c.query) {
			t.Errorf("%s: HasLink = false, want true", name)
		}
	}
	if raceEnabled {
		return
	}
	least := testing.AllocsPerRun(100, func() { _ = check(own) })
	room := maxLinkQuery - len(own) - 1
	for name, q := range map[string]string{
		"60 kB of parameters":        manyParams(5000) + own,
		"60 kB of escapes":           strings.Repeat("%61&", 15_000) + own,
		"60 kB in one parameter":     own + "&a=" + strings.Repeat("%62", 20_000),
		"8 kB of parameters":         own + "&" + strings.Repeat("a&", room/2),
		"8 kB of separators":         own + strings.Repeat("&", maxLinkQuery-len(own)),
		"8 kB of escaped parameters": own + "&" + strings.Repeat("%61&", room/4),
	} {
		got := testing.AllocsPerRun(100, func() { _ = check(q) })
		if most := least + maxLinkParams; got > most {
			t.Errorf("%s: Check allocates %v times, want at most %v", name, got, most)
		}
	}
}

// manyParams returns n parameters with different names.
func manyParams(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "p%d=1&", i)
	}
	return b.String()
}

func TestLinkLifetime(t *testing.T) {
	l := newTestLinks(config.LinkKey{ID: "k1", Secret: firstSecret})
	target := Target{Locator: locator.Locator{Bucket: "bucket", Key: "k"}}
	for lifetime, good := range map[time.Duration]bool{
		time.Second:    true,
		24 * time.Hour: true,
		0:              false,
		-time.Hour:     false,
		25 * time.Hour: false,
	} {
		if _, err := l.Query(target, now, now.Add(lifetime)); (err == nil) != good {
			t.Errorf("lifetime %v: Query = %v, want accepted: %v", lifetime, err, good)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{ // bucket, key and Prefix; "" means an error
		"s3://bucket/a/b":     "bucket a/b false",
		"s3://bucket/a/*":     "bucket a/ true",
		"s3://bucket/*":       "bucket  true",
		"s3://bucket/a*":      "bucket a* false",
		"s3://bucket":         "",
		"s3://My_Bucket/*":    "My_Bucket  true",
		"s3://bu%63ket/*":     "",
		"s3://bucket/../*":    "",
		"bucket/*":            "",
		"/*":                  "",
		"s3:///*":             "",
		"s3://bucket/a\x00/*": "",
	} {
		target, err := ParseTarget(text)
		got := ""
		if err == nil {
			got = fmt.Sprint(target.Bucket, " ", target.Key, " ", target.Prefix)
		}
		if got != want {
			t.Errorf("ParseTarget(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

// FuzzLinkCheck checks that a link is valid only for keys in its folder.
func FuzzLinkCheck(f *testing.F) {
	l := newTestLinks(config.LinkKey{ID: "k1", Secret: firstSecret})
	f.Add(query(f, l, "s3://bucket/folder/*", time.Hour), "folder/x")
	f.Add(query(f, l, "s3://bucket/folder/x", time.Hour), "folder/x")
	f.Add("sig=", "")
	f.Fuzz(func(t *testing.T, query, key string) {
		_, err := l.Check(query, locator.Locator{Bucket: "bucket", Key: key}, now)
		// These two links are all that was signed, and both are for keys in the folder.
		if err == nil && !strings.HasPrefix(key, "folder/") {
			t.Errorf("Check(%q, %q) = nil, want an error", query, key)
		}
	})
}
