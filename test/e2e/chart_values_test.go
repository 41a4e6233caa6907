package e2e

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// badValues are values that the chart's schema rejects.
var badValues = []string{
	"replicas=0", "replicas=two", "nothing=here", "image.repository=", "image.pullPolicy=Sometimes",
	"config.listen=:80", "config.admin_listen=:1", "config.integrations=null",
	"config.viewers=null", "config.admin.token=", "existingSecret=a,existingConfigMap=b",
	"included.configMaps=a", "included.maps[0]=a",
	"adminToken=null", "adminToken.create=null", "adminToken.key=", "service.type=Magic",
	"service.port=0", "service.ipFamilyPolicy=Both", "service.ipFamilies[0]=IPv5",
	"ingress.enabled=true", "serviceMonitor.interval=often",
	"autoscaling.minReplicas=0", "autoscaling.targetCPUUtilizationPercentage=101",
	"podDisruptionBudget.minAvailable=-1", "podDisruptionBudget.minAvailable=half",
	"networkPolicy=null", "networkPolicy.enabled=null", "networkPolicy.enabled=perhaps",
	"networkPolicy.from=x", "networkPolicy.viewersFrom=null",
	"networkPolicy.viewersFrom=everyone",
	"image.digest=sha256:1", "nameOverride=Capitals", "fullnameOverride=-", "envFrom=a",
	"extraVolumes[0].secret.secretName=a", "extraVolumeMounts[0].name=a", "podLabels.a=null",
	"httpRoute.enabled=true", "httpRoute.enabled=true,httpRoute.hostnames[0]=a.example",
	"httpRoute.enabled=true,httpRoute.parentRefs[0].name=a", "httpRoute.paths[0]=s3",
	"ingress.paths[0]=s3", "terminationGracePeriodSeconds=0", "podSecurityContext=a",
	"securityContext=a", "priorityClassName=1",
}

// TestChartRejectsBadValues checks that the chart rejects mistakes, and combinations of values of
// which some would have no effect, and gives the reason.
func TestChartRejectsBadValues(t *testing.T) {
	t.Parallel()
	need(t, "helm")
	wantError := func(want string, args ...string) {
		t.Helper()
		if out, err := template(t, args...); err == nil || !strings.Contains(out, want) {
			t.Errorf("helm template %q: error %v, output %.300q, want an error with %q",
				args, err, out, want)
		}
	}
	for _, set := range badValues {
		wantError("values don't meet the specifications", "-f", minimal, "--set", set)
	}
	for set, want := range map[string]string{
		"existingSecret=a":            "config.viewers and config.integrations are not used",
		"existingConfigMap=a":         "config.viewers and config.integrations are not used",
		"serviceMonitor.enabled=true": "networkPolicy.adminFrom",
		"env[0].name=ADMIN_TOKEN":     "use adminToken.existingSecret",
		"config.admin.tls.cert_file=/tls.crt,config.admin.tls.key_file=/tls.key": "probes over http",
	} {
		wantError(want, "-f", minimal, "--set", set)
	}
	wantError("at '/config': missing properties 'viewers', 'integrations'")
	wantError("at '/config': missing property 'viewers'",
		"--set", "config.integrations[0].name=photos")
	wantError("at '/config': missing property 'integrations'",
		"--set", "config.viewers.anonymous=true")
}

// TestChartToken checks that the generated token is random and long enough, and that an upgrade
// keeps the token that the cluster has.
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
			answer = `{"kind": "Secret", "apiVersion": "v1",
				"metadata": {"name": "release-s3redirect-admin"},
				"data": {"token": "` + kept + `"}}`
		default:
			w.WriteHeader(http.StatusNotFound)
			answer = `{"kind": "Status", "apiVersion": "v1", "status": "Failure",
				"reason": "NotFound", "code": 404}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(cluster.Close)
	token := func(release string, args ...string) string {
		t.Helper()
		out, err := program(t, append([]string{
			"helm", "template", release, chart, "-f", minimal,
			"--kube-version", "1.33.0", "--show-only", "templates/admintoken.yaml",
		}, args...)...)
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
		t.Errorf("the token has %d bytes, want at least 32 (decoding error: %v)", len(first), err)
	}
	if second := token("release"); second == base64.StdEncoding.EncodeToString(first) {
		t.Error("two installations have the same token")
	}
	online := []string{"--dry-run=server", "--kube-apiserver", cluster.URL}
	if got := token("release", online...); got != kept {
		t.Errorf("token after an upgrade = %s, want the cluster's %s", got, kept)
	}
	if got := token("another", online...); got == kept {
		t.Errorf("token of another release = %s, want a different one", got)
	}
}
