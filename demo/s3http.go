package demo

import (
	"encoding/xml"
	"net/http"
)

// allowOrigin answers a request that shows an Origin, under a bucket's rule that lets every page read.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
func allowOrigin(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD")
	h.Set("Access-Control-Expose-Headers", "Content-Range, Content-Length, Accept-Ranges, ETag")
	h.Set("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
}

// preflight answers OPTIONS.
func (c *Cloud) preflight(w http.ResponseWriter, r *http.Request, bucket string) *Fault {
	if r.Header.Get("Origin") == "" {
		return badRequest("BadRequest", "Insufficient information. Origin request header needed.")
	}
	if _, exists := c.region(bucket); !exists {
		return notFound("NoSuchBucket", "CORSResponse: Bucket not found")
	}
	if m := r.Header.Get("Access-Control-Request-Method"); m != http.MethodGet && m != http.MethodHead {
		return forbidden("AccessForbidden", "CORSResponse: This CORS request is not allowed.")
	}
	allowOrigin(w.Header())
	if headers := r.Header.Get("Access-Control-Request-Headers"); headers != "" {
		w.Header().Set("Access-Control-Allow-Headers", headers)
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

// countingWriter counts the answer before it is sent: who has it finds it counted.
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
