package viewer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"s3redirect/internal/config"
)

// KeysProblem is the kind of a [KeysError].
type KeysProblem int

// The problems of an issuer's keys.
const (
	KeysUnreachable     KeysProblem = iota // the request failed
	KeysRefused                            // the response has another status than 200
	KeysMalformed                          // the response is not the JSON that is expected
	KeysOfAnotherIssuer                    // the discovery document is another issuer's
	KeysInsecure                           // the discovery document names a URL without TLS
	KeysUnusable                           // none of the keys is a public key that may verify
)

// KeysError is returned if an issuer's keys cannot be fetched.
type KeysError struct {
	// URL is the document that is missing or wrong, without its query.
	URL     string
	Problem KeysProblem
	// Err is the cause. Its text follows the URL.
	Err error
}

func (e *KeysError) Error() string { return e.URL + e.Err.Error() }

// Unwrap returns the cause.
func (e *KeysError) Unwrap() error { return e.Err }

// KeysTimeout bounds a fetch of an issuer's keys, including discovery.
const KeysTimeout = keysTimeout

// IssuerKeys describes the keys of an issuer.
type IssuerKeys struct {
	// Types are the different types of the keys, sorted: "EC P-256", "Ed25519" or "RSA 2048 bits".
	Types []string
	// Count is how many keys there are, and Accepted how many of them belong to one of the configured
	// signature algorithms.
	Count, Accepted int
}

// FetchKeys fetches the keys of an issuer as a gate does, and describes them. A nil transport means
// [http.DefaultTransport]. The error is a [*KeysError].
func FetchKeys(
	ctx context.Context, c *config.JWT, transport http.RoundTripper,
) (found IssuerKeys, err error) {
	k := newKeySet(c, Options{Transport: transport})
	defer k.close()
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	all, err := k.get(ctx)
	if err != nil {
		return found, err
	}
	found.Count = len(all)
	for n := range all {
		name, algorithms := describeKey(&all[n])
		if !slices.Contains(found.Types, name) {
			found.Types = append(found.Types, name)
		}
		if slices.ContainsFunc(c.Algorithms, func(a string) bool {
			return slices.Contains(algorithms, a)
		}) {
			found.Accepted++
		}
	}
	slices.Sort(found.Types)
	return found, nil
}

// describeKey returns the type of a public key, and the algorithms that verify with it (RFC 7518,
// section 3.1; RFC 8037, section 3.1).
func describeKey(key *jose.JSONWebKey) (name string, algorithms []string) {
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d bits", k.N.BitLen()),
			[]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		bits := k.Params().BitSize
		// P-521 belongs to SHA-512.
		return "EC " + k.Params().Name, []string{"ES" + strconv.Itoa(min(bits, 512))}
	case ed25519.PublicKey:
		return "Ed25519", []string{"EdDSA"}
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", key.Key), "*"), nil
}
