package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// TestSystemdUnit checks that systemd accepts the unit, and that its exposure level is the one in
// docs/deployment/systemd.md.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	text := readFile(t, "../../deploy/systemd/s3redirect.service")
	unit := filepath.Join(t.TempDir(), "s3redirect.service")
	text = strings.ReplaceAll(text, "/usr/local/bin/s3redirect", built(t))
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := program(t, "systemd-analyze", "verify", unit)
	if err != nil || strings.Contains(out, "s3redirect.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = program(t, "systemd-analyze", "security", "--offline=true", "--threshold=12", unit)
	if err != nil {
		t.Errorf("systemd-analyze security: the exposure level is above 1.2: %v\n%s", err, out)
	}
	const level = "exposure level of 1.2"
	if !strings.Contains(readFile(t, "../../docs/deployment/systemd.md"), level) {
		t.Errorf("docs/deployment/systemd.md lacks %q", level)
	}
}

// composed loads the project of the compose file.
func composed(t *testing.T, env ...string) (*types.Project, error) {
	t.Helper()
	return composedFrom(t, "../../deploy/compose/compose.yaml", env...)
}

// composedFrom loads the project of a compose file.
func composedFrom(t *testing.T, path string, env ...string) (*types.Project, error) {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{path}, cli.WithEnv(env), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	return o.LoadProject(t.Context())
}

// TestComposeFile checks that the compose file is valid, that the files that it mounts exist, that
// its ports are on loopback, and that it requires an encryption key.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	const hint = "openssl rand -base64 32"
	if _, err := composed(t); err == nil || !strings.Contains(err.Error(), hint) {
		t.Errorf("without a key: error %v, want one with %q", err, hint)
	}
	project, err := composed(t, fleetKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, service := range project.Services {
		for _, v := range service.Volumes {
			if v.Type != "bind" {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s mounts a missing file: %v", name, err)
			}
			if !v.ReadOnly {
				t.Errorf("%s mounts %s writable, want read-only", name, v.Source)
			}
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes port %s on %q, want 127.0.0.1",
					name, port.Published, port.HostIP)
			}
		}
		if name != "s3redirect" && !strings.Contains(service.Image, ":") {
			t.Errorf("image of %s = %q, want one with a version", name, service.Image)
		}
	}
	want := []string{"grafana", "minio", "nginx", "prometheus", "s3redirect", "valkey"}
	if got := project.ServiceNames(); !slices.Equal(got, want) {
		t.Errorf("services = %v, want %v", got, want)
	}
	s := project.Services["s3redirect"]
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
		t.Errorf("s3redirect: read_only = %v, cap_drop = %v, want true and [ALL]",
			s.ReadOnly, s.CapDrop)
	}
	if s.Build == nil || len(s.Ports) != 0 {
		t.Errorf("s3redirect: build = %v, ports = %v, want a build and no ports", s.Build, s.Ports)
	}
}

// documented returns the first block in a language in a page of docs/deployment.
func documented(t *testing.T, page, language string) string {
	t.Helper()
	text := readFile(t, "../../docs/deployment/"+page)
	m := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("docs/deployment/%s has no block of %s", page, language)
	}
	return m[1]
}

// documentedFile writes a page's first file of another program to a folder.
func documentedFile(t *testing.T, page, name string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(documented(t, page, "yml")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDocumentedComposeFile checks that the compose file in docs/deployment is valid, and that it
// mounts a folder and waits long enough for a replica to stop.
func TestDocumentedComposeFile(t *testing.T) {
	t.Parallel()
	path := documentedFile(t, "docker.md", "compose.yaml")
	project, err := composedFrom(t, path, "COMPOSE_PROJECT_NAME=documented", "ADMIN_TOKEN="+adminToken)
	if err != nil {
		t.Fatal(err)
	}
	s := project.Services["s3redirect"]
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
		t.Errorf("read_only = %v, cap_drop = %v, want true and [ALL]", s.ReadOnly, s.CapDrop)
	}
	if len(s.Volumes) != 1 || s.Volumes[0].Source != filepath.Join(filepath.Dir(path), "config") ||
		s.Volumes[0].Target != "/etc/s3redirect" || !s.Volumes[0].ReadOnly {
		t.Errorf("volumes = %+v, want the folder config only", s.Volumes)
	}
	if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) < 35*time.Second {
		t.Errorf("stop_grace_period = %v, want at least 35s", s.StopGracePeriod)
	}
	if token := s.Environment["ADMIN_TOKEN"]; token == nil || *token != adminToken {
		t.Error("ADMIN_TOKEN is not passed on")
	}
}

