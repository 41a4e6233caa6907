package e2e

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// loads checks that a configuration loads. The directory of included ConfigMaps holds the integration photos.
func loads(t *testing.T, text string, env ...string) {
	t.Helper()
	dir := t.TempDir()
	const photos = "name: photos\nbucket: my-photos\nrole_arn: arn:aws:iam::123456789012:role/s3redirect\nregion: eu-central-1\n"
	included := filepath.Join(dir, "included")
	if err := errors.Join(os.Mkdir(included, 0o700), os.WriteFile(filepath.Join(included, "photos.yaml"), []byte(photos), 0o600)); err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(text, "/etc/s3redirect-integrations.d", included, 1)
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

const (
	chart        = "../../deploy/helm/s3redirect"
	minimal      = "../../deploy/helm/minimal.yaml"
	everythingOn = "../../deploy/helm/all-on.yaml"
)

// template runs helm template, with further arguments.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return program(t, append([]string{"helm", "template", "release", chart, "--kube-version", "1.33.0"}, args...)...)
}

// render renders the chart, has Kubernetes's schemas judge what comes out, and returns it.
func render(t *testing.T, values ...string) manifests {
	t.Helper()
	if out, err := program(t, append([]string{"helm", "lint", "--strict", chart}, values...)...); err != nil {
		t.Errorf("helm lint: %v\n%s", err, out)
	}
	out, err := template(t, values...)
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

// adminTokenEnv is how a pod gets the administrators' token.
func adminTokenEnv(secret, key string) string {
	return "map[name:ADMIN_TOKEN valueFrom:map[secretKeyRef:map[key:" + key + " name:" + secret + "]]]"
}

// env is where a pod has its environment variables, and volume where it has its configuration.
const (
	env    = "Deployment spec.template.spec.containers.0.env"
	volume = "Deployment spec.template.spec.volumes.0."
)

// renderings are values and what they render.
var renderings = map[string]struct {
	values []string
	kinds  string            // beside those that are always there
	want   map[string]string // by kind and path
}{
	"defaults": {
		values: []string{"-f", minimal},
		kinds:  "NetworkPolicy PodDisruptionBudget Secret Secret",
		want: map[string]string{
			"Deployment spec.replicas":              "2",
			volume + "secret.secretName":            "release-s3redirect",
			"PodDisruptionBudget spec.minAvailable": "1",
			// Viewers come from anywhere, administrators from nowhere.
			"NetworkPolicy spec.policyTypes": "[Ingress]",
			"NetworkPolicy spec.ingress":     "[map[ports:[map[port:http]]]]",
			env:                              "[" + adminTokenEnv("release-s3redirect-admin", "token") + "]",
		},
	},
	"all on": {
		values: []string{"-f", everythingOn},
		kinds:  "HorizontalPodAutoscaler Ingress NetworkPolicy PodDisruptionBudget Secret Secret ServiceMonitor",
		want: map[string]string{
			"Deployment spec.replicas":        "<nil>", // the autoscaler's
			env + ".0.valueFrom.secretKeyRef": "map[key:key name:fleet]",
			env + ".2":                        adminTokenEnv("release-s3redirect-admin", "token"),
			"ServiceAccount metadata.annotations.eks|amazonaws|com/role-arn":               "arn:aws:iam::123456789012:role/s3redirect",
			"HorizontalPodAutoscaler spec.scaleTargetRef.kind":                             "Deployment",
			"HorizontalPodAutoscaler spec.scaleTargetRef.name":                             "release-s3redirect",
			"Ingress spec.rules.0.host":                                                    "app.example.com",
			"Ingress spec.rules.0.http.paths.0.path":                                       "/s3/",
			"Ingress spec.rules.0.http.paths.0.pathType":                                   "Prefix",
			"Ingress spec.rules.0.http.paths.0.backend.service":                            "map[name:release-s3redirect port:map[name:http]]",
			"NetworkPolicy spec.ingress.0.ports":                                           "[map[port:http]]",
			"NetworkPolicy spec.ingress.0.from.0.namespaceSelector.matchLabels":            "map[kubernetes.io/metadata.name:ingress-nginx]",
			"NetworkPolicy spec.ingress.1.ports":                                           "[map[port:admin]]",
			"NetworkPolicy spec.ingress.1.from.0.namespaceSelector.matchLabels":            "map[kubernetes.io/metadata.name:monitoring]",
			"ServiceMonitor apiVersion":                                                    "monitoring.coreos.com/v1",
			"ServiceMonitor spec.endpoints":                                                "[map[interval:30s path:/metrics port:admin]]",
			"ServiceMonitor spec.selector.matchLabels.app|kubernetes|io/component":         "admin",
			"Service/release-s3redirect-admin metadata.labels.app|kubernetes|io/component": "admin",
		},
	},
	"its own secret": {
		values: []string{"--set", "existingSecret=mine,podDisruptionBudget.enabled=false"},
		kinds:  "NetworkPolicy Secret",
		want: map[string]string{
			volume + "secret.secretName": "mine",
			env:                          "[" + adminTokenEnv("release-s3redirect-admin", "token") + "]",
		},
	},
	"its own config map": {
		values: []string{"--set", "existingConfigMap=mine,networkPolicy.enabled=false,adminToken.create=false"},
		kinds:  "PodDisruptionBudget",
		want:   map[string]string{volume + "configMap": "map[name:mine]", env: "<nil>"},
	},
	"its own token": {
		values: []string{"-f", minimal, "--set", "adminToken.existingSecret=mine,adminToken.key=k"},
		kinds:  "NetworkPolicy PodDisruptionBudget Secret",
		want:   map[string]string{env: "[" + adminTokenEnv("mine", "k") + "]"},
	},
	"a token in the configuration": {
		values: []string{"-f", minimal, "--set", "config.admin.token=" + adminToken},
		kinds:  "NetworkPolicy PodDisruptionBudget Secret",
		want:   map[string]string{env: "<nil>"},
	},
	"included config maps": {
		values: []string{"--set", "config.viewers.anonymous=true,included.configMaps={fleet-1,fleet-2},included.secrets={fleet-3}"},
		kinds:  "NetworkPolicy PodDisruptionBudget Secret Secret",
		want: map[string]string{
			"Deployment spec.template.spec.volumes.1.projected.sources": "[map[configMap:map[name:fleet-1]] map[configMap:map[name:fleet-2]] map[secret:map[name:fleet-3]]]",
			"Deployment spec.template.spec.containers.0.volumeMounts":   "[map[mountPath:/etc/s3redirect name:config readOnly:true] map[mountPath:/etc/s3redirect-integrations.d name:integrations readOnly:true]]",
		},
	},
	"no peers": {
		values: []string{"-f", minimal, "--set-json", "networkPolicy.viewersFrom=[]"},
		kinds:  "NetworkPolicy PodDisruptionBudget Secret Secret",
		want:   map[string]string{"NetworkPolicy spec.ingress": "<nil>"}, // which lets nobody in
	},
}

// selectors are where manifests name the pods.
var selectors = map[string]string{
	"Service/release-s3redirect":       "spec.selector",
	"Service/release-s3redirect-admin": "spec.selector",
	"PodDisruptionBudget":              "spec.selector.matchLabels",
	"NetworkPolicy":                    "spec.podSelector.matchLabels",
	"ServiceMonitor":                   "spec.selector.matchLabels",
}

// Kubernetes accepts what the chart renders, with its defaults and with everything switched on; its configuration loads, and its
// parts find each other.
func TestHelmChart(t *testing.T) {
	t.Parallel()
	need(t, "helm", "kubectl-validate")
	for name, c := range renderings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := render(t, c.values...)
			var kinds []string
			for name := range m {
				kind, _, _ := strings.Cut(name, "/")
				kinds = append(kinds, kind)
			}
			want := append(strings.Fields(c.kinds), "Deployment", "Service", "Service", "ServiceAccount")
			if slices.Sort(kinds); !slices.Equal(kinds, slices.Sorted(slices.Values(want))) {
				t.Errorf("got the kinds %v, want %v", kinds, want)
			}
			wanted := maps.Clone(chartAlways)
			maps.Copy(wanted, c.want)
			for place, want := range wanted {
				kind, path, _ := strings.Cut(place, " ")
				if got := m.at(t, kind, path); got != want {
					t.Errorf("%s is %s, want %s", place, got, want)
				}
			}
			pods := m.at(t, "Deployment", "spec.selector.matchLabels")
			for kind, path := range selectors {
				if base, _, _ := strings.Cut(kind, "/"); !slices.Contains(kinds, base) {
					continue
				}
				selected := strings.Replace(m.at(t, kind, path), "app.kubernetes.io/component:admin ", "", 1)
				if selected != pods {
					t.Errorf("%s selects %s, want %s", kind, selected, pods)
				}
			}
			if m["Secret/release-s3redirect"] != nil {
				text := m.at(t, "Secret/release-s3redirect", "stringData.config|yaml")
				loads(t, text, fleetKey, "REDIS_PASSWORD=x", "ADMIN_TOKEN="+adminToken)
			}
		})
	}
}

