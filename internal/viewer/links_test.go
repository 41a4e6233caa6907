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
	old, recent := config.LinkKey{ID: "k1", Secret: firstSecret}, config.LinkKey{ID: "k2", Secret: secondSecret}
	l := newTestLinks(old)
	own := query(t, l, "s3://bucket/folder/a b+c%.jpg", time.Hour)
	folder := query(t, l, "s3://bucket/folder/*", time.Hour)
	everything := query(t, l, "s3://bucket/*", time.Hour)
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
	if strings.Contains(own+folder+fmt.Sprintf("%v %+v %#v", l, *l, *l), "canary") {
		t.Fatal("the secret shows")
	}
	for _, c := range []struct {
		what, query, key string
		good             bool
	}{
		{"as it was made", own, "folder/a b+c%.jpg", true},
		{"with other parameters beside", "v=3&" + own + "&download", "folder/a b+c%.jpg", true},
		{"another key", own, "folder/a b+c%.jpg.bak", false},
		{"a part of the key", own, "folder/a b+c%.jp", false},
		{"the key encoded twice", own, "folder/a%20b+c%.jpg", false},
		{"another letter's size", own, "folder/A b+c%.jpg", false},
		{"a slash more", own, "folder//a b+c%.jpg", false},
		{"a later end", set(own, "exp", strconv.FormatInt(now.Add(2*time.Hour).Unix(), 10)), "folder/a b+c%.jpg", false},
		{"the same end, spelt otherwise", set(own, "exp", "0"+strconv.FormatInt(now.Add(time.Hour).Unix(), 10)), "folder/a b+c%.jpg", true},
		{"no end", set(own, "exp", ""), "folder/a b+c%.jpg", false},
		{"a negative end", set(own, "exp", "-1"), "folder/a b+c%.jpg", false},
		{"an end that is no number", set(own, "exp", "1e18"), "folder/a b+c%.jpg", false},
		{"an end beyond numbers", set(own, "exp", "99999999999999999999"), "folder/a b+c%.jpg", false},
		{"another key's ID", set(own, "kid", "k2"), "folder/a b+c%.jpg", false},
		{"no key's ID", set(own, "kid", ""), "folder/a b+c%.jpg", false},
		{"no signature", set(own, "sig", ""), "folder/a b+c%.jpg", false},
		{"half a signature", own[:len(own)-20], "folder/a b+c%.jpg", false},
		{"a signature and more", own + "AA", "folder/a b+c%.jpg", false},
		{"another version of it", own + "&versionId=1", "folder/a b+c%.jpg", false},
		{"another version of it, spelt otherwise", "version%49d=1&" + own, "folder/a b+c%.jpg", false},
		{"a signature with padding", own + "%3D", "folder/a b+c%.jpg", false},
		{"a signature with a line break", own + "%0A", "folder/a b+c%.jpg", false},
		{"two signatures", own + "&sig=AA", "folder/a b+c%.jpg", false},
		{"two ends", own + "&exp=9999999999", "folder/a b+c%.jpg", false},
		{"another signature before", "sig=AA&" + own, "folder/a b+c%.jpg", false},
		{"another end before", "exp=9999999999&" + own, "folder/a b+c%.jpg", false},
		{"another key's ID before", "kid=k2&" + own, "folder/a b+c%.jpg", false},
		{"the same key's ID twice", own + "&kid=k1", "folder/a b+c%.jpg", false},
		{"a parameter twice, spelt otherwise", "k%69d=k2&" + own, "folder/a b+c%.jpg", false},
		{"a semicolon, which some take for a separator", own + "&a;b", "folder/a b+c%.jpg", false},
		{"a bad escape", own + "&x=%zz", "folder/a b+c%.jpg", false},
		{"widened to a folder", own + "&prefix=folder%2F", "folder/a b+c%.jpg", false},

		{"in its folder", folder, "folder/x", true},
		{"deeper in its folder", folder, "folder/x/y/z.jpg", true},
		{"the folder itself", folder, "folder/", true},
		{"a neighbour that begins alike", folder, "folders/x", false},
		{"beside it", folder, "other/x", false},
		{"its name without a slash", folder, "folder", false},
		{"a folder of another size", folder, "Folder/x", false},
		{"a folder that looks alike", folder, "fоlder/x", false}, // a Cyrillic о
		{"another folder's", set(folder, "prefix", "other/"), "other/x", false},
		{"a shorter folder's", set(folder, "prefix", "f"), "folder/x", false},
		{"everything's", folder + "&prefix=", "other/x", false},
		{"another folder's before", "prefix=other%2F&" + folder, "folder/x", false},
		{"an object's", set(folder, "prefix", ""), "folder/", false},

		{"anywhere in the bucket", everything, "any/thing", true},
	} {
		until, err := l.Check(c.query, locator.Locator{Bucket: "bucket", Key: c.key}, now)
		if (err == nil) != c.good {
			t.Errorf("%s: %v", c.what, err)
		}
		if c.good && !until.Equal(now.Add(time.Hour)) {
			t.Errorf("%s: until %v", c.what, until)
		}
		if _, err := l.Check(c.query, locator.Locator{Bucket: "another", Key: c.key}, now); err == nil {
			t.Errorf("%s: good in another bucket", c.what)
		}
	}
	object := locator.Locator{Bucket: "bucket", Key: "folder/x"}
	for when, good := range map[time.Duration]bool{-time.Hour: true, time.Hour - time.Second: true, time.Hour: false, 100 * time.Hour: false, -30 * time.Hour: false} {
		if _, err := l.Check(folder, object, now.Add(when)); (err == nil) != good {
			t.Errorf("%v from its making: %v", when, err)
		}
	}

	// Not even one that we signed is good for what only begins alike.
	if q, err := l.Query(Target{Locator: locator.Locator{Bucket: "bucket", Key: "fold"}, Prefix: true}, now, now.Add(time.Hour)); err == nil {
		if _, err := l.Check(q, object, now); err == nil {
			t.Error("a prefix that is no folder's is good")
		}
	}

	// Keys follow one another: the new one signs, the old one's links go on while it is listed.
	both := newTestLinks(recent, old)
	if _, err := both.Check(folder, object, now); err != nil {
		t.Error("the old key's link is refused while the key is listed")
	}
	fresh := query(t, both, "s3://bucket/folder/*", time.Hour)
	if !strings.Contains(fresh, "kid=k2") {
		t.Errorf("signed with the old key: %s", fresh)
	}
	if _, err := both.Check(fresh, object, now); err != nil {
		t.Error("the new key's link is refused")
	}
	if _, err := newTestLinks(recent).Check(folder, object, now); err == nil {
		t.Error("the link of a key that is gone is good")
	}
	if _, err := newTestLinks(config.LinkKey{ID: "k1", Secret: secondSecret}).Check(folder, object, now); err == nil {
		t.Error("another secret of the same ID makes the same signature")
	}
}

