package presign

const upperHex = "0123456789ABCDEF"

// unreserved contains the bytes that SigV4 does not encode: the unreserved characters of RFC 3986.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html (UriEncode)
var unreserved = func() (set [256]bool) {
	const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	for _, c := range []byte(all) {
		set[c] = true
	}
	return set
}()

// appendEscaped appends s, percent-encoded as SigV4 requires. S3 keeps slashes in a key and encodes
// them in a query.
func appendEscaped(dst []byte, s string, keepSlash bool) []byte {
	start := 0
	for i := range len(s) {
		c := s[i]
		if unreserved[c] || c == '/' && keepSlash {
			continue
		}
		dst = append(append(dst, s[start:i]...), '%', upperHex[c>>4], upperHex[c&15])
		start = i + 1
	}
	return append(dst, s[start:]...)
}
