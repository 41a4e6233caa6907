package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// CPU numbers for taskset.
const (
	serverCore = "0"
	loadCore   = "1"
)

// token is about as long as the session tokens of AWS. With it, a URL has 1.7 kB.
var token = strings.Repeat("IQoJb3JpZ2luX2VjEXAMPLE+/", 45)

// locationFile is the name of the file with the Location that the bare handler sends.
const locationFile = "location"

type bench struct {
	options
	dir   string // temporary directory
	self  string // path of this program
	proxy string // path of s3redirect

	wrapper  []string // a command that runs the servers, such as valgrind
	sts      *httptest.Server
	location string // Location of a redirect of s3redirect, for the bare handler

	// mu guards running, so that a signal stops every server:
	//
	//	main            the goroutine of stopOnSignal
	//	starts a server
	//	                stops the servers in running
	//	adds it to running
	//
	// The new server would keep running. startServer therefore holds mu while it does both, and
	// stopOnSignal never releases mu.
	mu      sync.Mutex
	running []*process
}

// process is a running server.
type process struct {
	cmd     *exec.Cmd
	log     string // the file with its output
	address string
	admin   string // address of s3redirect's admin_listen; "" for other servers
}

// build builds s3redirect.
func (b *bench) build() error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w",
		"-o", b.proxy, "./cmd/s3redirect")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build s3redirect: %w: %s", err, out)
	}
	return nil
}

// startSTS starts a fake STS that accepts all calls.
func (b *bench) startSTS() {
	type response struct {
		XMLName    xml.Name `xml:"AssumeRoleResponse"`
		ID         string   `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		Secret     string   `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		Token      string   `xml:"AssumeRoleResult>Credentials>SessionToken"`
		Expiration string   `xml:"AssumeRoleResult>Credentials>Expiration"`
	}
	b.sts = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		duration, err := time.ParseDuration(r.FormValue("DurationSeconds") + "s")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = xml.NewEncoder(w).Encode(response{
			ID:         "ASIAEXAMPLEEXAMPLE00",
			Secret:     "secret",
			Token:      token,
			Expiration: time.Now().Add(duration).UTC().Format(time.RFC3339),
		})
	}))
}