// Everything that a link means is in its signature, without ambiguity.
func TestWhatALinksSignatureCovers(t *testing.T) {
	keys := newTestLinks(config.LinkKey{ID: "k1", Secret: firstSecret}, config.LinkKey{ID: "k2", Secret: firstSecret}, config.LinkKey{ID: "k1", Secret: secondSecret}).keys
	target := func(bucket, key string, prefix bool) Target {
		return Target{Locator: locator.Locator{Bucket: bucket, Key: key}, Prefix: prefix}
	}
	const expires = 1_777_777_777
	signatures := map[string]string{
		"the link":                       linkSignature(keys[0], target("bucket-a", "b/c", false), expires),
		"another key's ID":               linkSignature(keys[1], target("bucket-a", "b/c", false), expires),
		"another secret":                 linkSignature(keys[2], target("bucket-a", "b/c", false), expires),
		"another end":                    linkSignature(keys[0], target("bucket-a", "b/c", false), expires+1),
		"a prefix":                       linkSignature(keys[0], target("bucket-a", "b/c", true), expires),
		"another bucket":                 linkSignature(keys[0], target("bucket-b", "b/c", false), expires),
		"another key":                    linkSignature(keys[0], target("bucket-a", "b/d", false), expires),
		"a letter from key to bucket":    linkSignature(keys[0], target("bucket-ab", "/c", false), expires),
		"a letter from bucket to key":    linkSignature(keys[0], target("bucket-", "ab/c", false), expires),
		"a letter from key ID to bucket": linkSignature(linkKey{id: "k", mac: keys[0].mac}, target("1bucket-a", "b/c", false), expires),
		"the end moved into the key":     linkSignature(keys[0], target("bucket-a", "b/c"+string(binary.BigEndian.AppendUint64(nil, expires)), false), expires),
	}
	seen := map[string]string{}
	for what, signature := range signatures {
		if other, twice := seen[signature]; twice {
			t.Errorf("%s and %s have the same signature", what, other)
		}
		seen[signature] = what
	}

	// The format is fixed, or links would end with the next version: the purpose, then each field
	// after its length in eight bytes, then the end.
	mac := hmac.New(sha256.New, []byte(firstSecret))
	mac.Write([]byte("s3redirect link v1 read\n" +
		"\x00\x00\x00\x00\x00\x00\x00\x06object" + "\x00\x00\x00\x00\x00\x00\x00\x02k1" +
		"\x00\x00\x00\x00\x00\x00\x00\x08bucket-a" + "\x00\x00\x00\x00\x00\x00\x00\x03b/c" +
		"\x00\x00\x00\x00\x69\xf6\xbc\x71"))
	if got, want := signatures["the link"], base64.RawURLEncoding.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("the signature is %s, want %s", got, want)
	}
}

