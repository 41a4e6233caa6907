package viewer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
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
	paramPrefix    = "prefix" // the folder; without it, the link is for its path
	paramSignature = "sig"    // base64url of the HMAC
)

// maxLinkQuery and maxLinkParams bound a link's query, in bytes and in parameters.
const (
	maxLinkQuery  = 8 << 10
	maxLinkParams = 32
)

// linkPurpose begins the signed text, so that the signature of a link is valid for nothing else
// that may be signed with the same key.
const linkPurpose = "s3redirect link v1 read\n"

// Links signs and verifies links. A signed link lets any client read an object, or the objects in a
// folder, until it expires.
type Links struct {
	keys        []linkKey
	maxLifetime time.Duration
	cookie      string // the cookie that may hold a link, or ""
}

// linkKey is a signing key. The secret is in a function so that printing a linkKey cannot reveal
// it.
type linkKey struct {
	id  string
	mac func() hash.Hash
}

// NewLinks returns the Links of a valid configuration.
func NewLinks(c *config.Links) *Links {
	l := &Links{maxLifetime: c.MaxLifetime, cookie: c.Cookie}
	for _, k := range c.Keys {
		l.keys = append(l.keys, linkKey{id: k.ID, mac: func() hash.Hash {
			return hmac.New(sha256.New, []byte(string(k.Secret)))
		}})
	}
	return l
}

// MaxLifetime returns the maximum lifetime of a link.
func (l *Links) MaxLifetime() time.Duration { return l.maxLifetime }

// Target is what a link is for: an object or, if Prefix is true, all objects whose keys begin with
// Key.
type Target struct {
	locator.Locator
	Prefix bool
}

// ErrTarget means that a text is neither a locator nor a folder.
var ErrTarget = errors.New("invalid target: " +
	"write s3://bucket/key, or s3://bucket/folder/* for everything in a folder")

// ParseTarget parses s3://bucket/key or s3://bucket/folder/*. The error wraps [ErrTarget], or is
// one of package locator's.
func ParseTarget(text string) (Target, error) {
	folder, all := strings.CutSuffix(text, "/*")
	if !all {
		l, err := locator.Parse(text)
		return Target{Locator: l}, err
	}
	bucket, ok := strings.CutPrefix(folder, locator.Scheme)
	if ok && !strings.Contains(bucket, "/") {
		t := Target{Locator: locator.Locator{Bucket: bucket}, Prefix: true}
		return t, locator.CheckStoreBucket(bucket)
	}
	l, err := locator.Parse(folder + "/")
	if err != nil {
		return Target{}, errors.Join(ErrTarget, err)
	}
	return Target{Locator: l, Prefix: true}, nil
}

// Query returns the query of a link to t that expires at until, signed with the first key. It is
// appended to the object's path or, if t is a folder, to the path of any object in it. Query
// returns an error if the lifetime is not positive or exceeds the maximum.
func (l *Links) Query(t Target, now, until time.Time) (string, error) {
	switch lifetime := until.Sub(now); {
	case lifetime <= 0:
		return "", errors.New("the link's lifetime must be at least a second")
	case lifetime > l.maxLifetime:
		return "", fmt.Errorf("the link's lifetime must not exceed max_lifetime, which is %v",
			l.maxLifetime)
	}
	key := l.keys[0]
	expires := strconv.FormatInt(until.Unix(), 10)
	query := paramExpires + "=" + expires + "&" + paramKey + "=" + key.id
	if t.Prefix {
		query += "&" + paramPrefix + "=" + url.QueryEscape(t.Key)
	}
	return query + "&" + paramSignature + "=" + linkSignature(key, t, until.Unix()), nil
}

// linkSignature returns the signature of a link. It covers the decoded fields, each preceded by its
// length, so different targets never have the same signed text.
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

// HasLink reports whether a query contains a link's signature. It accepts queries of any length:
// one that is too long for [Links.Check] must not count as a query without a link.
func HasLink(query string) bool {
	return strings.HasPrefix(query, paramSignature+"=") ||
		strings.Contains(query, "&"+paramSignature+"=")
}

// Check returns when a link to an object expires. The error is a [*Refusal] if the link is for
// another object, has expired, expires later than the maximum lifetime allows, was signed by none
// of the keys, or has too long a query. The signature covers the object, so a link to another
// object has a wrong signature.
func (l *Links) Check(
	query string, object locator.Locator, now time.Time,
) (until time.Time, err error) {
	params, reason := parseLink(query)
	if reason != "" {
		return time.Time{}, refuse(MethodLink, reason)
	}
	t := Target{Locator: object}
	if prefix, ok := params[paramPrefix]; ok {
		t.Key, t.Prefix = prefix, true
		if t.Key != "" && !strings.HasSuffix(t.Key, "/") || !strings.HasPrefix(object.Key, t.Key) {
			return time.Time{}, refuse(MethodLink, ReasonLinkTarget)
		}
	}
	expires, err := strconv.ParseInt(params[paramExpires], 10, 64)
	if err != nil || expires < 0 || expires > 1<<40 {
		return time.Time{}, refuse(MethodLink, ReasonMalformed)
	}
	n := slices.IndexFunc(l.keys, func(k linkKey) bool { return k.id == params[paramKey] })
	if n < 0 {
		return time.Time{}, &Refusal{
			Method: MethodLink,
			Reason: ReasonKeyUnknown,
			Stated: Stated{KeyID: stated(params[paramKey])},
		}
	}
	// Compare the encoded signatures: several base64 texts decode to the same bytes.
	signature := linkSignature(l.keys[n], t, expires)
	if !hmac.Equal([]byte(params[paramSignature]), []byte(signature)) {
		return time.Time{}, refuse(MethodLink, ReasonLinkSignature)
	}
	until = time.Unix(expires, 0)
	// The clock of the signing host may be up to a minute ahead.
	if lifetime := until.Sub(now); lifetime <= 0 || lifetime > l.maxLifetime+time.Minute {
		return time.Time{}, refuse(MethodLink, ReasonLinkExpired)
	}
	return until, nil
}

// parseLink parses the parameters of a link. Each must be given once; only the prefix may be
// missing. Any client can have a query checked, so the work is bounded. The reason is "" if the
// query is a link's.
func parseLink(query string) (params map[string]string, reason Reason) {
	switch {
	case len(query) > maxLinkQuery, strings.Count(query, "&") >= maxLinkParams:
		return nil, ReasonTooLarge
	case strings.Contains(query, ";"):
		return nil, ReasonMalformed
	}
	params = map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		if nameErr != nil || valueErr != nil {
			return nil, ReasonMalformed
		}
		switch name {
		case "versionId":
			return nil, ReasonLinkTarget // a link is for the current version
		case paramExpires, paramKey, paramPrefix, paramSignature:
			if _, twice := params[name]; twice {
				return nil, ReasonMalformed
			}
			params[name] = value
		}
	}
	for _, name := range []string{paramExpires, paramKey, paramSignature} {
		if _, given := params[name]; !given {
			return nil, ReasonMalformed
		}
	}
	return params, ""
}
