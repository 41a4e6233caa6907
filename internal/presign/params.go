package presign

// Params are the parameters of GetObject and HeadObject that a presigned URL may carry. Empty ones are left out.
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
	// CORS has the URL differ from one that is for images and links: a browser that keeps an object without CORS headers would
	// give it to a script that asks for the same URL later, and then refuse it. S3 ignores parameters that begin with x-.
	CORS bool
	// Viewer is for the bucket's access log, which keeps parameters that begin with x-.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html#LogFormatCustom
	Viewer string
}

// Canonical is the parameters' canonical query string: in the order of their names, percent-encoded.
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
