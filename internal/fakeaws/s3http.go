package fakeaws

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strings"
)

// CORS is the only rule of a bucket's CORS configuration. In Origins, Headers and Expose, * stands
// for all.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html
type CORS struct {
	Origins, Methods, Headers, Expose []string
}

// allowAll allows pages of all origins to read.
var allowAll = &CORS{
	Origins: []string{"*"},
	Methods: []string{"GET", "HEAD"},
	Headers: []string{"*"},
	Expose:  []string{"Content-Range", "Content-Length", "Accept-Ranges", "ETag"},
}

// allows reports whether the rule allows a request. A nil rule allows none.
func (c *CORS) allows(origin, method string, headers []string) bool {
	has := func(list []string, s string) bool {
		return slices.ContainsFunc(list, func(l string) bool {
			return l == "*" || strings.EqualFold(l, s)
		})
	}
	return c != nil && has(c.Origins, origin) && slices.Contains(c.Methods, method) &&
		!slices.ContainsFunc(headers, func(h string) bool { return !has(c.Headers, h) })
}

// allowOrigin sets the CORS response headers if the rule allows the origin and method.
func (c *CORS) allowOrigin(h http.Header, origin, method string) {
	if !c.allows(origin, method, nil) {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if slices.Contains(c.Origins, "*") {
		h.Set("Access-Control-Allow-Origin", "*")
	}
	h.Set("Access-Control-Allow-Methods", strings.Join(c.Methods, ", "))
	if len(c.Expose) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(c.Expose, ", "))
	}
	h.Set("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
}

// preflight answers a CORS preflight request, or returns the fault to answer with.
func (c *Cloud) preflight(w http.ResponseWriter, r *http.Request, name string) *Fault {
	origin, method := r.Header.Get("Origin"), r.Header.Get("Access-Control-Request-Method")
	if origin == "" {
		return badRequest("BadRequest", "Insufficient information. Origin request header needed.")
	}
	b, exists := c.bucket(name)
	if !exists {
		return notFound("NoSuchBucket", "CORSResponse: Bucket not found")
	}
	requested := r.Header.Get("Access-Control-Request-Headers")
	headers := strings.FieldsFunc(requested, func(r rune) bool { return r == ',' || r == ' ' })
	switch {
	case b.cors == nil:
		return forbidden("AccessForbidden", "CORSResponse: CORS is not enabled for this bucket.")
	case !b.cors.allows(origin, method, headers):
		return forbidden("AccessForbidden", "CORSResponse: This CORS request is not allowed.")
	}
	b.cors.allowOrigin(w.Header(), origin, method)
	if requested != "" {
		w.Header().Set("Access-Control-Allow-Headers", requested)
	}
	w.Header().Set("Access-Control-Max-Age", "3000")
	w.WriteHeader(http.StatusOK)
	return nil
}

type s3Error struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Region    string `xml:",omitempty"`
	RequestID string `xml:"RequestId"`
}

func writeS3Fault(w http.ResponseWriter, f *Fault) {
	writeXML(w, "application/xml", f.Status, s3Error{
		Code:      f.Code,
		Message:   f.Message,
		Region:    w.Header().Get("X-Amz-Bucket-Region"),
		RequestID: w.Header().Get("X-Amz-Request-Id"),
	})
}

// countingWriter counts a response before sending it, so that a client that has the response sees
// it counted.
type countingWriter struct {
	http.ResponseWriter
	cloud *Cloud
}

func (w countingWriter) WriteHeader(status int) {
	w.cloud.countS3(status)
	w.ResponseWriter.WriteHeader(status)
}

func (c *Cloud) countS3(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch status {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified:
		c.calls.S3Served++
	default:
		c.calls.S3Refused++
	}
}
