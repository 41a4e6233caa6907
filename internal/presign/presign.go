// Package presign makes presigned URLs of S3 objects: Signature Version 4 in the query, S3's endpoints, and the encoding of
// keys. All that the URLs of a window have in common is prepared once, in a [Signer]; an object then costs one SHA-256 and
// one HMAC.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
package presign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"sync"
	"time"
)

// MaxLifetime is the longest X-Amz-Expires that S3 accepts.
const MaxLifetime = 7 * 24 * time.Hour

const (
	algorithm = "AWS4-HMAC-SHA256"
	service   = "s3"
	// The only signed header. With any other a browser's plain request for the URL would be refused.
	signedHeaders = "host"
	payload       = "UNSIGNED-PAYLOAD"
	longDate      = "20060102T150405Z"
	shortDate     = "20060102"
)

// Object is what a URL is for.
type Object struct {
	Method   string // GET or HEAD: S3 takes a signature for no other method than its own
	Endpoint *Endpoint
	Key      string // decoded, not empty
	Params   string // of [Params.Canonical]; "" for none
}

// Signature is the part of a URL that is different for each object. Printed or logged, it does not show.
type Signature [sha256.Size]byte

// String implements fmt.Stringer without the signature.
func (Signature) String() string { return redacted }

// GoString implements fmt.GoStringer without the signature.
func (Signature) GoString() string { return redacted }

// Signer signs for one set of credentials, one region and one signing instant. It is safe for concurrent use.
type Signer struct {
	query string // canonical, X-Amz-Algorithm to X-Amz-SignedHeaders
	// The SHA-256 states of the HMAC with the signing key: the inner one has read the string to sign up to the
	// canonical request's digest, the outer one has read its pad.
	inner, outer []byte
}

// NewSigner prepares a signer. Signed URLs expire lifetime after signedAt; both count in whole seconds, and lifetime must
// be from 1 second to [MaxLifetime].
func NewSigner(c Credentials, region string, signedAt time.Time, lifetime time.Duration) (*Signer, error) {
	if lifetime < time.Second || lifetime > MaxLifetime {
		return nil, fmt.Errorf("presign: a lifetime of %v: it must be 1s to 168h", lifetime)
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" || region == "" {
		return nil, fmt.Errorf("presign: no access key, no secret key or no region")
	}
	at := signedAt.UTC()
	scope := at.Format(shortDate) + "/" + region + "/" + service + "/aws4_request"

	q := appendEscaped([]byte("X-Amz-Algorithm="+algorithm+"&X-Amz-Credential="), c.AccessKeyID+"/"+scope, false)
	q = append(q, "&X-Amz-Date="+at.Format(longDate)+"&X-Amz-Expires="...)
	q = strconv.AppendInt(q, int64(lifetime/time.Second), 10)
	if c.SessionToken != "" {
		q = appendEscaped(append(q, "&X-Amz-Security-Token="...), c.SessionToken, false)
	}
	q = append(q, "&X-Amz-SignedHeaders="+signedHeaders...)

	key := signingKey(c.SecretAccessKey, at.Format(shortDate), region)
	prefix := algorithm + "\n" + at.Format(longDate) + "\n" + scope + "\n"
	s := &Signer{query: string(q)}
	var err error
	if s.inner, err = hmacState(key, 0x36, prefix); err != nil {
		return nil, err
	}
	s.outer, err = hmacState(key, 0x5c, "")
	return s, err
}

// signingKey derives the key of a day, a region and the service.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#derive-signing-key
func signingKey(secret, date, region string) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{date, region, service, "aws4_request"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return key
}

// hmacState is the state of a SHA-256 that has read a key's pad and what follows it (RFC 2104, section 2).
func hmacState(key []byte, pad byte, then string) ([]byte, error) {
	var block [sha256.BlockSize]byte
	copy(block[:], key)
	for i := range block {
		block[i] ^= pad
	}
	h := sha256.New()
	h.Write(block[:])
	h.Write([]byte(then))
	return h.(encoding.BinaryMarshaler).MarshalBinary()
}

// scratch is what one signature needs for a moment.
type scratch struct {
	hash hash.Hash
	buf  []byte
}

var scratches = sync.Pool{New: func() any { return &scratch{hash: sha256.New(), buf: make([]byte, 0, 4096)} }}

// Sign signs an object's request.
func (s *Signer) Sign(o *Object) (sig Signature) {
	x := scratches.Get().(*scratch)
	b := s.appendCanonicalRequest(x.buf[:0], o)
	digest := sha256.Sum256(b)

	b = hex.AppendEncode(b[:0], digest[:])
	resume(x.hash, s.inner)
	x.hash.Write(b)
	b = x.hash.Sum(b[:0])
	resume(x.hash, s.outer)
	x.hash.Write(b)
	copy(sig[:], x.hash.Sum(b[:0]))

	x.buf = b
	scratches.Put(x)
	return sig
}

func resume(h hash.Hash, state []byte) {
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		panic("presign: SHA-256 does not take its own state back")
	}
}

// appendCanonicalRequest appends what is signed:
//
//	GET
//	/key
//	X-Amz-Algorithm=…&…&X-Amz-SignedHeaders=host
//	host:bucket.s3.region.amazonaws.com
//
//	host
//	UNSIGNED-PAYLOAD
func (s *Signer) appendCanonicalRequest(dst []byte, o *Object) []byte {
	dst = append(append(dst, o.Method...), '\n')
	dst = append(o.appendPath(dst), '\n')
	dst = s.appendQuery(dst, o)
	dst = append(append(dst, "\nhost:"...), o.Endpoint.Host...)
	return append(dst, "\n\n"+signedHeaders+"\n"+payload...)
}

// AppendURL appends the presigned URL of an object that s signed.
func (s *Signer) AppendURL(dst []byte, o *Object, sig Signature) []byte {
	dst = append(dst, o.Endpoint.origin...)
	dst = append(o.appendPath(dst), '?')
	dst = append(s.appendQuery(dst, o), "&X-Amz-Signature="...)
	return hex.AppendEncode(dst, sig[:])
}

func (o *Object) appendPath(dst []byte) []byte {
	dst = append(append(dst, o.Endpoint.path...), '/')
	return appendEscaped(dst, o.Key, true)
}

// The names of [Params] come after those of the signer in the canonical order: they begin with a small letter.
func (s *Signer) appendQuery(dst []byte, o *Object) []byte {
	dst = append(dst, s.query...)
	if o.Params != "" {
		dst = append(append(dst, '&'), o.Params...)
	}
	return dst
}
