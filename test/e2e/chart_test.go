package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// loads checks that a configuration is valid. The directory of included ConfigMaps holds the
// integration photos.
func loads(t *testing.T, text string, env ...string) {
	t.Helper()
	dir := t.TempDir()
	const photos = "name: photos\nbucket: my-photos\nregion: eu-central-1\n" +
		"role_arn: arn:aws:iam::123456789012:role/s3redirect\n"
	included := filepath.Join(dir, "included")
	err := errors.Join(os.Mkdir(included, 0o700),
		os.WriteFile(filepath.Join(included, "photos.yaml"), []byte(photos), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(text, "/etc/s3redirect-integrations.d", included, 1)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, dir, env, "policy", "access", "--config", "config.yaml",
		"--integration", "photos"); code != 0 {
		t.Errorf("the configuration does not load: %s", out)
	}
}

// manifests are the objects that a chart renders, by kind and name: "Service/release-s3redirect".
type manifests map[string]map[string]any

// at returns the value at a path in a manifest, such as "spec.ports.0.name"; | stands for a dot in
// a name. If there is only one object of a kind, the kind alone identifies it.
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

// template runs helm template with the given additional arguments.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command := []string{"helm", "template", "release", chart, "--kube-version", "1.33.0"}
	return program(t, append(command, args...)...)
}