// launch runs the command args on serverCore and waits until it listens on address.
func (b *bench) launch(name string, env []string, address string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if _, err := exec.LookPath(args[0]); err != nil {
		return nil, err
	}
	cmd := pinned(serverCore, slices.Concat(b.wrapper, args)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, log, log
	cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1"), env...)
	p := &process{cmd: cmd, log: log.Name(), address: address}
	if err := b.startServer(p); err != nil {
		return nil, err
	}
	for range 1000 {
		if c, err := net.Dial("tcp", address); err == nil {
			return p, c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	output, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("%s does not listen on %s: %s", name, address, output)
}

func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // no free port on loopback
	}
	defer l.Close()
	return l.Addr().String()
}

// startProxy starts s3redirect with additional configuration. viewers is its key of that name; ""
// means anonymous viewers.
func (b *bench) startProxy(name, config, viewers string) (*process, error) {
	return b.startBuild(b.proxy, name, config, viewers)
}

// startBuild is startProxy for another binary, with more flags.
func (b *bench) startBuild(
	binary, name, config, viewers string, flags ...string,
) (*process, error) {
	address, admin := freeAddress(), freeAddress()
	path := filepath.Join(b.dir, name+".yaml")
	text := b.configText(address, admin, config, viewers)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := b.launch(name, nil, address,
		append([]string{binary, "serve", "--config", path}, flags...)...)
	if err != nil {
		return nil, err
	}
	p.admin = admin
	if strings.Contains(config, "tls:") {
		return p, nil
	}
	b.location, err = locationOf("http://" + address + keyPath(0))
	return p, err
}

// configText returns a configuration of s3redirect that consists of config and what all servers
// have. viewers is as in startProxy.
func (b *bench) configText(address, admin, config, viewers string) string {
	if viewers == "" {
		viewers = "{anonymous: true}"
	}
	return fmt.Sprintf(`
listen: %s
admin_listen: %s
viewers: %s
integrations:
  - name: bench
    bucket: bucket
    role_arn: arn:aws:iam::123456789012:role/bench
    session_policy: false
    region: eu-central-1
    endpoint: https://s3.eu-central-1.amazonaws.com
    sts_endpoint: %s
    access_key_id: key
    secret_access_key: secret
%s`, address, admin, viewers, b.sts.URL, config)
}

// startSelf starts this program as a server of the given kind. See serve.
func (b *bench) startSelf(kind string) (*process, error) {
	if b.location == "" {
		return nil, errors.New("start s3redirect first: its Location is the one to send")
	}
	file := filepath.Join(b.dir, locationFile)
	if err := os.WriteFile(file, []byte(b.location), 0o600); err != nil {
		return nil, err
	}
	address := freeAddress()
	return b.launch(kind, nil, address, b.self, "serve", kind, address)
}

// startNginx starts nginx as a caching proxy in front of upstream or, if that is nil, with a
// constant redirect.
func (b *bench) startNginx(upstream *process) (*process, error) {
	address := freeAddress()
	location, name := fmt.Sprintf(`
      add_header Cache-Control "private, max-age=1234" always;
      add_header Referrer-Policy no-referrer always;
      add_header Vary "Origin, Sec-Fetch-Mode, Sec-Fetch-Dest" always;
      return 302 "%s";`, b.location), "nginx-return"
	if upstream != nil {
		location, name = fmt.Sprintf(`
      proxy_pass http://%s;
      proxy_cache z;
      proxy_cache_valid 302 1h;
      proxy_ignore_headers Cache-Control Vary;
      proxy_buffer_size 16k;
      proxy_buffers 4 16k;
      proxy_busy_buffers_size 16k;`, upstream.address), "nginx-cache"
	}
	conf := filepath.Join(b.dir, name+".conf")
	text := fmt.Sprintf(`
daemon off; master_process off; pid %[1]s/%[4]s.pid; error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000;
  proxy_cache_path %[1]s/%[4]s keys_zone=z:10m;
  proxy_temp_path %[1]s/nginx-temp;
  client_body_temp_path %[1]s/nginx-body;
  fastcgi_temp_path %[1]s/nginx-f;
  uwsgi_temp_path %[1]s/nginx-u;
  scgi_temp_path %[1]s/nginx-s;
  server {
    listen %[2]s;
    location / { %[3]s
    }
  }
}`, b.dir, address, location, name)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return b.launch(name, nil, address, "nginx", "-c", conf)
}

// startHAProxy starts HAProxy with a constant redirect.
func (b *bench) startHAProxy() (*process, error) {
	address := freeAddress()
	conf := filepath.Join(b.dir, "haproxy.cfg")
	text := fmt.Sprintf(`
global
  nbthread 1
defaults
  mode http
  timeout client 1m
  timeout server 1m
  timeout connect 1m
frontend front
  bind %s
  http-after-response set-header Cache-Control "private, max-age=1234"
  http-after-response set-header Referrer-Policy no-referrer
  http-after-response set-header Vary "Origin, Sec-Fetch-Mode, Sec-Fetch-Dest"
  http-request redirect code 302 location "%s"
`, address, strings.ReplaceAll(b.location, "%", "%%"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return b.launch("haproxy", nil, address, "haproxy", "-db", "-f", conf)
}

// startVarnish starts Varnish as a cache in front of upstream. A child of varnishd answers.
func (b *bench) startVarnish(upstream *process) (*process, error) {
	address := freeAddress()
	host, port, _ := strings.Cut(upstream.address, ":")
	conf := filepath.Join(b.dir, "bench.vcl")
	text := fmt.Sprintf(`vcl 4.1;
backend default { .host = "%s"; .port = "%s"; }
sub vcl_backend_response { set beresp.ttl = 1h; unset beresp.http.Vary; return (deliver); }
`, host, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "varnish")
	// Without -j none, Varnish would read the file as a user who has no access to it.
	return b.launch("varnish", nil, address, "varnishd", "-j", "none", "-F", "-n", dir, "-a", address,
		"-f", conf, "-s", "malloc,64m", "-p", "thread_pools=1")
}

// locationOf requests url and returns the Location of the response.
func locationOf(url string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.Header.Get("Location") == "" {
		return "", fmt.Errorf("GET %s: %s without a Location", url, resp.Status)
	}
	return resp.Header.Get("Location"), nil
}
