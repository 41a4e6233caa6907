package fakeaws

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

// TestSetRandom compares the sessions of two accounts with equal random bytes.
func TestSetRandom(t *testing.T) {
	var tokens []string
	for range 2 {
		a := newAccount(t)
		a.SetRandom(rand.NewChaCha8([32]byte{1}))
		c := a.session("")
		got, ok := a.Session(c.AccessKeyID)
		want := Session{
			RoleARN:         readerARN,
			SecretAccessKey: c.SecretAccessKey,
			SessionToken:    c.SessionToken,
			Expires:         noon.Add(time.Hour),
		}
		if !ok || got != want {
			t.Errorf("Session(%q) = %+v, %v, want %+v", c.AccessKeyID, got, ok, want)
		}
		tokens = append(tokens, c.AccessKeyID+c.SecretAccessKey+c.SessionToken)
	}
	if tokens[0] != tokens[1] {
		t.Errorf("the sessions differ: %.40s, %.40s", tokens[0], tokens[1])
	}
}

// TestLimitSignatureAge opens a URL just within and just beyond the limit.
func TestLimitSignatureAge(t *testing.T) {
	a := newAccount(t)
	a.LimitSignatureAge(10 * time.Minute)
	u := a.presign(signing{expires: "3600"})
	for _, step := range []struct {
		by   time.Duration
		want int
	}{{10 * time.Minute, http.StatusOK}, {time.Second, http.StatusForbidden}} {
		a.sleep(step.by)
		if got := a.send(http.MethodGet, u, nil); got.status != step.want {
			t.Errorf("GET at %v: status %d, want %d", a.time(), got.status, step.want)
		}
	}
}
