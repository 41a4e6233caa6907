package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
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

// manifests are what a chart renders, by kind and name.
type manifests map[string]map[string]any

// at is a value in a manifest, by its path: "spec.ports.0.name", with | for a dot in a name. The kind alone will do where there is one of it.
func (m manifests) at(t *testing.T, kind, path string) string {
	t.Helper()
	var value any = m[kind]
	for name, object := range m {
		if m[kind] == nil && strings.HasPrefix(name, kind+"/") {
			value = object
		}
	}
	for step := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[strings.ReplaceAll(step, "|", ".")]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(v) {
				t.Errorf("%s has no %s", kind, path)
				return ""
			}
			value = v[n]
		default:
			t.Errorf("%s has no %s", kind, path)
			return ""
		}
	}
	return fmt.Sprint(value)
}

// render renders the chart, has Kubernetes's schemas judge what comes out, and returns it.
func render(t *testing.T, chart string, values ...string) manifests {
	t.Helper()
	if out, err := program(t, append([]string{"helm", "lint", "--strict", chart}, values...)...); err != nil {
		t.Errorf("helm lint: %v\n%s", err, out)
	}
	out, err := program(t, append([]string{"helm", "template", "release", chart, "--kube-version", "1.33.0"}, values...)...)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	all, dir := manifests{}, t.TempDir()
	var known bytes.Buffer
	for document := range strings.SplitSeq(out, "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil || object == nil {
			t.Fatalf("%v\n%s", err, document)
		}
		kind := fmt.Sprint(object["kind"])
		all[kind+"/"+manifests{kind: object}.at(t, kind, "metadata.name")] = object
		if kind != "ServiceMonitor" { // which is the operator's, and no schema of Kubernetes's
			known.WriteString("---\n" + document + "\n")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), known.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := program(t, "kubectl-validate", dir); err != nil {
		t.Errorf("kubectl-validate: %v\n%s", err, out)
	}
	return all
}

// What every rendering has, whatever is switched on: by kind and path.
var chartAlways = map[string]string{
	"Deployment spec.template.spec.securityContext.runAsNonRoot":                          "true",
	"Deployment spec.template.spec.securityContext.runAsUser":                             "65532",
	"Deployment spec.template.spec.securityContext.seccompProfile.type":                   "RuntimeDefault",
	"Deployment spec.template.spec.automountServiceAccountToken":                          "false",
	"Deployment spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem":   "true",
	"Deployment spec.template.spec.containers.0.securityContext.allowPrivilegeEscalation": "false",
	"Deployment spec.template.spec.containers.0.securityContext.capabilities.drop":        "[ALL]",
	"Deployment spec.template.spec.containers.0.livenessProbe.httpGet":                    "map[path:/healthz port:admin]",
	"Deployment spec.template.spec.containers.0.readinessProbe.httpGet":                   "map[path:/readyz port:admin]",
	"Deployment spec.template.spec.containers.0.startupProbe.httpGet":                     "map[path:/readyz port:admin]",
	"Deployment spec.template.spec.containers.0.ports":                                    "[map[containerPort:8080 name:http] map[containerPort:9090 name:admin]]",
	"Deployment spec.template.spec.containers.0.args":                                     "[serve --config /etc/s3redirect/config.yaml]",
	"Deployment spec.template.spec.containers.0.volumeMounts":                             "[map[mountPath:/etc/s3redirect name:config readOnly:true]]", // no subPath: it would never change
	"Deployment spec.template.spec.volumes.0.name":                                        "config",
	"Deployment spec.template.spec.serviceAccountName":                                    "release-s3redirect",
	"ServiceAccount/release-s3redirect automountServiceAccountToken":                      "false",
	"Service/release-s3redirect spec.ports.0.targetPort":                                  "http",
	"Service/release-s3redirect-admin spec.ports.0":                                       "map[name:admin port:9090 targetPort:admin]",
	"Service/release-s3redirect-admin spec.type":                                          "ClusterIP",
}