// startComposed starts the compose file's services without containers: their commands and files,
// with other addresses. Two replicas run behind nginx.
func startComposed(t *testing.T) (f *front, replicas []*proxy, s *store) {
	t.Helper()
	project, err := composed(t, fleetKey)
	if err != nil {
		t.Fatal(err)
	}
	built(t) // takes long, so other programs could take the free ports meanwhile
	ports, err := freePorts(6)
	if err != nil {
		t.Fatal(err)
	}
	at := func(n int) string { return fmt.Sprintf("127.0.0.1:%d", ports[n]) }
	env := map[string][]string{}
	for name, service := range project.Services {
		for key, value := range service.Environment {
			env[name] = append(env[name], key+"="+*value)
		}
	}
	start := func(service string, args []string, ready func() bool) {
		t.Helper()
		s, err := startServer(t.TempDir(), service, env[service], args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.stop)
		if err := s.await(service, ready); err != nil {
			t.Fatal(err)
		}
	}
	program, err := find("minio")
	if err != nil {
		t.Fatal(err)
	}
	local := strings.NewReplacer(
		"/data", t.TempDir(),
		"minio server", program+" server --address "+at(0),
		"--console-address :9001", "")
	var entry []string
	for _, arg := range project.Services["minio"].Entrypoint {
		entry = append(entry, local.Replace(arg))
	}
	start("minio", entry, func() bool {
		return answersOK("http://" + at(0) + "/minio/health/ready")
	})
	valkey := append(slices.Clone(project.Services["valkey"].Command),
		"--port", portOf(at(1)), "--bind", "127.0.0.1")
	start("valkey", valkey, func() bool {
		c, err := net.Dial("tcp", at(1))
		return err == nil && c.Close() == nil
	})
	for n := range 2 {
		dir, host, admin := t.TempDir(), at(2+2*n), at(3+2*n)
		local := strings.NewReplacer(
			"172.16.0.0/12, 192.168.0.0/16", "127.0.0.1",
			"listen: :8080", "listen: "+host,
			"admin_listen: :9090", "admin_listen: "+admin,
			"valkey:6379", at(1),
			"localhost:9000", at(0),
			"minio:9000", at(0))
		text := local.Replace(readFile(t, "../../deploy/compose/config/config.yaml")) +
			"log: {access: true}\n"
		if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, startProxyAt(t, dir, host, admin, env["s3redirect"]...))
	}
	minio := project.Services["minio"].Environment
	s = &store{
		endpoint: "http://" + at(0),
		owner: aws.Credentials{
			AccessKeyID:     *minio["MINIO_ROOT_USER"],
			SecretAccessKey: *minio["MINIO_ROOT_PASSWORD"],
		},
	}
	return behindComposedNginx(t, replicas...), replicas, s
}

// TestComposedParts stores an object in the bucket that the composed MinIO creates, and reads it
// through the composed nginx. Both replicas redirect to the same URL. Prometheus accepts its
// configuration.
func TestComposedParts(t *testing.T) {
	t.Parallel()
	need(t, "minio", "valkey-server", "nginx", "promtool")
	f, replicas, s := startComposed(t)
	s.put(t, "photos", "a b.png", []byte("an image"))
	first := f.asProxy().location(t, http.MethodGet, "/s3/photos/a%20b.png")
	for range 3 {
		if got := f.asProxy().location(t, http.MethodGet, "/s3/photos/a%20b.png"); got != first {
			t.Errorf("redirect to %s, want %s from every replica", got, first)
		}
	}
	if a := fetch(t, http.MethodGet, first); string(a.body) != "an image" {
		t.Errorf("%s: got %d %q, want %q", first, a.status, a.body, "an image")
	}
	f.ask(t, "127.0.0.2", "", "/s3/photos/a%20b.png")
	awaitThat(t, "the access log has the client's address", func() bool {
		return strings.Contains(replicas[0].output()+replicas[1].output(), `"remote":"127.0.0.2"`)
	})
	if replicas[0].awaitRedirects(t, 1) == 0 || replicas[1].awaitRedirects(t, 1) == 0 {
		t.Error("nginx sent all requests to one replica, want requests to both")
	}
	dir := t.TempDir()
	for name, from := range map[string]string{
		"prometheus.yml":       "compose/prometheus.yml",
		"s3redirect.rules.yml": "prometheus/s3redirect.rules.yml",
	} {
		text := []byte(readFile(t, "../../deploy/"+from))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "prometheus.yml")
	if out, err := program(t, "promtool", "check", "config", config); err != nil {
		t.Errorf("promtool check config: %v\n%s", err, out)
	}
}
