package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// startIdentityProvider starts a server of a JSON Web Key Set. It returns a Cookie header with a
// token signed by the set's only key.
func startIdentityProvider() (server *httptest.Server, cookie string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", err
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Use: "sig"}}}
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(set)
	}))
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.RS256,
		Key:       jose.JSONWebKey{Key: key, KeyID: "k"},
	}, nil)
	if err != nil {
		return nil, "", err
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{
		"iss":    server.URL,
		"aud":    "media",
		"email":  "ann@example.com",
		"exp":    time.Now().Add(time.Hour).Unix(),
		"groups": []string{"lab", "staff"},
		"name":   "A name of usual length",
		"sub":    "0123456789abcdef0123456789abcdef",
	}).Serialize()
	return server, "Cookie: theme=dark; session=" + token + "; lang=en", err
}
