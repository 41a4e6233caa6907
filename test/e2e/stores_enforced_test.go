package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"s3redirect/internal/locator"
)

// enforced are the rows about requests that a store should reject.
var enforced = []behavior{
	{"no signature", "403", func(s *suite) string {
		before, _, _ := strings.Cut(s.sign(request{}), "?")
		return s.rejects(http.MethodGet, before)
	}},
	{"another signature", "403", func(s *suite) string {
		u := s.sign(request{})
		return s.rejects(http.MethodGet, u[:len(u)-4]+"0000")
	}},
	{"another key", "403", func(s *suite) string {
		s.put(s.t, suiteBucket, "other", s.body)
		u := s.sign(request{key: "mine"})
		return s.rejects(http.MethodGet, strings.Replace(u, "/mine?", "/other?", 1))
	}},
	{"another bucket", "403", func(s *suite) string {
		u := s.sign(request{})
		return s.rejects(http.MethodGet,
			strings.Replace(u, "/"+suiteBucket+"/", "/"+otherBucket+"/", 1))
	}},
	{"a longer `X-Amz-Expires`", "403", func(s *suite) string {
		u := s.sign(request{})
		return s.rejects(http.MethodGet, strings.Replace(u, "Expires=", "Expires=1", 1))
	}},
	{"a signed parameter left out", "403", func(s *suite) string {
		const param = "response-content-type"
		u := s.sign(request{query: url.Values{param: {"text/html"}}})
		return s.rejects(http.MethodGet, strings.Replace(u, param+"=text%2Fhtml", "", 1))
	}},
	{"an added `response-content-type`", "403", func(s *suite) string {
		return s.rejects(http.MethodGet, s.sign(request{})+"&response-content-type=text%2Fhtml")
	}},
	{"an added unknown parameter", "", func(s *suite) string {
		return s.rejects(http.MethodGet, s.sign(request{})+"&x=1")
	}},
	{"GET's URL for HEAD", "", func(s *suite) string {
		return s.rejects(http.MethodHead, s.sign(request{}))
	}},
	{"HEAD's URL for GET", "403", func(s *suite) string {
		return s.rejects(http.MethodGet, s.sign(request{method: http.MethodHead}))
	}},
	{"GET's URL for PUT", "403", func(s *suite) string {
		return s.rejects(http.MethodPut, s.sign(request{key: "other"}))
	}},
	{"GET's URL for DELETE", "403", func(s *suite) string {
		return s.rejects(http.MethodDelete, s.sign(request{key: "other"}))
	}},
	{"an expired URL", "403", func(s *suite) string {
		return s.rejects(http.MethodGet, s.sign(request{signed: -time.Hour, expires: time.Minute}))
	}},
	{"`X-Amz-Expires` of seven days and a second", "", func(s *suite) string {
		return s.rejects(http.MethodGet, s.sign(request{expires: 7*24*time.Hour + time.Second}))
	}},
	{"signed 16 minutes ahead", "", func(s *suite) string {
		return s.rejects(http.MethodGet, s.sign(request{signed: 16 * time.Minute}))
	}},
	{"another region", "", func(s *suite) string {
		return s.rejects(http.MethodGet, s.sign(request{region: "eu-west-9"}))
	}},
	{"`Authorization` beside the signature", "", func(s *suite) string {
		return s.rejects(http.MethodGet, s.sign(request{}), "Authorization: Bearer of-the-site")
	}},
	{"a session without its token", "", (*suite).sessionWithoutToken},
	{"an object outside the session policy", "", func(s *suite) string {
		keys, err := s.session()
		if err != nil {
			return "–"
		}
		outside := request{bucket: otherBucket, key: suiteKey}
		return s.rejects(http.MethodGet, s.signWith(keys, outside))
	}},
}

// rejects sends a request and returns the status, in bold if the store served the request.
func (s *suite) rejects(method, url string, header ...string) string {
	s.t.Helper()
	a := fetch(s.t, method, url, header...)
	if a.status < http.StatusBadRequest {
		return fmt.Sprintf("**%d**", a.status)
	}
	return strconv.Itoa(a.status)
}

func (s *suite) sessionWithoutToken() string {
	keys, err := s.session()
	if err != nil {
		return "–"
	}
	keys.SessionToken = ""
	return s.rejects(http.MethodGet, s.signWith(keys, request{}))
}

