package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"

	"s3redirect/internal/locator"
	"s3redirect/internal/wire"
)

const (
	// pathAuthorize before the path of an object asks whether the viewer may read it.
	pathAuthorize = "/authorize"
	// headerObject is the field of a judgment that identifies the object.
	headerObject = "S3redirect-Object"
)

// plainPrefixes begin the targets that the wire answers.
var plainPrefixes = []string{locator.PathPrefix, pathAuthorize + locator.PathPrefix}

// authorize makes 204 the answer to an admitted viewer, for a reverse proxy that has the object in
// its cache. It needs no session, and so makes no call and may be asked during an outage. The query
// is checked as for a redirect: a copy of a version or with an override is served only while the
// configuration allows it.
func (h *Handler) authorize(x *exchange) error {
	bucket, err := h.find(x)
	if err != nil {
		return err
	}
	// The bytes depend neither on the viewer nor on whether a script reads them.
	params, err := parseParams(x.query, x.locator.Key, bucket.Integration, false, "")
	if err != nil {
		return err
	}
	x.object.Params = params // for the audit log
	x.status, x.cacheControl = http.StatusNoContent, noStore
	x.identifier = x.digest(bucket.Name, params)
	return nil
}

// digest returns an identifier of the exchange's object with the canonical parameters: 43
// characters of base64url. Reverse proxies cache objects under it, so two objects must not share
// one; an attacker cannot find a collision of SHA-256.
func (x *exchange) digest(bucket, params string) string {
	// The encoding is unambiguous, as objectID's.
	b := append(append(x.buf[:0], bucket...), '/')
	b = append(append(b, x.locator.Key...), 0)
	b = append(b, params...)
	x.buf = b
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// appendJudgment appends the exchange's judgment.
func (h *Handler) appendJudgment(dst []byte, x *exchange, r *wire.Request) []byte {
	header := http.Header{
		"Cache-Control":   x.cacheControl,
		headerObject:      {x.identifier},
		"Referrer-Policy": h.referrerPolicy,
		"Vary":            h.vary,
	}
	h.cors.write(header, x.origin)
	if r.Retired() {
		header["Connection"] = connectionClose
	}
	b := bytes.NewBuffer(dst)
	b.WriteString("HTTP/1.1 204 No Content\r\n")
	_ = header.Write(b) // a buffer's Write does not fail
	return r.AppendEnd(b.Bytes(), x.now)
}