// render renders the chart, validates the manifests against Kubernetes's schemas, and returns them.
func render(t *testing.T, values ...string) manifests {
	t.Helper()
	lint := append([]string{"helm", "lint", "--strict", chart}, values...)
	if out, err := program(t, lint...); err != nil {
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
		// Kubernetes has no schemas of custom resources.
		if kind == "HTTPRoute" {
			checkHTTPRoute(t, document)
		} else if kind != "ServiceMonitor" {
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

const (
	pod          = "Deployment spec.template.spec."
	podContainer = pod + "containers.0."
	// env is the path of a pod's environment variables, and volume that of its configuration.
	env    = podContainer + "env"
	volume = pod + "volumes.0."
)

// scraped are the endpoints of the ServiceMonitor.
const scraped = "[map[interval:30s path:/metrics port:admin]]"

// chartAlways are the values that every rendering has, by kind and path.
var chartAlways = map[string]string{
	pod + "securityContext.runAsNonRoot": "true",
	// OpenShift chooses these, and admits no pod that sets them.
	pod + "securityContext.runAsUser":  "<nil>",
	pod + "securityContext.runAsGroup": "<nil>",
	pod + "securityContext.fsGroup":    "<nil>",

	pod + "securityContext.seccompProfile.type":               "RuntimeDefault",
	pod + "automountServiceAccountToken":                      "false",
	podContainer + "securityContext.readOnlyRootFilesystem":   "true",
	podContainer + "securityContext.allowPrivilegeEscalation": "false",
	podContainer + "securityContext.capabilities.drop":        "[ALL]",

	podContainer + "livenessProbe.httpGet":  "map[path:/healthz port:admin]",
	podContainer + "readinessProbe.httpGet": "map[path:/readyz port:admin]",
	podContainer + "startupProbe.httpGet":   "map[path:/readyz port:admin]",
	podContainer + "ports":                  "[map[containerPort:8080 name:http] map[containerPort:9090 name:admin]]",
	podContainer + "args":                   "[serve --config /etc/s3redirect/config.yaml]",
	// There is no subPath: Kubernetes never updates a file that is mounted by one.
	podContainer + "volumeMounts": "[map[mountPath:/etc/s3redirect name:config readOnly:true]]",

	pod + "volumes.0.name":     "config",
	pod + "serviceAccountName": "release-s3redirect",
	"ServiceAccount/release-s3redirect automountServiceAccountToken": "false",
	"Service/release-s3redirect spec.ports.0.targetPort":             "http",
	"Service/release-s3redirect-admin spec.ports.0":                  "map[name:admin port:9090 targetPort:admin]",
	"Service/release-s3redirect-admin spec.type":                     "ClusterIP",
}

// adminTokenEnv returns the environment variable by which a pod gets the administrators' token.
func adminTokenEnv(secret, key string) string {
	return "map[name:ADMIN_TOKEN valueFrom:" +
		"map[secretKeyRef:map[key:" + key + " name:" + secret + "]]]"
}

// releaseToken is the environment variable with the token that the chart generates.
var releaseToken = adminTokenEnv("release-s3redirect-admin", "token")

// renderings are values for the chart and the manifests that they render.
var renderings = map[string]struct {
	values []string
	kinds  string            // in addition to those that every rendering has
	want   map[string]string // by kind and path
}{
	"defaults": {
		values: []string{"-f", minimal},
		kinds:  "NetworkPolicy PodDisruptionBudget Secret Secret",
		want: map[string]string{
			"Deployment spec.replicas": "2",
			// The cluster chooses the family, and the kubelet probes the pod's own address.
			"Service/release-s3redirect spec.ipFamilyPolicy": "<nil>",
			"Service/release-s3redirect spec.ipFamilies":     "<nil>",
			podContainer + "readinessProbe.httpGet.host":     "<nil>",

			volume + "secret.secretName":            "release-s3redirect",
			volume + "secret.defaultMode":           "292", // 0444, since any user may be chosen
			"PodDisruptionBudget spec.minAvailable": "1",
			// Viewers may connect from anywhere, administrators from nowhere.
			"NetworkPolicy spec.policyTypes": "[Ingress]",
			"NetworkPolicy spec.ingress":     "[map[ports:[map[port:http]]]]",
			env:                              "[" + releaseToken + "]",
		},
	},
	"all on": {
		values: []string{"-f", everythingOn},
		kinds: "HTTPRoute HorizontalPodAutoscaler Ingress NetworkPolicy PodDisruptionBudget " +
			"Secret Secret ServiceMonitor",
		want: map[string]string{
			"Deployment spec.replicas":        "<nil>", // set by the autoscaler
			env + ".0.valueFrom.secretKeyRef": "map[key:key name:fleet]",
			env + ".2":                        releaseToken,

			"ServiceAccount metadata.annotations.eks|amazonaws|com/role-arn": "" +
				"arn:aws:iam::123456789012:role/s3redirect",
			"HorizontalPodAutoscaler spec.scaleTargetRef.kind": "Deployment",
			"HorizontalPodAutoscaler spec.scaleTargetRef.name": "release-s3redirect",
			"Ingress spec.rules.0.host":                        "app.example.com",
			"Ingress spec.rules.0.http.paths.0.path":           "/s3/",
			"Ingress spec.rules.0.http.paths.0.pathType":       "Prefix",
			"Ingress spec.rules.0.http.paths.1.path":           "/presign",
			"Ingress spec.rules.0.http.paths.1.pathType":       "Exact",
			"Ingress spec.rules.0.http.paths.2.path":           "/link",
			"Ingress spec.rules.0.http.paths.0.backend.service": "" +
				"map[name:release-s3redirect port:map[name:http]]",
			"NetworkPolicy spec.ingress.0.ports": "[map[port:http]]",
			"NetworkPolicy spec.ingress.0.from.0.namespaceSelector.matchLabels": "" +
				"map[kubernetes.io/metadata.name:ingress-nginx]",
			"NetworkPolicy spec.ingress.1.ports": "[map[port:admin]]",
			"NetworkPolicy spec.ingress.1.from.0.namespaceSelector.matchLabels": "" +
				"map[kubernetes.io/metadata.name:monitoring]",
			"ServiceMonitor apiVersion":                                                    "monitoring.coreos.com/v1",
			"ServiceMonitor spec.endpoints":                                                scraped,
			"ServiceMonitor spec.selector.matchLabels.app|kubernetes|io/component":         "admin",
			"Service/release-s3redirect-admin metadata.labels.app|kubernetes|io/component": "admin",
		},
	},
	"an existing secret": {
		values: []string{"--set", "existingSecret=mine,podDisruptionBudget.enabled=false"},
		kinds:  "NetworkPolicy Secret",
		want: map[string]string{
			volume + "secret.secretName": "mine",
			env:                          "[" + releaseToken + "]",
		},
	},
	"an existing config map": {
		values: []string{
			"--set", "existingConfigMap=mine,networkPolicy.enabled=false,adminToken.create=false",
		},
		kinds: "PodDisruptionBudget",
		want:  map[string]string{volume + "configMap": "map[name:mine]", env: "<nil>"},
	},
	"an existing token": {
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
		values: []string{"--set", "config.viewers.anonymous=true," +
			"included.configMaps={fleet-1,fleet-2},included.secrets={fleet-3}"},
		kinds: "NetworkPolicy PodDisruptionBudget Secret Secret",
		want: map[string]string{
			"Deployment spec.template.spec.volumes.1.projected.sources": "[map[configMap:map[name:fleet-1]] " +
				"map[configMap:map[name:fleet-2]] map[secret:map[name:fleet-3]]]",
			"Deployment spec.template.spec.containers.0.volumeMounts": "[" +
				"map[mountPath:/etc/s3redirect name:config readOnly:true] " +
				"map[mountPath:/etc/s3redirect-integrations.d name:integrations readOnly:true]]",
		},
	},
	"both IP families": {
		values: []string{
			"-f", minimal,
			"--set", "service.ipFamilyPolicy=PreferDualStack,service.ipFamilies={IPv6,IPv4}",
		},
		kinds: "NetworkPolicy PodDisruptionBudget Secret Secret",
		want: map[string]string{
			"Service/release-s3redirect spec.ipFamilyPolicy":       "PreferDualStack",
			"Service/release-s3redirect spec.ipFamilies":           "[IPv6 IPv4]",
			"Service/release-s3redirect-admin spec.ipFamilyPolicy": "PreferDualStack",
			"Service/release-s3redirect-admin spec.ipFamilies":     "[IPv6 IPv4]",
		},
	},
	"no peers": {
		values: []string{"-f", minimal, "--set-json", "networkPolicy.viewersFrom=[]"},
		kinds:  "NetworkPolicy PodDisruptionBudget Secret Secret",
		want:   map[string]string{"NetworkPolicy spec.ingress": "<nil>"}, // denies all
	},
}

// selectors are the paths of the labels by which objects select the pods.
var selectors = map[string]string{
	"Service/release-s3redirect":       "spec.selector",
	"Service/release-s3redirect-admin": "spec.selector",
	"PodDisruptionBudget":              "spec.selector.matchLabels",
	"NetworkPolicy":                    "spec.podSelector.matchLabels",
	"ServiceMonitor":                   "spec.selector.matchLabels",
}

// TestHelmChart checks that Kubernetes accepts the manifests that the chart renders, with its
// defaults and with everything switched on, that s3redirect accepts the configuration in them, and
// that all selectors select the pods.
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
			want := strings.Fields(c.kinds)
			want = append(want, "Deployment", "Service", "Service", "ServiceAccount")
			slices.Sort(want)
			if slices.Sort(kinds); !slices.Equal(kinds, want) {
				t.Errorf("kinds of objects = %v, want %v", kinds, want)
			}
			wanted := maps.Clone(chartAlways)
			maps.Copy(wanted, c.want)
			for place, want := range wanted {
				kind, path, _ := strings.Cut(place, " ")
				if got := m.at(t, kind, path); got != want {
					t.Errorf("%s = %s, want %s", place, got, want)
				}
			}
			pods := m.at(t, "Deployment", "spec.selector.matchLabels")
			for kind, path := range selectors {
				if base, _, _ := strings.Cut(kind, "/"); !slices.Contains(kinds, base) {
					continue
				}
				const component = "app.kubernetes.io/component:admin "
				selected := strings.Replace(m.at(t, kind, path), component, "", 1)
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

// TestChartAddsNoViewers checks that a values file admits the viewers that it names and no others.
// Helm merges the file's maps with the chart's, so the chart must not name any viewers.
func TestChartAddsNoViewers(t *testing.T) {
	t.Parallel()
	need(t, "helm", "kubectl-validate")
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(`
config:
  admin: {hosts: [admin.example.com]}
  viewers:
    jwt: {issuer: https://id.example.com, audience: media}
  integrations:
    - {name: mine, bucket: mine, role_arn: "arn:aws:iam::123456789012:role/r", region: eu-central-1}
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
		t.Errorf("viewers = %s, want %s", got, viewers)
	}
	const admin = "map[hosts:[admin.example.com] token:${ADMIN_TOKEN}]"
	if got := fmt.Sprint(config["admin"]); got != admin {
		t.Errorf("admin = %s, want %s", got, admin)
	}
	// The chart sets no other key, so none of its defaults can give access.
	want := []string{"admin", "admin_listen", "drain_delay", "integrations", "listen", "viewers"}
	if got := slices.Sorted(maps.Keys(config)); !slices.Equal(got, want) {
		t.Errorf("keys of the configuration = %q, want %q", got, want)
	}
}

// TestDocumentedValues checks that the values in docs/deployment render manifests that Kubernetes
// accepts, with a configuration that loads.
func TestDocumentedValues(t *testing.T) {
	t.Parallel()
	need(t, "helm", "kubectl-validate")
	m := render(t, "-f", documentedFile(t, "kubernetes.md", "values.yaml"))
	text := m.at(t, "Secret/release-s3redirect", "stringData.config|yaml")
	loads(t, text, "ADMIN_TOKEN="+adminToken)
	if got := m.at(t, "Ingress", "spec.rules.0.host"); got != "app.example.com" {
		t.Errorf("the ingress has the host %s, want app.example.com", got)
	}
}
