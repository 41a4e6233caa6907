package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"gopkg.in/yaml.v3"
)

// loads wants a configuration to be one.
func loads(t *testing.T, text string, env ...string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, dir, env, "policy", "access", "--integration", "photos"); code != 0 {
		t.Errorf("the configuration does not load: %s", out)
	}
}

// The chart is what Kubernetes takes, with its defaults and with everything switched on, and its configuration loads.
func TestHelmChart(t *testing.T) {
	t.Parallel()
	need(t, "helm", "kubectl-validate")
	const chart = "../deploy/helm/s3redirect"
	for name, values := range map[string][]string{"defaults": nil, "all on": {"-f", "../deploy/helm/all-on.yaml"}, "its own secret": {"--set", "existingSecret=mine,podDisruptionBudget.enabled=false"}} {
		if out, err := program(t, append([]string{"helm", "lint", "--strict", chart}, values...)...); err != nil {
			t.Errorf("%s: helm lint: %v\n%s", name, err, out)
		}
		out, err := program(t, append([]string{"helm", "template", "release", chart, "--kube-version", "1.33.0"}, values...)...)
		if err != nil {
			t.Fatalf("%s: helm template: %v\n%s", name, err, out)
		}
		dir, kinds := t.TempDir(), map[string]bool{}
		var known bytes.Buffer
		for d := yaml.NewDecoder(strings.NewReader(out)); ; {
			var object struct {
				Kind       string
				StringData map[string]string `yaml:"stringData"`
				Rest       map[string]any    `yaml:",inline"`
			}
			if d.Decode(&object) != nil {
				break
			}
			kinds[object.Kind] = true
			if object.Kind == "Secret" {
				loads(t, object.StringData["config.yaml"], "FLEET_KEY=Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=", "REDIS_PASSWORD=x")
			}
		}
		for document := range strings.SplitSeq(out, "\n---\n") {
			if !strings.Contains(document, "kind: ServiceMonitor") { // which is the operator's, and no schema of Kubernetes's
				known.WriteString("---\n" + document + "\n")
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "all.yaml"), known.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := program(t, "kubectl-validate", dir); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if want := map[string]bool{"all on": true}[name]; kinds["ServiceMonitor"] != want || kinds["NetworkPolicy"] != want || kinds["HorizontalPodAutoscaler"] != want || kinds["Ingress"] != want || !kinds["Deployment"] || kinds["Secret"] == (name == "its own secret") {
			t.Errorf("%s: %v", name, kinds)
		}
	}
	for _, wrong := range []string{"replicas=0", "config.listen=:80", "nothing=here", "service.type=Magic"} {
		if out, err := program(t, "helm", "template", "release", chart, "--kube-version", "1.33.0", "--set", wrong); err == nil || !strings.Contains(out, "values don't meet the specifications") {
			t.Errorf("%s: %v %.300s", wrong, err, out)
		}
	}
}

// The unit is one that systemd takes, and leaves the service little to do harm with.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	text := readFile(t, "../deploy/systemd/s3redirect.service")
	unit := filepath.Join(t.TempDir(), "s3redirect.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(text, "/usr/local/bin/s3redirect", built(t), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := program(t, "systemd-analyze", "verify", unit); err != nil || strings.Contains(out, "s3redirect.service:") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := program(t, "systemd-analyze", "security", "--offline=true", "--threshold=15", unit); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The compose file is one, what it mounts is there, and its configuration loads.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	const dir = "../deploy/compose"
	o, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")}, cli.WithEnv([]string{"FLEET_KEY=x"}), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := o.LoadProject(t.Context())
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
		}
	}
	if len(project.Services) != 6 {
		t.Errorf("%d services", len(project.Services))
	}
	if _, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")}, cli.WithEnv(nil)); err != nil {
		t.Fatal(err)
	}
	loads(t, readFile(t, filepath.Join(dir, "config.yaml")), "FLEET_KEY=Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=", "MINIO_KEY=a", "MINIO_SECRET=b")
	host := freeAddress(t)
	conf := strings.NewReplacer("s3redirect:8080", "127.0.0.1:1", "listen 80", "listen "+host, "events {}\nhttp {", "", "/etc/nginx/s3redirect", shipped(t, "nginx")).Replace(readFile(t, filepath.Join(dir, "nginx.conf")))
	nginxWith(t, host, strings.TrimSuffix(strings.TrimSpace(conf), "}"))
}
