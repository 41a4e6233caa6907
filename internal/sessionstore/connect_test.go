package sessionstore

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/redis/rueidis"
)

// A password with the characters that a URL would need escaped, as a key of its own.
const slashPassword = "a/b?c#d@e:f%2F"

func TestPasswordBesideURL(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	server.RequireUserAuth("proxy", slashPassword)
	for name, c := range map[string]struct {
		user, password string
		works          bool
	}{
		"the right password": {"proxy", slashPassword, true},
		"a wrong password":   {"proxy", "a", false},
		"another user":       {"other", slashPassword, false},
	} {
		r, err := NewRedis(Options{URL: "redis://" + server.Addr() + "/", Username: c.user,
			Password: c.password, Keys: [][]byte{key(1)}, Clock: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.Try(ctx); (err == nil) != c.works || err != nil && strings.Contains(err.Error(), slashPassword) {
			t.Errorf("%s: Try = %v, want success: %v", name, err, c.works)
		}
	}
}

// A server that does not know a command quotes its arguments, and those of AUTH are secret.
func TestReplyErrorHasNoArguments(t *testing.T) {
	server := miniredis.RunT(t)
	r, err := NewRedis(Options{URL: "redis://user:canary@" + server.Addr(), Keys: [][]byte{key(1)},
		Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	server.SetError("ERR unknown command 'AUTH', with args beginning with: 'user' 'canary'")
	err = r.Try(context.Background())
	reply, ok := errors.AsType[*ReplyError](err)
	if !ok || reply.Error() != "unknown command 'AUTH'" {
		t.Errorf("Try = %v, want unknown command 'AUTH'", err)
	}
	denied := &ReplyError{"NOPERM User proxy has no permissions to run the 'client|setinfo' command"}
	if got := denied.Command(); got != "client|setinfo" || !denied.Mentions("PERMISSIONS") {
		t.Errorf("Command = %q, want client|setinfo", got)
	}
}

// All keys have the prefix: sessions, leases and that of Try.
func TestKeyPrefix(t *testing.T) {
	server, ctx := miniredis.RunT(t), context.Background()
	r, err := NewRedis(Options{URL: "redis://" + server.Addr(), KeyPrefix: "media:",
		Keys: [][]byte{key(1)}, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Add(ctx, "session", []byte(canary), time.Minute); err != nil {
		t.Fatal(err)
	}
	end, ok, err := r.Lease(ctx, "lease", time.Minute)
	if !ok || err != nil {
		t.Fatalf("Lease = %v, %v, want true", ok, err)
	}
	if !server.Exists("media:session") || !server.Exists("media:lease") || len(server.Keys()) != 2 {
		t.Errorf("the server has the keys %q, want media:session and media:lease", server.Keys())
	}
	if value, err := r.Get(ctx, "session"); string(value) != canary || err != nil {
		t.Errorf("Get = %q, %v, want %q", value, err, canary)
	}
	end()
	if err := r.Try(ctx); err != nil {
		t.Errorf("Try = %v, want no error", err)
	}
	if err := r.Delete(ctx, "session"); err != nil || len(server.Keys()) != 0 {
		t.Errorf("Delete = %v, and the server has the keys %q, want none", err, server.Keys())
	}
}

// issue writes a certificate and its key for 127.0.0.1, signed by parent or by itself.
func issue(t *testing.T, dir, name string, parent *tls.Certificate) *tls.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, by := template, any(private)
	if parent != nil {
		signer, by = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, private.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for file, text := range map[string][]byte{name + ".crt": cert, name + ".key": secret} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(cert, secret)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// The files are read for each connection, so a renewed authority or certificate needs no restart.
func TestTLSFiles(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	at := func(name string) string { return filepath.Join(dir, name) }
	authority := issue(t, dir, "ca", nil)
	pool := x509.NewCertPool()
	pool.AddCert(authority.Leaf)
	server := miniredis.NewMiniRedis()
	if err := server.StartTLS(&tls.Config{Certificates: []tls.Certificate{*issue(t, dir, "server", authority)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	issue(t, dir, "client", authority)
	issue(t, dir, "stranger", nil)
	try := func(ca, client string) error {
		t.Helper()
		o := Options{URL: "rediss://localhost:" + server.Port(), Keys: [][]byte{key(1)}, Clock: time.Now}
		if ca != "" {
			o.CAFile = at(ca)
		}
		if client != "" {
			o.CertFile, o.KeyFile = at(client+".crt"), at(client+".key")
		}
		r, err := NewRedis(o)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.Try(ctx)
	}
	if err := try("ca.crt", "client"); err != nil {
		t.Errorf("Try with the authority and a client's certificate = %v, want no error", err)
	}
	for name, files := range map[string][2]string{
		"the system's authorities": {"", "client"}, "no certificate": {"ca.crt", ""},
		"another authority's": {"ca.crt", "stranger"}, "another authority": {"stranger.crt", "client"},
		"an authority without a certificate": {"ca.key", "client"}, "a missing file": {"missing", "client"},
		"a missing certificate": {"ca.crt", "missing"},
	} {
		if err := try(files[0], files[1]); err == nil || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: Try = %v, want an error without a path", name, err)
		}
	}
}

var tokenTime = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// verifyToken is a stand-in for ElastiCache: it signs the request that a token stands for again, with
// the secret that belongs to the access key, and compares the results.
func verifyToken(t *testing.T, token, cache, region string) url.Values {
	t.Helper()
	u, err := url.Parse("http://" + token)
	if err != nil || u.Host != cache || u.Path != "/" {
		t.Fatalf("the token is a URL of %s%s, %v, want %s/", u.Host, u.Path, err, cache)
	}
	q := u.Query()
	when, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	plain := url.Values{}
	for _, name := range []string{"Action", "User", "X-Amz-Expires", "ResourceType"} {
		if q.Has(name) {
			plain.Set(name, q.Get(name))
		}
	}
	req, err := http.NewRequest(http.MethodGet, "http://"+u.Host+"/?"+plain.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), tokenCredentials, req, emptyHash,
		"elasticache", region, when)
	if err != nil {
		t.Fatal(err)
	}
	again, err := url.Parse(signed)
	if err != nil || q.Get("X-Amz-Signature") == "" ||
		again.Query().Get("X-Amz-Signature") != q.Get("X-Amz-Signature") {
		t.Errorf("the token's signature does not match its request in region %s", region)
	}
	return q
}

var tokenCredentials = aws.Credentials{AccessKeyID: "AKIATEST", SecretAccessKey: "canary-secret",
	SessionToken: "session/token=="}

func TestIAMToken(t *testing.T) {
	now := tokenTime
	i := &IAM{Cache: "media-cache", User: "proxy", Region: "eu-central-1",
		Clock:       func() time.Time { return now },
		Credentials: func(context.Context) (aws.Credentials, error) { return tokenCredentials, nil }}
	first, err := i.authenticate(rueidis.AuthCredentialsContext{})
	if err != nil || first.Username != "proxy" || !first.RefreshAfter.Equal(now.Add(11*time.Hour)) {
		t.Fatalf("authenticate = %q until %v, %v; want proxy, in 11 hours", first.Username,
			first.RefreshAfter, err)
	}
	q := verifyToken(t, first.Password, "media-cache", "eu-central-1")
	for name, want := range map[string]string{
		"Action": "connect", "User": "proxy", "X-Amz-Expires": "900", "ResourceType": "",
		"X-Amz-Security-Token": "session/token==", "X-Amz-Date": "20261126T120000Z",
		"X-Amz-Credential": "AKIATEST/20261126/eu-central-1/elasticache/aws4_request",
	} {
		if got := q.Get(name); got != want {
			t.Errorf("the token has %s = %q, want %q", name, got, want)
		}
	}
	if strings.Contains(first.Password, "canary") {
		t.Error("the token contains the secret key")
	}
	now = now.Add(time.Minute)
	i.Serverless = true
	second, err := i.authenticate(rueidis.AuthCredentialsContext{})
	if err != nil || second.Password == first.Password {
		t.Fatalf("authenticate a minute later = the same token, %v; want a new one", err)
	}
	token := verifyToken(t, second.Password, "media-cache", "eu-central-1")
	if got := token.Get("ResourceType"); got != "ServerlessCache" {
		t.Errorf("the token of a serverless cache has ResourceType = %q, want ServerlessCache", got)
	}
	i.Credentials = func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no credentials")
	}
	if _, err := i.authenticate(rueidis.AuthCredentialsContext{}); err == nil {
		t.Error("authenticate without credentials succeeds, want an error")
	}
}

// Each connection authenticates with a new token, also after the server has closed the previous one,
// and each of them again before ElastiCache would close it.
func TestIAMReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, ctx := miniredis.NewMiniRedis(), t.Context()
		defer server.Close()
		var tokens atomic.Int32
		up := true
		i := &IAM{Cache: "c", User: "proxy", Region: "us-east-1", Clock: time.Now}
		i.Credentials = func(context.Context) (aws.Credentials, error) {
			tokens.Add(1)
			token, err := (&IAM{Cache: "c", User: "proxy", Region: "us-east-1", Clock: time.Now,
				Credentials: func(context.Context) (aws.Credentials, error) { return tokenCredentials, nil },
			}).token(ctx)
			server.RequireUserAuth("proxy", token) // the server accepts the present token only
			return tokenCredentials, err
		}
		r, err := NewRedis(Options{URL: "redis://cache:6379", IAM: i, Keys: [][]byte{key(1)}, Clock: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		r.options.ForceSingleClient = true // miniredis acts as a cluster, at another address
		r.options.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			if !up {
				return nil, syscall.ECONNREFUSED
			}
			return server.Dial()
		}
		wantTokens := func(when string, want int32) {
			t.Helper()
			if err := r.Try(ctx); err != nil || tokens.Load() != want {
				t.Fatalf("%s: Try = %v with %d tokens, want no error and %d", when, err, tokens.Load(), want)
			}
		}
		wantTokens("at the start", 1)
		up = false
		server.Close()
		synctest.Wait() // the client notices the closed connection
		if err := r.Try(ctx); err == nil {
			t.Fatal("Try of a stopped server succeeds, want an error")
		}
		up = true
		time.Sleep(time.Hour)
		wantTokens("after a restart", 2)
		time.Sleep(iamRefresh + time.Minute)
		wantTokens("after the refresh", 3)
	})
}
