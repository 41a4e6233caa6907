// Package presign creates presigned URLs for S3 objects, using Signature Version 4 in the query. A
// [Signer] precomputes the parts that all URLs of a window share; a signature then costs one
// SHA-256 and one HMAC.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
package presign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
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
	// signedHeaders contains only host. S3 would reject a browser's request for a URL that signs
	// other headers.
	signedHeaders = "host"
	payload       = "UNSIGNED-PAYLOAD"
	longDate      = "20060102T150405Z"
	shortDate     = "20060102"
)

// Object is a request to presign.
type Object struct {
	Method   string // GET or HEAD; S3 accepts the URL only with this method
	Endpoint *Endpoint
	Key      string // decoded, not empty
	Params   string // the result of [Params.Canonical]; may be empty
}

// Signature is the signature of a URL. It prints as "[redacted]".
type Signature [sha256.Size]byte

// String implements [fmt.Stringer]. It returns "[redacted]".
func (Signature) String() string { return redacted }

// GoString implements [fmt.GoStringer]. It returns "[redacted]".
func (Signature) GoString() string { return redacted }

// Signer signs URLs with one set of credentials for one region and one signing time. It is safe for
// concurrent use.
type Signer struct {
	query string // the canonical query from X-Amz-Algorithm to X-Amz-SignedHeaders
	// inner and outer are the SHA-256 states of the HMAC with the signing key. The inner state has
	// read the inner pad and the string to sign up to the digest of the canonical request. The
	// outer state has read the outer pad.
	inner, outer []byte
}

// NewSigner returns a signer of URLs that expire lifetime after signedAt. Both are truncated to
// whole seconds. NewSigner returns an error if lifetime is not between 1 second and [MaxLifetime],
// or if the access key ID, the secret key or the region is empty.
func NewSigner(
	c Credentials, region string, signedAt time.Time, lifetime time.Duration,
) (*Signer, error) {
	if lifetime < time.Second || lifetime > MaxLifetime {
		return nil, fmt.Errorf("presign: invalid lifetime %v; use 1s to 168h", lifetime)
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" || region == "" {
		return nil, errors.New("presign: access key ID, secret key or region is missing")
	}
	at := signedAt.UTC()
	scope := at.Format(shortDate) + "/" + region + "/" + service + "/aws4_request"

	q := []byte("X-Amz-Algorithm=" + algorithm + "&X-Amz-Credential=")
	q = appendEscaped(q, c.AccessKeyID+"/"+scope, false)
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

// signingKey derives the signing key for a date and a region.
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

// hmacState returns the state of a SHA-256 that has read the key XORed with pad (RFC 2104, section
// 2), and then text.
func hmacState(key []byte, pad byte, text string) ([]byte, error) {
	var block [sha256.BlockSize]byte
	copy(block[:], key)
	for i := range block {
		block[i] ^= pad
	}
	h := sha256.New()
	h.Write(block[:])
	h.Write([]byte(text))
	return h.(encoding.BinaryMarshaler).MarshalBinary()
}

// scratch holds the buffers that one signature needs.
type scratch struct {
	hash hash.Hash
	buf  []byte
}

var scratches = sync.Pool{New: func() any {
	return &scratch{hash: sha256.New(), buf: make([]byte, 0, 4096)}
}}

// Sign returns the signature of o.
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

// resume sets h to a state that [hmacState] returned.
func resume(h hash.Hash, state []byte) {
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		panic("presign: cannot restore the state of a SHA-256: " + err.Error())
	}
}

// appendCanonicalRequest appends the canonical request:
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

// AppendURL appends the presigned URL of o. sig must be the result of s.Sign(o).
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

// appendQuery appends the canonical query. The names of [Params] begin with lower-case letters, so
// they sort after the signer's.
func (s *Signer) appendQuery(dst []byte, o *Object) []byte {
	dst = append(dst, s.query...)
	if o.Params != "" {
		dst = append(append(dst, '&'), o.Params...)
	}
	return dst
}
