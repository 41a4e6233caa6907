package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// imageDigest is the digest of an image.
var imageDigest = "sha256:" + strings.Repeat("0123456789abcdef", 4)

// podCases are values for the chart, beside the minimal ones, and what they make of the pods.
var podCases = map[string]struct {
	values string
	want   map[string]string // by kind and path
}{
	"defaults": {"{}", map[string]string{
		podContainer + "image":        "s3redirect:0.1.0",
		podContainer + "envFrom":      "<nil>",
		podContainer + "resources":    "map[limits:map[memory:257Mi] requests:map[cpu:100m memory:65Mi]]",
		pod + "priorityClassName":     "<nil>",
		pod + "initContainers.0.args": "[check --offline --config /etc/s3redirect/config.yaml]",
		pod + "initContainers.0.env":  "[" + releaseToken + "]",
		pod + "initContainers.0.volumeMounts": "[map[mountPath:/etc/s3redirect name:config " +
			"readOnly:true]]",
		pod + "initContainers.0.securityContext": "map[allowPrivilegeEscalation:false " +
			"capabilities:map[drop:[ALL]] readOnlyRootFilesystem:true]",
		// The default drain_delay of 5s and 35 seconds.
		pod + "terminationGracePeriodSeconds": "40",
	}},
	"no check": {"checkConfig: false", map[string]string{pod + "initContainers": "<nil>"}},
	"a digest": {"image: {digest: " + imageDigest + "}", map[string]string{
		podContainer + "image": "s3redirect@" + imageDigest,
	}},
	"a tag and a digest": {"image: {tag: v1, digest: " + imageDigest + "}", map[string]string{
		podContainer + "image": "s3redirect:v1@" + imageDigest,
	}},
	"security contexts": {`
podSecurityContext: {runAsUser: 1000, fsGroup: 2000}
securityContext: {seLinuxOptions: {type: web_t}, readOnlyRootFilesystem: null}`, map[string]string{
		pod + "securityContext": "map[fsGroup:2000 runAsNonRoot:true runAsUser:1000 " +
			"seccompProfile:map[type:RuntimeDefault]]",
		podContainer + "securityContext": "map[allowPrivilegeEscalation:false " +
			"capabilities:map[drop:[ALL]] seLinuxOptions:map[type:web_t]]",
	}},
	"volumes and variables": {`
envFrom: [{secretRef: {name: fleet}}]
extraVolumes: [{name: passwords, secret: {secretName: passwords}}]
extraVolumeMounts: [{name: passwords, mountPath: /etc/passwords, readOnly: true}]`, map[string]string{
		podContainer + "envFrom":        "[map[secretRef:map[name:fleet]]]",
		podContainer + "volumeMounts.1": "map[mountPath:/etc/passwords name:passwords readOnly:true]",
		pod + "volumes.1":               "map[name:passwords secret:map[secretName:passwords]]",
	}},
	// A label of the pods' selectors cannot be replaced.
	"labels": {`
podLabels: {team: media, app.kubernetes.io/name: other}
podAnnotations: {a: b}
priorityClassName: web`, map[string]string{
		"Deployment spec.template.metadata.labels.team":                   "media",
		"Deployment spec.template.metadata.labels.app|kubernetes|io/name": "s3redirect",
		"Deployment spec.template.metadata.annotations":                   "map[a:b]",
		"Deployment spec.selector.matchLabels.app|kubernetes|io/name":     "s3redirect",
		"Deployment spec.template.metadata.labels.helm|sh/chart":          "s3redirect-0.1.0",
		pod + "priorityClassName":                                         "web",
	}},
	"a long drain_delay": {"config: {drain_delay: 1m31.5s}", map[string]string{
		pod + "terminationGracePeriodSeconds": "127",
	}},
	"a short drain_delay": {"config: {drain_delay: 1h0m0s1500ms}", map[string]string{
		pod + "terminationGracePeriodSeconds": "3637",
	}},
	"no drain_delay": {"config: {drain_delay: 0s}", map[string]string{
		pod + "terminationGracePeriodSeconds": "35",
	}},
	"a grace period": {"terminationGracePeriodSeconds: 300", map[string]string{
		pod + "terminationGracePeriodSeconds": "300",
	}},
	"a large cache": {"config: {cache: {urls: 10000000}}", map[string]string{
		podContainer + "resources": "map[limits:map[memory:920Mi] requests:map[cpu:100m memory:728Mi]]",
	}},
	"memory": {"resources: {requests: {memory: 1Gi}, limits: {memory: 2Gi}}", map[string]string{
		podContainer + "resources": "map[limits:map[memory:2Gi] requests:map[cpu:100m memory:1Gi]]",
	}},
	"a path for viewers": {"ingress: {enabled: true, host: a.example, paths: [/s3/]}", map[string]string{
		"Ingress spec.rules.0.http.paths": "[map[backend:map[service:map[name:release-s3redirect " +
			"port:map[name:http]]] path:/s3/ pathType:Prefix]]",
	}},
}

