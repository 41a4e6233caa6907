package e2e

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// sts is a reverse proxy before a store's real STS. It records requests and sessions, and it can
// delay its answers or be unavailable.
type sts struct {
	url     string
	forward http.HandlerFunc
	arrived atomic.Int32 // number of requests
	down    atomic.Bool  // answer 503 instead of forwarding requests

	gate sync.RWMutex // locked while answers are delayed

	mu       sync.Mutex // guards the fields below
	asked    []url.Values
	sessions []aws.Credentials
}

// sts starts a reverse proxy before the store's STS.
func (s *store) sts(t *testing.T) *sts {
	t.Helper()
	endpoint, err := url.Parse(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	between := &sts{}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { // without the Host header, which is signed
			r.Out.URL.Scheme, r.Out.URL.Host = endpoint.Scheme, endpoint.Host
		},
		ModifyResponse: between.note,
	}
	between.forward = func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		form, parseErr := url.ParseQuery(string(body))
		if err != nil || parseErr != nil {
			panic(http.ErrAbortHandler)
		}
		between.mu.Lock()
		between.asked = append(between.asked, form)
		between.mu.Unlock()
		between.arrived.Add(1)
		if between.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		between.gate.RLock()
		between.gate.RUnlock() //nolint:staticcheck // waits until the gate is unlocked
		r.Body = io.NopCloser(bytes.NewReader(body))
		forward.ServeHTTP(w, r)
	}
	server := httptest.NewServer(between.forward)
	t.Cleanup(server.Close)
	between.url = server.URL
	return between
}

// note records the session in a response.
func (s *sts) note(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var answer struct {
		Credentials struct {
			AccessKeyID     string `xml:"AccessKeyId"`
			SecretAccessKey string
			SessionToken    string
			Expiration      time.Time
		} `xml:"AssumeRoleResult>Credentials"`
	}
	if err := xml.Unmarshal(body, &answer); err != nil {
		return err
	}
	if c := answer.Credentials; c.AccessKeyID != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sessions = append(s.sessions, aws.Credentials{
			AccessKeyID:     c.AccessKeyID,
			SecretAccessKey: c.SecretAccessKey,
			SessionToken:    c.SessionToken,
			CanExpire:       true,
			Expires:         c.Expiration,
		})
	}
	return nil
}

// session returns the newest session.
func (s *sts) session(t *testing.T) aws.Credentials {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) == 0 {
		t.Fatal("STS has issued no session")
	}
	return s.sessions[len(s.sessions)-1]
}

// question returns the parameters of the newest request.
func (s *sts) question(t *testing.T) url.Values {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		t.Fatal("STS has received no request")
	}
	return s.asked[len(s.asked)-1]
}

// hold delays answers until release is called.
func (s *sts) hold(t *testing.T) (release func()) {
	s.gate.Lock()
	release = sync.OnceFunc(s.gate.Unlock)
	t.Cleanup(release) // runs before the server closes, which waits for its requests
	return release
}
