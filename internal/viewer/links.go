package viewer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// The parameters of a signed link.
const (
	paramExpires   = "exp"    // Unix time, in seconds
	paramKey       = "kid"    // which key signed it
	paramPrefix    = "prefix" // what keys begin with that the link is for; without it, it is for its own path
	paramSignature = "sig"    // base64url of the HMAC
)

// maxLinkQuery and maxLinkParams bound a link's query, in bytes and in parameters.
const (
	maxLinkQuery  = 8 << 10
	maxLinkParams = 32
)

// linkPurpose begins what is signed: a link is for reading, and for nothing that may be signed with the same key one day.
const linkPurpose = "s3redirect link v1 read\n"

// Links makes and checks signed links.
type Links struct {
	keys        []linkKey
	maxLifetime time.Duration
}

// linkKey has its secret in a function, where no print can find it.
type linkKey struct {
	id  string
	mac func() hash.Hash
}

// NewLinks makes the links of a configuration that passed config's checks.
func NewLinks(c *config.Links) *Links {
	l := &Links{maxLifetime: c.MaxLifetime}
	for _, k := range c.Keys {
		l.keys = append(l.keys, linkKey{id: k.ID, mac: func() hash.Hash { return hmac.New(sha256.New, []byte(string(k.Secret))) }})
	}
	return l
}

// MaxLifetime is how long a link may live.
func (l *Links) MaxLifetime() time.Duration { return l.maxLifetime }

// Target is what a link is for: an object, or, with Prefix, all objects whose keys begin with Locator.Key.
type Target struct {
	locator.Locator
	Prefix bool
}

// ErrTarget is that what a link is to be made for is neither a locator nor a prefix.
var ErrTarget = errors.New("write it as s3://bucket/key, or as s3://bucket/folder/* for all that is in a folder")

// ParseTarget reads s3://bucket/key or s3://bucket/folder/*. Its error is [ErrTarget], or one of package locator's.
func ParseTarget(text string) (Target, error) {
	folder, all := strings.CutSuffix(text, "/*")
	if !all {
		l, err := locator.Parse(text)
		return Target{Locator: l}, err
	}
	if rest, ok := strings.CutPrefix(folder, "s3://"); ok && !strings.Contains(rest, "/") {
		return Target{Locator: locator.Locator{Bucket: rest}, Prefix: true}, locator.CheckBucket(rest)
	}
	l, err := locator.Parse(folder + "/")
	if err != nil {
		return Target{}, errors.Join(ErrTarget, err)
	}
	return Target{Locator: l, Prefix: true}, nil
}

// Query is the query of a link to a target that ends at an instant, signed with the first key. For an object it belongs after
// its path; for a prefix after the path of any object that is meant. Its error is about the lifetime.
func (l *Links) Query(t Target, now, until time.Time) (string, error) {
	switch life := until.Sub(now); {
	case life <= 0:
		return "", errors.New("the link would have ended already")
	case life > l.maxLifetime:
		return "", errors.New("the link would live for longer than max_lifetime, which is " + l.maxLifetime.String())
	}
	key := l.keys[0]
	query := paramExpires + "=" + strconv.FormatInt(until.Unix(), 10) + "&" + paramKey + "=" + key.id
	if t.Prefix {
		query += "&" + paramPrefix + "=" + url.QueryEscape(t.Key)
	}
	return query + "&" + paramSignature + "=" + linkSignature(key, t, until.Unix()), nil
}

// linkSignature is over what is meant, decoded and without ambiguity: no way to spell a path makes it another's.
func linkSignature(key linkKey, t Target, expires int64) string {
	mac := key.mac()
	kind := "object"
	if t.Prefix {
		kind = "prefix"
	}
	mac.Write([]byte(linkPurpose))
	for _, field := range []string{kind, key.id, t.Bucket, t.Key} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(field))))
		mac.Write([]byte(field))
	}
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(expires)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// HasLink reports whether a query has a link's signature. It takes a query of any length, since one that is too long for
// [Links.Check] must not pass for one without a link.
func HasLink(query string) bool {
	return strings.HasPrefix(query, paramSignature+"=") || strings.Contains(query, "&"+paramSignature+"=")
}

// Check returns until when a link is good for an object. Its error is [ErrUnknown]: the link is another object's, it has
// ended, it lives for longer than links may, none of the keys signed it, or its query is too long.
func (l *Links) Check(query string, object locator.Locator, now time.Time) (until time.Time, err error) {
	params, ok := parseLink(query)
	if !ok {
		return time.Time{}, ErrUnknown
	}
	t := Target{Locator: object}
	if prefix, ok := params[paramPrefix]; ok {
		t.Key, t.Prefix = prefix, true
		if t.Key != "" && !strings.HasSuffix(t.Key, "/") || !strings.HasPrefix(object.Key, t.Key) {
			return time.Time{}, ErrUnknown
		}
	}
	expires, err := strconv.ParseInt(params[paramExpires], 10, 64)
	if err != nil || expires < 0 || expires > 1<<40 {
		return time.Time{}, ErrUnknown
	}
	n := slices.IndexFunc(l.keys, func(k linkKey) bool { return k.id == params[paramKey] })
	// As text, since there are several texts for the same bytes.
	if n < 0 || !hmac.Equal([]byte(params[paramSignature]), []byte(linkSignature(l.keys[n], t, expires))) {
		return time.Time{}, ErrUnknown
	}
	until = time.Unix(expires, 0)
	if life := until.Sub(now); life <= 0 || life > l.maxLifetime+time.Minute { // clocks may be a little apart
		return time.Time{}, ErrUnknown
	}
	return until, nil
}

// parseLink parses the parameters of a link: each is given once, and only the prefix may be missing. A client needs no right
// to have a query checked, so the work is bounded.
func parseLink(query string) (params map[string]string, ok bool) {
	if len(query) > maxLinkQuery || strings.Count(query, "&") >= maxLinkParams || strings.Contains(query, ";") {
		return nil, false
	}
	params = map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		if nameErr != nil || valueErr != nil {
			return nil, false
		}
		switch name {
		case "versionId":
			return nil, false // a link is for the newest version
		case paramExpires, paramKey, paramPrefix, paramSignature:
			if _, twice := params[name]; twice {
				return nil, false
			}
			params[name] = value
		}
	}
	for _, name := range []string{paramExpires, paramKey, paramSignature} {
		if _, given := params[name]; !given {
			return nil, false
		}
	}
	return params, true
}