// valuesFile writes values into a file, and returns its path.
func valuesFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestChartPods checks what values make of the pods.
func TestChartPods(t *testing.T) {
	t.Parallel()
	need(t, "helm", "kubectl-validate")
	for name, c := range podCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := render(t, "-f", minimal, "-f", valuesFile(t, c.values))
			for place, want := range c.want {
				kind, path, _ := strings.Cut(place, " ")
				if got := m.at(t, kind, path); got != want {
					t.Errorf("%s = %s, want %s", place, got, want)
				}
			}
		})
	}
}

// TestChartBudget checks that there is a disruption budget for two pods or more only. With one, it
// would keep the pod's node from being drained.
func TestChartBudget(t *testing.T) {
	t.Parallel()
	need(t, "helm", "kubectl-validate")
	for set, want := range map[string]bool{
		"replicas=1":                          false,
		"replicas=2":                          true,
		"replicas=1,autoscaling.enabled=true": true,
		"replicas=2,autoscaling.enabled=true,autoscaling.minReplicas=1": false,
		"replicas=2,podDisruptionBudget.enabled=false":                  false,
	} {
		m := render(t, "-f", minimal, "--set", set)
		if got := m["PodDisruptionBudget/release-s3redirect"] != nil; got != want {
			t.Errorf("%s: a disruption budget: %v, want %v", set, got, want)
		}
	}
}

// TestChartNames checks that the names of all objects follow the overrides.
func TestChartNames(t *testing.T) {
	t.Parallel()
	need(t, "helm", "kubectl-validate")
	for set, want := range map[string]struct{ name, app string }{
		"nameOverride=media":                         {"release-media", "media"},
		"nameOverride=release":                       {"release", "release"},
		"fullnameOverride=images":                    {"images", "s3redirect"},
		"fullnameOverride=images,nameOverride=media": {"images", "media"},
	} {
		m := render(t, "-f", everythingOn, "--set", set)
		for object := range m {
			_, name, _ := strings.Cut(object, "/")
			if name != want.name && name != want.name+"-admin" {
				t.Errorf("%s: %s, want the name %s", set, object, want.name)
			}
		}
		const label = "app|kubernetes|io/name"
		for kind, path := range map[string]string{
			"Deployment":              "spec.selector.matchLabels." + label,
			"NetworkPolicy":           "spec.podSelector.matchLabels." + label,
			"Service/" + want.name:    "spec.selector." + label,
			"Deployment/" + want.name: "spec.template.metadata.labels." + label,
			"ServiceMonitor":          "spec.selector.matchLabels." + label,
			"PodDisruptionBudget":     "metadata.labels." + label,
		} {
			if got := m.at(t, kind, path); got != want.app {
				t.Errorf("%s: %s %s = %s, want %s", set, kind, path, got, want.app)
			}
		}
		if got := m.at(t, "HTTPRoute", "spec.rules.0.backendRefs.0.name"); got != want.name {
			t.Errorf("%s: the route leads to %s, want %s", set, got, want.name)
		}
	}
}

// httpRoute has the fields of an HTTPRoute that the chart uses.
// https://gateway-api.sigs.k8s.io/reference/spec/#httproute
type httpRoute struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Spec struct {
		ParentRefs []struct {
			Group, Kind, Namespace, Name string
			SectionName                  string `yaml:"sectionName"`
			Port                         int
		} `yaml:"parentRefs"`
		Hostnames []string
		Rules     []struct {
			Matches []struct {
				Path struct{ Type, Value string }
			}
			BackendRefs []struct {
				Name string
				Port int
			} `yaml:"backendRefs"`
		}
	}
}

// checkHTTPRoute checks a rendered HTTPRoute: it has known fields only, and leads all of the
// viewers' paths to the service.
func checkHTTPRoute(t *testing.T, text string) {
	t.Helper()
	var r httpRoute
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil {
		t.Errorf("HTTPRoute: %v", err)
	}
	if r.APIVersion != "gateway.networking.k8s.io/v1" || r.Metadata.Name == "" ||
		len(r.Spec.ParentRefs) == 0 || r.Spec.ParentRefs[0].Name == "" || len(r.Spec.Rules) != 1 {
		t.Fatalf("HTTPRoute = %+v, want a version, a name, a parent and one rule", r)
	}
	rule := r.Spec.Rules[0]
	var paths []string
	for _, m := range rule.Matches {
		paths = append(paths, m.Path.Type+" "+m.Path.Value)
	}
	if want := []string{"PathPrefix /s3/", "Exact /presign", "Exact /link"}; !slices.Equal(paths, want) {
		t.Errorf("HTTPRoute: paths %q, want %q", paths, want)
	}
	if got := fmt.Sprint(rule.BackendRefs); got != "[{"+r.Metadata.Name+" 80}]" {
		t.Errorf("HTTPRoute: backends %s, want the service at port 80", got)
	}
}