// The chart is what Kubernetes takes, with its defaults and with everything switched on; its configuration loads, and its parts find each other.
func TestHelmChart(t *testing.T) {
	t.Parallel()
	need(t, "helm", "kubectl-validate")
	const chart = "../../deploy/helm/s3redirect"
	const optional = "HorizontalPodAutoscaler Ingress NetworkPolicy ServiceMonitor"
	for name, c := range map[string]struct {
		values []string
		kinds  string // beside those that are always there
		want   map[string]string
	}{
		"defaults": {nil, "PodDisruptionBudget Secret", map[string]string{
			"Deployment spec.replicas": "2", "Deployment spec.template.spec.volumes.0.secret.secretName": "release-s3redirect", "PodDisruptionBudget spec.minAvailable": "1",
		}},
		"all on": {[]string{"-f", "../../deploy/helm/all-on.yaml"}, optional + " PodDisruptionBudget Secret", map[string]string{
			"Deployment spec.replicas": "<nil>", // the autoscaler's
			"Deployment spec.template.spec.containers.0.env.0.valueFrom.secretKeyRef":      "map[key:key name:fleet]",
			"ServiceAccount metadata.annotations.eks|amazonaws|com/role-arn":               "arn:aws:iam::123456789012:role/s3redirect",
			"HorizontalPodAutoscaler spec.scaleTargetRef":                                  "map[apiVersion:apps/v1 kind:Deployment name:release-s3redirect]",
			"Ingress spec.rules.0.http.paths.0":                                            "map[backend:map[service:map[name:release-s3redirect port:map[name:http]]] path:/s3/ pathType:Prefix]",
			"NetworkPolicy spec.ingress.0.ports":                                           "[map[port:http]]",
			"NetworkPolicy spec.ingress.1.ports":                                           "[map[port:admin]]",
			"NetworkPolicy spec.ingress.1.from.0.namespaceSelector.matchLabels":            "map[kubernetes.io/metadata.name:monitoring]",
			"ServiceMonitor apiVersion":                                                    "monitoring.coreos.com/v1",
			"ServiceMonitor spec.endpoints":                                                "[map[interval:30s path:/metrics port:admin]]",
			"Service/release-s3redirect-admin metadata.labels.app|kubernetes|io/component": "admin",
			"ServiceMonitor spec.selector.matchLabels.app|kubernetes|io/component":         "admin",
		}},
		"its own secret": {[]string{"--set", "existingSecret=mine,podDisruptionBudget.enabled=false"}, "", map[string]string{
			"Deployment spec.template.spec.volumes.0.secret.secretName": "mine",
		}},
		"its own config map": {[]string{"--set", "existingConfigMap=mine,networkPolicy.enabled=true,serviceAccount.create=true"}, "NetworkPolicy PodDisruptionBudget", map[string]string{
			"Deployment spec.template.spec.volumes.0.configMap": "map[name:mine]", "NetworkPolicy spec.ingress": "[map[ports:[map[port:http]]]]", // nobody reaches the administrators' port
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := render(t, chart, c.values...)
			var kinds []string
			for name := range m {
				kind, _, _ := strings.Cut(name, "/")
				if kind != "Service" || !slices.Contains(kinds, kind) {
					kinds = append(kinds, kind)
				}
			}
			want := append(strings.Fields(c.kinds), "Deployment", "Service", "ServiceAccount")
			if slices.Sort(kinds); !slices.Equal(kinds, slices.Sorted(slices.Values(want))) {
				t.Errorf("there are %v", kinds)
			}
			for _, table := range []map[string]string{chartAlways, c.want} {
				for place, want := range table {
					kind, path, _ := strings.Cut(place, " ")
					if got := m.at(t, kind, path); got != want {
						t.Errorf("%s is %s, want %s", place, got, want)
					}
				}
			}
			pods := m.at(t, "Deployment", "spec.selector.matchLabels")
			for place := range strings.FieldsSeq("Service/release-s3redirect:spec.selector Service/release-s3redirect-admin:spec.selector PodDisruptionBudget:spec.selector.matchLabels NetworkPolicy:spec.podSelector.matchLabels ServiceMonitor:spec.selector.matchLabels") {
				kind, path, _ := strings.Cut(place, ":")
				if base, _, _ := strings.Cut(kind, "/"); slices.Contains(kinds, base) && strings.Replace(m.at(t, kind, path), "app.kubernetes.io/component:admin ", "", 1) != pods {
					t.Errorf("%s selects %s, and the pods are %s", kind, m.at(t, kind, path), pods)
				}
			}
			if slices.Contains(kinds, "Secret") {
				loads(t, m.at(t, "Secret", "stringData.config|yaml"), fleetKey, "REDIS_PASSWORD=x")
			}
		})
	}
	for _, wrong := range []string{
		"replicas=0", "replicas=two", "config.listen=:80", "config.admin_listen=:1", "config.integrations=null", "config.viewers=null", "nothing=here", "service.type=Magic", "service.port=0",
		"image.repository=", "image.pullPolicy=Sometimes", "ingress.host=", "autoscaling.minReplicas=0", "autoscaling.targetCPUUtilizationPercentage=101", "podDisruptionBudget.minAvailable=-1",
		"podDisruptionBudget.minAvailable=half", "serviceMonitor.interval=often", "networkPolicy.enabled=perhaps", "networkPolicy.from=x", "existingSecret=a,existingConfigMap=b",
	} {
		if out, err := program(t, "helm", "template", "release", chart, "--kube-version", "1.33.0", "--set", wrong); err == nil || !strings.Contains(out, "values don't meet the specifications") {
			t.Errorf("%s: %v %.300s", wrong, err, out)
		}
	}
}

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
	ports, err := freePorts(7)
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
		text := strings.NewReplacer("listen: :8080", "listen: "+host, "admin_listen: :9090", "admin_listen: "+admin, "valkey:6379", at(1), "localhost:9000", at(0), "minio:9000", at(0)).
			Replace(readFile(t, "../../deploy/compose/config.yaml"))
		if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, startProxyAt(t, dir, host, admin, env["s3redirect"]...))
	}
	host := at(6)
	conf := strings.NewReplacer("server s3redirect:8080", "server "+replicas[0].host+"; server "+replicas[1].host, "listen 80", "listen "+host, "events {}\nhttp {", "", "/etc/nginx/s3redirect", shipped(t, "nginx")).
		Replace(readFile(t, "../../deploy/compose/nginx.conf"))
	minio := project.Services["minio"].Environment
	return nginxWith(t, host, strings.TrimSuffix(strings.TrimSpace(conf), "}")), replicas,
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
	if replicas[0].redirects(t) == 0 || replicas[1].redirects(t) == 0 {
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
