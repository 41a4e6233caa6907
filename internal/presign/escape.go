package presign

const upperHex = "0123456789ABCDEF"

// unreserved are the bytes that SigV4 leaves as they are: RFC 3986's unreserved characters.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html (UriEncode)
var unreserved = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		set[c] = true
	}
	return set
}()

// appendEscaped percent-encodes s as SigV4 has it. S3 wants the slashes of a key kept, and those of a query encoded.
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
