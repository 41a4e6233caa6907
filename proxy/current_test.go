package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

// A request may wait before its URL is signed, for the provider's keys or for a slow body. The
// response is computed for the instant at which it is sent, not for the request's arrival.
func TestResponsesAreCurrentWhenSent(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		provider := transportFunc(func(r *http.Request) (*http.Response, error) {
			time.Sleep(4 * time.Second)
			keys := []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}
			set, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
			if err != nil {
				return nil, err
			}
			return stsAnswers(200, string(set))(r)
		})
		w := newOutageWorld(t)
		defer w.set.Close()
		gate, err := viewer.New(&config.Viewers{
			Anonymous: true,
			JWT: []config.JWT{{
				Issuer:         "https://id.example.com",
				Audience:       []string{"media"},
				AudienceClaims: []string{"aud"},
				JWKSURL:        "https://id.example.com/keys",
				Algorithms:     []string{"ES256"},
				UserClaim:      "sub",
				Leeway:         time.Second,
			}},
		}, viewer.Options{
			Clock:     time.Now,
			Log:       slog.New(slog.DiscardHandler),
			Transport: provider,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer gate.Close()
		w.warm(time.Minute)
		w.gate = gate
		token := signToken(t, key)
		bucket, _ := w.set.Find(locator.Locator{Bucket: "bucket"}, time.Now())
		end := bucket.Integration.WindowEnd(time.Now())
		time.Sleep(time.Until(end.Add(-10 * time.Minute)))
		began := time.Now()
		resp := w.send("", http.MethodGet, "/s3/bucket/key", "", "Authorization", "Bearer "+token)
		if time.Since(began) < 4*time.Second {
			t.Fatal("the request did not wait for the provider's keys")
		}
		var seconds int
		// On an error, seconds is 0.
		_, _ = fmt.Sscanf(resp.Header.Get("Cache-Control"), "private, max-age=%d", &seconds)
		left := int(time.Until(end).Seconds())
		if resp.StatusCode != 302 || seconds < left-1 || seconds > left {
			t.Errorf("got status %d and max-age=%d, want 302 and %d, the rest of the window",
				resp.StatusCode, seconds, left)
		}

		time.Sleep(time.Until(end.Add(-5 * time.Second)))
		body := io.MultiReader(
			strings.NewReader(`{"locators": ["s3://bu`),
			slowly(10*time.Second),
			strings.NewReader(`cket/key"]}`),
		)
		r := httptest.NewRequestWithContext(
			context.Background(), http.MethodPost, "http://proxy.localhost/presign", body,
		)
		r.RequestURI = "/presign"
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		var answer struct{ URLs []presigned }
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || len(answer.URLs) != 1 ||
			answer.URLs[0].ExpiresAt == nil {
			t.Fatalf("POST /presign: %v, %s", err, rec.Body)
		}
		if left := time.Until(*answer.URLs[0].ExpiresAt); left < 15*time.Minute {
			t.Errorf("POST /presign returned a URL with %v left, want at least 15m", left)
		}
	})
}

// signToken returns a token for ann that is valid for a day.
func signToken(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	signingKey := jose.SigningKey{
		Algorithm: jose.ES256,
		Key:       jose.JSONWebKey{Key: key, KeyID: "k"},
	}
	signer, err := jose.NewSigner(signingKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:   "https://id.example.com",
		Audience: jwt.Audience{"media"},
		Subject:  "ann",
		Expiry:   jwt.NewNumericDate(time.Now().Add(24 * time.Hour)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// slowly returns an empty reader whose Read takes d.
func slowly(d time.Duration) io.Reader {
	return readerFunc(func([]byte) (int, error) { time.Sleep(d); return 0, io.EOF })
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