// What a link's query costs is bounded, whatever it holds: a request needs no right to have it
// checked.
func TestCostOfALinksQuery(t *testing.T) {
	l := newTestLinks(config.LinkKey{ID: "k1", Secret: firstSecret})
	own := query(t, l, "s3://bucket/folder/x", time.Hour)
	object := locator.Locator{Bucket: "bucket", Key: "folder/x"}
	check := func(q string) error { _, err := l.Check(q, object, now); return err }
	few := strings.Repeat("a=b&", maxLinkParams-3) // beside the three of the link
	for what, c := range map[string]struct {
		query string
		good  bool
	}{
		"as many parameters as there may be":  {few + own, true},
		"one too many before":                 {"a&" + few + own, false},
		"one too many behind":                 {few + own + "&a", false},
		"an empty one too many":               {few + own + "&", false},
		"as long as it may be":                {own + "&a=" + strings.Repeat("b", maxLinkQuery-len(own)-3), true},
		"a byte too long":                     {own + "&a=" + strings.Repeat("b", maxLinkQuery-len(own)-2), false},
		"10,000 parameters":                   {strings.Repeat("a=b&", 10_000) + own, false},
		"10,000 parameters of different name": {manyParams(10_000) + own, false},
	} {
		if err := check(c.query); (err == nil) != c.good {
			t.Errorf("%s: %v, want accepted: %v", what, err, c.good)
		}
		if !HasLink(c.query) {
			t.Errorf("%s: no link is seen", what)
		}
	}
	if raceEnabled {
		return
	}
	least := testing.AllocsPerRun(100, func() { _ = check(own) })
	for what, q := range map[string]string{
		"60 kB of parameters":        manyParams(5000) + own,
		"60 kB of escapes":           strings.Repeat("%61&", 15_000) + own,
		"60 kB in one":               own + "&a=" + strings.Repeat("%62", 20_000),
		"8 kB of parameters":         own + "&" + strings.Repeat("a&", (maxLinkQuery-len(own)-1)/2),
		"8 kB of separators":         own + strings.Repeat("&", maxLinkQuery-len(own)),
		"8 kB of escaped parameters": own + "&" + strings.Repeat("%61&", (maxLinkQuery-len(own)-1)/4),
	} {
		if got, most := testing.AllocsPerRun(100, func() { _ = check(q) }), least+maxLinkParams; got > most {
			t.Errorf("%s: %v allocations, want %v at most", what, got, most)
		}
	}
}

// manyParams returns n parameters of different names.
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
	for lives, good := range map[time.Duration]bool{time.Second: true, 24 * time.Hour: true, 0: false, -time.Hour: false, 25 * time.Hour: false} {
		if _, err := l.Query(target, now, now.Add(lives)); (err == nil) != good {
			t.Errorf("%v: %v", lives, err)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"s3://bucket/a/b": "bucket a/b false", "s3://bucket/a/*": "bucket a/ true", "s3://bucket/*": "bucket  true", "s3://bucket/a*": "bucket a* false",
		"s3://bucket": "", "s3://Bucket/*": "", "s3://bucket/../*": "", "bucket/*": "", "/*": "", "s3:///*": "", "s3://bucket/a\x00/*": "",
	} {
		got, err := ParseTarget(text)
		if s := got.Bucket + " " + got.Key + " " + strconv.FormatBool(got.Prefix); (err == nil) != (want != "") || err == nil && s != want {
			t.Errorf("%s: %q, %v, want %q", text, s, err, want)
		}
	}
}

func FuzzLinkCheck(f *testing.F) {
	l := newTestLinks(config.LinkKey{ID: "k1", Secret: firstSecret})
	f.Add(query(f, l, "s3://bucket/folder/*", time.Hour), "folder/x")
	f.Add(query(f, l, "s3://bucket/folder/x", time.Hour), "folder/x")
	f.Add("sig=", "")
	f.Fuzz(func(t *testing.T, query, key string) {
		_, err := l.Check(query, locator.Locator{Bucket: "bucket", Key: key}, now)
		// Nobody but us signs, and these two are all that was signed: whatever is good is in the
		// folder.
		if err == nil && !strings.HasPrefix(key, "folder/") {
			t.Errorf("%q is good for %q", query, key)
		}
	})
}