// A values file admits the viewers that it names and no others: Helm merges its maps with the chart's, so the chart must not
// name any.
func TestChartAddsNoViewers(t *testing.T) {
	t.Parallel()
	need(t, "helm", "kubectl-validate")
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(`
config:
  admin: {hosts: [admin.example.com]}
  viewers:
    jwt: {issuer: https://id.example.com, audience: media}
  integrations: [{name: mine, bucket: mine, role_arn: "arn:aws:iam::123456789012:role/r", region: eu-central-1}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	text := render(t, "-f", values).at(t, "Secret/release-s3redirect", "stringData.config|yaml")
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	const viewers = "map[jwt:map[audience:media issuer:https://id.example.com]]"
	if got := fmt.Sprint(config["viewers"]); got != viewers {
		t.Errorf("viewers are %s, want %s", got, viewers)
	}
	if got, want := fmt.Sprint(config["admin"]), "map[hosts:[admin.example.com] token:${ADMIN_TOKEN}]"; got != want {
		t.Errorf("admin is %s, want %s", got, want)
	}
	// No other key of the configuration has a default that could open anything.
	want := []string{"admin", "admin_listen", "drain_delay", "integrations", "listen", "viewers"}
	if got := slices.Sorted(maps.Keys(config)); !slices.Equal(got, want) {
		t.Errorf("the configuration has the keys %q, want %q", got, want)
	}
}

// badValues are values that the schema refuses.
var badValues = []string{
	"replicas=0", "replicas=two", "nothing=here", "image.repository=", "image.pullPolicy=Sometimes",
	"config.listen=:80", "config.admin_listen=:1", "config.integrations=null", "config.viewers=null", "config.admin.token=",
	"existingSecret=a,existingConfigMap=b", "included.configMaps=a", "included.maps[0]=a", "adminToken=null", "adminToken.create=null", "adminToken.key=",
	"service.type=Magic", "service.port=0", "ingress.enabled=true", "serviceMonitor.interval=often",
	"autoscaling.minReplicas=0", "autoscaling.targetCPUUtilizationPercentage=101",
	"podDisruptionBudget.minAvailable=-1", "podDisruptionBudget.minAvailable=half",
	"networkPolicy=null", "networkPolicy.enabled=null", "networkPolicy.enabled=perhaps", "networkPolicy.from=x",
	"networkPolicy.viewersFrom=null", "networkPolicy.viewersFrom=everyone",
}

// The chart refuses mistakes, and values of which some would have no effect, with the reason.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	need(t, "helm")
	refused := func(want string, args ...string) {
		t.Helper()
		if out, err := template(t, args...); err == nil || !strings.Contains(out, want) {
			t.Errorf("helm template %q: %v, want %q: %.300s", args, err, want, out)
		}
	}
	for _, set := range badValues {
		refused("values don't meet the specifications", "-f", minimal, "--set", set)
	}
	for set, want := range map[string]string{
		"existingSecret=a":            "config.viewers and config.integrations are not used",
		"existingConfigMap=a":         "config.viewers and config.integrations are not used",
		"serviceMonitor.enabled=true": "networkPolicy.adminFrom",
		"env[0].name=ADMIN_TOKEN":     "use adminToken.existingSecret",
	} {
		refused(want, "-f", minimal, "--set", set)
	}
	refused("at '/config': missing properties 'viewers', 'integrations'")
	refused("at '/config': missing property 'viewers'", "--set", "config.integrations[0].name=photos")
	refused("at '/config': missing property 'integrations'", "--set", "config.viewers.anonymous=true")
}

// The generated token is random and long enough, and an upgrade keeps the one that the cluster has.
func TestChartToken(t *testing.T) {
	t.Parallel()
	need(t, "helm")
	const kept = "a2VwdA=="
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := ""
		switch r.URL.Path {
		case "/version":
			answer = `{"major": "1", "minor": "33", "gitVersion": "v1.33.0"}`
		case "/api":
			answer = `{"kind": "APIVersions", "versions": ["v1"]}`
		case "/apis":
			answer = `{"kind": "APIGroupList", "apiVersion": "v1", "groups": []}`
		case "/api/v1":
			answer = `{"kind": "APIResourceList", "groupVersion": "v1", "resources": [
				{"name": "secrets", "kind": "Secret", "namespaced": true, "verbs": ["get"]}]}`
		case "/api/v1/namespaces/default/secrets/release-s3redirect-admin":
			answer = `{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "release-s3redirect-admin"},
				"data": {"token": "` + kept + `"}}`
		default:
			w.WriteHeader(http.StatusNotFound)
			answer = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(cluster.Close)
	token := func(release string, args ...string) string {
		t.Helper()
		out, err := program(t, append([]string{"helm", "template", release, chart, "-f", minimal, "--kube-version", "1.33.0",
			"--show-only", "templates/admintoken.yaml"}, args...)...)
		if err != nil {
			t.Fatalf("helm template: %v\n%s", err, out)
		}
		m := regexp.MustCompile(`(?m)^  token: (\S+)$`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no token in %s", out)
		}
		return m[1]
	}
	first, err := base64.StdEncoding.DecodeString(token("release"))
	if err != nil || len(first) < 32 {
		t.Errorf("the token has %d bytes, want 32 at least: %v", len(first), err)
	}
	if second := token("release"); second == base64.StdEncoding.EncodeToString(first) {
		t.Error("two installations have the same token")
	}
	online := []string{"--dry-run=server", "--kube-apiserver", cluster.URL}
	if got := token("release", online...); got != kept {
		t.Errorf("an upgrade has the token %s, want the cluster's %s", got, kept)
	}
	if got := token("another", online...); got == kept {
		t.Errorf("another release has the token %s", got)
	}
}