// keyBehaviors are the rows about keys.
var keyBehaviors = []behavior{
	keyRow("spaces, `+` and `%`",
		"a b", " leading", "trailing ", "a+b", "100%", "%41", "a%2Fb", "a+b c%20d", "%"),
	keyRow("other ASCII", "a&b=c", "a?b", "a#b", "a;b:c", "a@b", "'a'", `"a"`, "[a](b){c}<d>",
		"a*b!", "$a,b^c`d", "~a", ".hidden", "..a", "a/.../b"),
	keyRow("Unicode", "ü NFC", "u\u0308 NFD", "日本語/写真.jpg", "🎬", "zero\u200bwidth", "\u202ertl"),
	keyRow("a final slash", "folder/"),
	keyRow("a leading slash", "/leading"),
	keyRow("repeated slashes", "repeated//slashes"),
	keyRow("a backslash", `back\slash`),
	keyRow("tab, line feed, carriage return", "a\tb", "a\nb", "Icon\r"),
	keyRow("other control characters", "a\x01b", "a\x1fb", "a\x7fb", "a\u0085b"),
	keyRow("a segment of 300 bytes", strings.Repeat("k", 300)),
	keyRow("1,024 bytes", strings.Repeat("folders/", 127)+"filename"),
	keyRow("an object and a folder of one name", "both", "both/below"),
}

// keyRow returns a row for keys of one kind. Its result is "kept" if the store keeps each key
// unchanged and serves its object.
func keyRow(name string, keys ...string) behavior {
	return behavior{name, "", func(s *suite) string {
		var results []string
		for _, key := range keys {
			if result := s.keeps(key); !slices.Contains(results, result) {
				results = append(results, result)
			}
		}
		for _, key := range keys {
			// Listing fails on some stores as long as there is a key that XML cannot hold.
			_, _ = s.client(s.owner).DeleteObject(s.t.Context(), &s3.DeleteObjectInput{
				Bucket: aws.String(keyBucket),
				Key:    &key,
			}, once)
		}
		return strings.Join(results, ", ")
	}}
}

// once turns an SDK client's retries off.
func once(o *s3.Options) { o.RetryMaxAttempts = 1 }

// keeps stores an object and returns what the store did: "kept" if it serves the bytes under the
// key, and under no other that it lists.
func (s *suite) keeps(key string) string {
	body := randomBytes(50)
	before := s.listed()
	_, err := s.client(s.owner).PutObject(s.t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(keyBucket),
		Key:    &key,
		Body:   bytes.NewReader(body),
	}, once)
	if err != nil {
		return "refused (" + failure(err) + ")"
	}
	location := s.sign(request{bucket: keyBucket, key: key})
	if locator.CheckKey(key) == nil { // else the proxy refuses the key
		location = s.proxy.location(s.t, http.MethodGet, path(keyBucket, key))
	}
	a := fetch(s.t, http.MethodGet, location)
	switch {
	case a.status != http.StatusOK:
		return fmt.Sprintf("not served (%d)", a.status)
	case !bytes.Equal(a.body, body):
		return "other bytes"
	}
	after := s.listed()
	if slices.Contains(after, key) {
		return "kept"
	}
	for _, other := range after {
		if slices.Contains(before, other) {
			continue
		}
		a := fetch(s.t, http.MethodGet, s.sign(request{bucket: keyBucket, key: other}))
		if bytes.Equal(a.body, body) {
			return fmt.Sprintf("stored as `%s`", other)
		}
	}
	return "kept" // the list does not have the key, or not as it was stored
}

// listed returns the keys in keyBucket. It is empty if the store lists a key that XML cannot hold.
func (s *suite) listed() (keys []string) {
	out, err := s.client(s.owner).ListObjectsV2(s.t.Context(), &s3.ListObjectsV2Input{
		Bucket:       aws.String(keyBucket),
		EncodingType: types.EncodingTypeUrl,
	}, once)
	if err != nil {
		return nil
	}
	for _, object := range out.Contents {
		key := *object.Key
		if out.EncodingType == types.EncodingTypeUrl { // not all stores encode keys
			if key, err = url.QueryUnescape(key); err != nil {
				s.t.Fatal(err)
			}
		}
		keys = append(keys, key)
	}
	return keys
}

// escapeKey encodes a key like S3's canonical URI: all bytes but letters, digits, "-._~" and
// slashes.
func escapeKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
