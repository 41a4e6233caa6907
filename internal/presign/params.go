package presign

// Params are the query parameters of GetObject and HeadObject that a presigned URL may contain.
// Empty parameters are omitted.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_RequestParameters
type Params struct {
	ResponseCacheControl       string
	ResponseContentDisposition string
	ResponseContentEncoding    string
	ResponseContentLanguage    string
	ResponseContentType        string
	ResponseExpires            string
	VersionID                  string
	RequesterPays              bool
	// CORS adds x-cors=1, so that scripts do not share a URL with images and links. If they did, a
	// browser would answer a script from its cache with a response without CORS headers, and then
	// reject it. S3 ignores parameters that begin with x-.
	CORS bool
	// Viewer is added as x-viewer. The bucket's access log contains parameters that begin with x-.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html#LogFormatCustom
	Viewer string
}

// Canonical returns the canonical query string of the parameters: percent-encoded, ordered by name.
func (p *Params) Canonical() string {
	if *p == (Params{}) {
		return ""
	}
	payer, cors := "", ""
	if p.RequesterPays {
		payer = "requester"
	}
	if p.CORS {
		cors = "1"
	}
	var dst []byte
	for _, f := range [...]struct{ name, value string }{
		{"response-cache-control", p.ResponseCacheControl},
		{"response-content-disposition", p.ResponseContentDisposition},
		{"response-content-encoding", p.ResponseContentEncoding},
		{"response-content-language", p.ResponseContentLanguage},
		{"response-content-type", p.ResponseContentType},
		{"response-expires", p.ResponseExpires},
		{"versionId", p.VersionID},
		{"x-amz-request-payer", payer},
		{"x-cors", cors},
		{"x-viewer", p.Viewer},
	} {
		if f.value == "" {
			continue
		}
		if dst != nil {
			dst = append(dst, '&')
		}
		dst = append(append(dst, f.name...), '=')
		dst = appendEscaped(dst, f.value, false)
	}
	return string(dst)
}
