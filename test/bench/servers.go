package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	serverCore = "0"
	loadCore   = "1"
)

// token is as long as those of AWS's sessions tend to be: a URL comes to 1.7 kB with it.
var token = strings.Repeat("IQoJb3JpZ2luX2VjEXAMPLE+/", 45)

// locationFile holds what the bare handler redirects to: what s3redirect redirected to in the same run.
const locationFile = "location"

type bench struct {
	options
	dir, self, proxy string

	sts      *httptest.Server
	running  []*process
	location string // of a redirect, for the bare handler
}

// process is a server that is compared.
type process struct {
	cmd     *exec.Cmd
	address string
	admin   string
}

func (b *bench) build() error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.proxy, "./cmd/s3redirect")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// startSTS starts an STS that says yes.
func (b *bench) startSTS() error {
	type answer struct {
		XMLName    xml.Name `xml:"AssumeRoleResponse"`
		ID         string   `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		Secret     string   `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		Token      string   `xml:"AssumeRoleResult>Credentials>SessionToken"`
		Expiration string   `xml:"AssumeRoleResult>Credentials>Expiration"`
	}
	b.sts = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lives, err := time.ParseDuration(r.FormValue("DurationSeconds") + "s")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = xml.NewEncoder(w).Encode(answer{ID: "ASIAEXAMPLEEXAMPLE00", Secret: "secret", Token: token, Expiration: time.Now().Add(lives).UTC().Format(time.RFC3339)})
	}))
	return nil
}

func (b *bench) stopAll() {
	for _, p := range b.running {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
	b.running = nil
}

// launch starts a server on the servers' core and waits until it listens.
func (b *bench) launch(name string, env []string, address string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{cmd: exec.Command("taskset", append([]string{"-c", serverCore}, args...)...), address: address}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = b.dir, log, log
	p.cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1"), env...)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	b.running = append(b.running, p)
	for range 1000 {
		if c, err := net.Dial("tcp", address); err == nil {
			return p, c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	said, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("%s does not listen on %s: %s", name, address, said)
}

func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // loopback is there
	}
	defer l.Close()
	return l.Addr().String()
}

// startProxy starts s3redirect, for everybody unless the viewers are given.
func (b *bench) startProxy(name, config string, viewers ...string) (*process, error) {
	address, admin := freeAddress(), freeAddress()
	path := filepath.Join(b.dir, name+".yaml")
	text := fmt.Sprintf(`
listen: %s
admin_listen: %s
viewers: %s
integrations:
  - {name: bench, bucket: bucket, role_arn: 'arn:aws:iam::123456789012:role/bench', session_policy: false, region: eu-central-1,
     endpoint: 'https://s3.eu-central-1.amazonaws.com', sts_endpoint: '%s', access_key_id: key, secret_access_key: secret}
%s`, address, admin, append(viewers, "{anonymous: true}")[0], b.sts.URL, config)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := b.launch(name, nil, address, b.proxy, "serve", "--config", path)
	if err != nil {
		return nil, err
	}
	p.admin = admin
	if strings.Contains(config, "tls:") {
		return p, nil
	}
	location, err := locationOf("http://" + address + keyPath(0))
	b.location = location
	return p, err
}

// startSelf starts one of this program's own servers.
func (b *bench) startSelf(kind string) (*process, error) {
	if b.location == "" {
		return nil, errors.New("no s3redirect was started, so the length of Location is not known")
	}
	if err := os.WriteFile(filepath.Join(b.dir, locationFile), []byte(b.location), 0o600); err != nil {
		return nil, err
	}
	address := freeAddress()
	return b.launch(kind, nil, address, b.self, "serve", kind, address)
}

// startNginx starts nginx with a warm cache before a server.
func (b *bench) startNginx(upstream *process) (*process, error) {
	address := freeAddress()
	conf := filepath.Join(b.dir, "nginx.conf")
	text := fmt.Sprintf(`
daemon off; master_process off; pid %[1]s/nginx.pid; error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000;
  proxy_cache_path %[1]s/nginx keys_zone=z:10m; proxy_temp_path %[1]s/nginx-temp; client_body_temp_path %[1]s/nginx-body;
  fastcgi_temp_path %[1]s/nginx-f; uwsgi_temp_path %[1]s/nginx-u; scgi_temp_path %[1]s/nginx-s;
  server { listen %[2]s; location / { proxy_pass http://%[3]s; proxy_cache z; proxy_cache_valid 302 1h; proxy_ignore_headers Cache-Control Vary; proxy_buffer_size 16k; proxy_buffers 4 16k; proxy_busy_buffers_size 16k; } }
}`, b.dir, address, upstream.address)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return b.launch("nginx", nil, address, "nginx", "-c", conf)
}

func locationOf(url string) (string, error) {
	resp, err := http.DefaultTransport.RoundTrip(must(http.NewRequest(http.MethodGet, url, nil)))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.Header.Get("Location") == "" {
		return "", fmt.Errorf("%s: %s, and no Location", url, resp.Status)
	}
	return resp.Header.Get("Location"), nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// serve is what the program does when it is started as one of the servers that are compared.
func serve(kind, address string) error {
	location, err := os.ReadFile(locationFile)
	if err != nil {
		return err
	}
	var h http.Handler
	switch kind {
	case "bare", "bare-tls":
		h = bareHandler(string(location))
	case "presigner":
		h = presigner()
	default:
		return fmt.Errorf("there is no %s", kind)
	}
	s := &http.Server{Addr: address, Handler: h}
	if kind == "bare-tls" {
		return s.ListenAndServeTLS("cert.pem", "key.pem")
	}
	return s.ListenAndServe()
}

// bareHandler writes a constant answer in the cheapest way that net/http has.
func bareHandler(location string) http.Handler {
	locations, ages, policies, vary, none := []string{location}, []string{"private, max-age=1234"}, []string{"no-referrer"}, []string{"Origin, Sec-Fetch-Mode, Sec-Fetch-Dest"}, []string{"0"}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Location"], h["Cache-Control"], h["Referrer-Policy"], h["Vary"], h["Content-Length"] = locations, ages, policies, vary, none
		w.WriteHeader(http.StatusFound)
	})
}

// presigner does what most do: it asks the SDK for a URL at each request.
func presigner() http.Handler {
	client := s3.NewPresignClient(s3.New(s3.Options{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("ASIAEXAMPLEEXAMPLE00", "secret", token)}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/s3/"), "/")
		req, err := client.PresignGetObject(context.WithoutCancel(r.Context()), &s3.GetObjectInput{Bucket: &bucket, Key: &key},
			s3.WithPresignExpires(45*time.Minute))
		if err != nil {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "private, max-age=1234")
		h.Set("Location", req.URL)
		w.WriteHeader(http.StatusFound)
	})
}
