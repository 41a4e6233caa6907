package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// The unit is one that systemd takes, and leaves the service little to do harm with: docs/deployment.md says how much.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	text := readFile(t, "../../deploy/systemd/s3redirect.service")
	unit := filepath.Join(t.TempDir(), "s3redirect.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(text, "/usr/local/bin/s3redirect", built(t), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := program(t, "systemd-analyze", "verify", unit); err != nil || strings.Contains(out, "s3redirect.service:") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := program(t, "systemd-analyze", "security", "--offline=true", "--threshold=12", unit); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(readFile(t, "../../docs/deployment.md"), "exposure level of 1.2") {
		t.Error("docs/deployment.md does not say so")
	}
}

// composed is the compose file's project.
func composed(t *testing.T, env ...string) (*types.Project, error) {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{"../../deploy/compose/compose.yaml"}, cli.WithEnv(env), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	return o.LoadProject(t.Context())
}

// The compose file is one, what it mounts is there, and it wants a key.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	if _, err := composed(t); err == nil || !strings.Contains(err.Error(), "openssl rand -base64 32") {
		t.Errorf("without a key: %v", err)
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
				t.Errorf("%s mounts %v", name, err)
			}
			if !v.ReadOnly {
				t.Errorf("%s may write to %s", name, v.Source)
			}
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s is there for everybody, at port %s", name, port.Published)
			}
		}
		if name != "s3redirect" && !strings.Contains(service.Image, ":") {
			t.Errorf("%s is of no version in particular", name)
		}
	}
	if names := project.ServiceNames(); !slices.Equal(names, []string{"grafana", "minio", "nginx", "prometheus", "s3redirect", "valkey"}) {
		t.Errorf("%v", names)
	}
	if s := project.Services["s3redirect"]; !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.Build == nil || len(s.Ports) != 0 {
		t.Errorf("s3redirect: %+v", s)
	}
}

// startComposed starts the compose file's parts without the containers: their commands and files, with other addresses.
func startComposed(t *testing.T) (f *front, replicas []*proxy, s *store) {
	t.Helper()
	project, err := composed(t, fleetKey)
	if err != nil {
		t.Fatal(err)
	}
	built(t) // before ports are looked for
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
	begin := func(service string, args []string, ready func() bool) {
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
	var entry []string
	for _, arg := range project.Services["minio"].Entrypoint {
		entry = append(entry, strings.NewReplacer("/data", t.TempDir(), "minio server", program+" server --address "+at(0), "--console-address :9001", "").Replace(arg))
	}
	begin("minio", entry, func() bool { return answersOK("http://" + at(0) + "/minio/health/ready") })
	begin("valkey", append(slices.Clone(project.Services["valkey"].Command), "--port", portOf(at(1)), "--bind", "127.0.0.1"), func() bool {
		c, err := net.Dial("tcp", at(1))
		return err == nil && c.Close() == nil
	})
	for n := range 2 {
		dir, host, admin := t.TempDir(), at(2+2*n), at(3+2*n)
		text := strings.NewReplacer("172.16.0.0/12, 192.168.0.0/16", "127.0.0.1", "listen: :8080", "listen: "+host, "admin_listen: :9090", "admin_listen: "+admin, "valkey:6379", at(1), "localhost:9000", at(0), "minio:9000", at(0)).
			Replace(readFile(t, "../../deploy/compose/config.yaml")) + "log: {access: true}\n"
		if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, startProxyAt(t, dir, host, admin, env["s3redirect"]...))
	}
	minio := project.Services["minio"].Environment
	return behindComposedNginx(t, replicas...), replicas,
		&store{endpoint: "http://" + at(0), owner: aws.Credentials{AccessKeyID: *minio["MINIO_ROOT_USER"], SecretAccessKey: *minio["MINIO_ROOT_PASSWORD"]}}
}

// An object that is put into the bucket that the composed MinIO has from the start comes back through the composed nginx, with one URL from
// both replicas; and Prometheus takes its configuration.
func TestComposedParts(t *testing.T) {
	t.Parallel()
	need(t, "minio", "valkey-server", "nginx", "promtool")
	f, replicas, s := startComposed(t)
	s.put(t, "photos", "a b.png", []byte("an image"))
	first := f.asProxy().location(t, http.MethodGet, "/s3/photos/a%20b.png")
	for range 3 {
		if f.asProxy().location(t, http.MethodGet, "/s3/photos/a%20b.png") != first {
			t.Error("the replicas have URLs of their own")
		}
	}
	if a := fetch(t, http.MethodGet, first); string(a.body) != "an image" {
		t.Errorf("%d %s", a.status, a.body)
	}
	f.ask(t, "127.0.0.2", "", "/s3/photos/a%20b.png")
	awaitThat(t, "the access log has the client's address", func() bool {
		return strings.Contains(replicas[0].output()+replicas[1].output(), `"remote":"127.0.0.2"`)
	})
	if replicas[0].awaitRedirects(t, 1) == 0 || replicas[1].awaitRedirects(t, 1) == 0 {
		t.Error("only one of them was asked")
	}
	dir := t.TempDir()
	for name, from := range map[string]string{"prometheus.yml": "compose/prometheus.yml", "s3redirect.rules.yml": "prometheus/s3redirect.rules.yml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(readFile(t, "../../deploy/"+from)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := program(t, "promtool", "check", "config", filepath.Join(dir, "prometheus.yml")); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
