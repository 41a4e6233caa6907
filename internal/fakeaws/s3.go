package fakeaws

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"s3redirect/internal/locator"
)

// S3 returns the S3 endpoint. It answers GET and HEAD of objects by presigned URL, HEAD of buckets,
// and CORS preflight requests. It accepts path-style and virtual-hosted-style URLs (a host with a
// label "s3" after the bucket). The path is decoded once and never cleaned.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (c *Cloud) S3() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "AmazonS3")
		w.Header().Set("Date", c.clock().UTC().Format(http.TimeFormat))
		w.Header().Set("X-Amz-Request-Id", rand.Text())
		bucket, key := bucketAndKey(r)
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			if origin := r.Header.Get("Origin"); origin != "" {
				b, _ := c.bucket(bucket)
				b.cors.allowOrigin(w.Header(), origin, r.Method)
			}
			w = countingWriter{w, c}
			if fault := c.serveS3(w, r, bucket, key); fault != nil {
				writeS3Fault(w, fault)
			}
		case http.MethodOptions:
			if fault := c.preflight(w, r, bucket); fault != nil {
				writeS3Fault(w, fault)
			}
		default:
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			writeS3Fault(w, &Fault{http.StatusMethodNotAllowed, "MethodNotAllowed",
				"The specified method is not allowed against this resource."})
		}
	})
}

// bucketAndKey returns the bucket and key of a request.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
func bucketAndKey(r *http.Request) (bucket, key string) {
	path := strings.TrimPrefix(decodedPath(r.URL), "/")
	if i := max(strings.LastIndex(r.Host, ".s3."), strings.LastIndex(r.Host, ".s3-")); i > 0 {
		return r.Host[:i], path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

// decodedPath returns the path decoded once. Like S3, it decodes a raw + to a space.
func decodedPath(u *url.URL) string {
	// PathUnescape cannot fail: the escapes were valid when u was parsed.
	path, _ := url.PathUnescape(strings.ReplaceAll(u.EscapedPath(), "+", " "))
	return path
}

// serveS3 answers a GET or HEAD request, or returns the fault to answer with.
func (c *Cloud) serveS3(w http.ResponseWriter, r *http.Request, bucket, key string) *Fault {
	q, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case err != nil || !utf8.ValidString(key):
		return badRequest("InvalidURI", "Couldn't parse the specified URI.")
	case len(key) > locator.MaxKeyBytes:
		return badRequest("KeyTooLongError", "Your key is too long")
	}
	b, exists := c.bucket(bucket)
	caller, fault := c.authenticateS3(r, q, b.region)
	if exists && (fault != nil || key == "") {
		w.Header().Set("X-Amz-Bucket-Region", b.region)
	}
	if fault == nil || fault == errUnsigned {
		// Like S3, tell anonymous clients too whether a bucket exists and in which region.
		if fault := checkEndpoint(r.Host, b.region, exists); fault != nil {
			return fault
		}
	}
	switch {
	case fault != nil:
		return fault
	case key == "":
		return c.headBucket(w, r, caller, b.region, bucket)
	}
	v, fault := c.object(caller, q, b.region, bucket, key)
	if fault != nil {
		return fault
	}
	if v.KMSKey != "" && !c.allowsDecrypt(caller, v.KMSKey) {
		return forbidden("AccessDenied",
			"User: %s is not authorized to perform: kms:Decrypt on resource: %s "+
				"because no identity-based policy allows the kms:Decrypt action", caller.arn, v.KMSKey)
	}
	if b.unversioned {
		v.id = ""
	}
	serveVersion(w, r, q, v)
	return nil
}

// checkEndpoint checks that the bucket exists and that host is not an endpoint of another region.
func checkEndpoint(host, region string, exists bool) *Fault {
	if !exists {
		return notFound("NoSuchBucket", "The specified bucket does not exist")
	}
	if named := hostRegion("s3", host); named != "" && named != region {
		return &Fault{http.StatusMovedPermanently, "PermanentRedirect",
			"The bucket you are attempting to access must be addressed " +
				"using the specified endpoint."}
	}
	return nil
}

// headBucket answers a signed HEAD of a bucket.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
func (c *Cloud) headBucket(
	w http.ResponseWriter, r *http.Request, caller *principal, region, bucket string,
) *Fault {
	switch {
	case r.Method != http.MethodHead:
		return &Fault{http.StatusNotImplemented, "NotImplemented",
			"This stand-in does not list buckets"}
	case !c.allows(caller, listBucket, region, bucket, ""):
		return errAccessDenied
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// object returns the requested version if the caller is allowed to read it.
func (c *Cloud) object(
	caller *principal, q url.Values, region, bucket, key string,
) (*version, *Fault) {
	versions := c.versions(bucket, key)
	if q.Has("versionId") {
		id := q.Get("versionId")
		if id == "" {
			return nil, badRequest("InvalidArgument", "Version id cannot be the empty string")
		}
		if !c.allows(caller, getObjectVersion, region, bucket, key) {
			return nil, errAccessDenied
		}
		for i := range versions {
			if versions[i].id == id {
				return &versions[i], nil
			}
		}
		return nil, notFound("NoSuchVersion", "The specified version does not exist.")
	}
	switch {
	case !c.allows(caller, getObject, region, bucket, key):
		return nil, errAccessDenied
	case len(versions) > 0:
		return &versions[len(versions)-1], nil
	case c.allows(caller, listBucket, region, bucket, key):
		return nil, notFound("NoSuchKey", "The specified key does not exist.")
	}
	return nil, errAccessDenied
}

// overrides maps request parameters to the response headers they override.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_RequestParameters
var overrides = map[string]string{
	"response-cache-control":       "Cache-Control",
	"response-content-disposition": "Content-Disposition",
	"response-content-encoding":    "Content-Encoding",
	"response-content-language":    "Content-Language",
	"response-content-type":        "Content-Type",
	"response-expires":             "Expires",
}

func serveVersion(w http.ResponseWriter, r *http.Request, q url.Values, v *version) {
	h := w.Header()
	h.Set("Content-Type", v.ContentType)
	h.Set("Etag", v.etag)
	if v.id != "" {
		h.Set("X-Amz-Version-Id", v.id)
	}
	for parameter, header := range overrides {
		if value := q.Get(parameter); value != "" {
			h.Set(header, value)
		}
	}
	if strings.Contains(r.Header.Get("Range"), ",") { // S3 ignores headers with several ranges
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "", v.Modified, bytes.NewReader(v.Data))
}
