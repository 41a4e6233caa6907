package check

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

// TestNoFaults checks that all steps of a world without faults are ok.
func TestNoFaults(t *testing.T) {
	w := newWorld()
	steps, ok := w.check(t)
	var names []string
	for _, s := range steps {
		names = append(names, s.Name)
		if s.Verdict != OK {
			t.Errorf("%s is %s, want ok: %+v", s.Name, s.Verdict, s)
		}
	}
	const want = "configuration credentials clock assume_role external_id session region " +
		"get range head head_by_get signature_age versions url_size cors cors csp"
	if got := strings.Join(names, " "); got != want || !ok {
		t.Errorf("Run = %v with the steps %s, want true with %s", ok, got, want)
	}
	// One call with the external ID, one without it.
	if calls := w.cloud.Calls().AssumeRole; calls != 2 {
		t.Errorf("%d calls of AssumeRole, want 2", calls)
	}
	const origin = "https://photos.s3.eu-central-1.amazonaws.com"
	if csp := steps[len(steps)-1].Reason; !strings.Contains(csp, origin) {
		t.Errorf("csp = %q, want %s in it", csp, origin)
	}
}

// TestTimeout checks that a server that does not answer delays the check only until the timeout.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.Clock = time.Now
		block := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		w.Transport = fakeaws.InMemory{Handler: http.HandlerFunc(block)}
		steps, ok := w.check(t)
		if s := steps[1]; ok || s.Name != "credentials" ||
			!strings.Contains(s.Reason, "did not answer within 15s") ||
			!strings.Contains(s.Remedy, "firewall") {
			t.Errorf("Run = %v with %+v, want false with a timeout of credentials", ok, s)
		}
		for _, s := range steps {
			checkText(t, s)
		}
	})
}

// TestNoCredentials checks that the remedy depends on where credentials were expected.
func TestNoCredentials(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID",
		"AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN",
		"AWS_PROFILE",
		"AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	check := func(reason, remedy string) {
		t.Helper()
		w := newWorld()
		w.replace("    access_key_id: "+key+"\n    secret_access_key: "+secret+"\n", "")
		steps, ok := w.check(t)
		if s := steps[1]; ok || s.Name != "credentials" ||
			!strings.Contains(s.Reason, reason) || !strings.Contains(s.Remedy, remedy) {
			t.Errorf("Run = %v with %+v, want false with credentials, %q, %q",
				ok, s, reason, remedy)
		}
		if s := steps[2]; s.Name != "assume_role" || s.Verdict != Skipped {
			t.Errorf("next step = %+v, want assume_role skipped", s)
		}
	}
	check("no credentials found", "AWS_ACCESS_KEY_ID")
	t.Setenv("AWS_ROLE_ARN", roleARN)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", home+"/missing")
	check("web identity", "policy trust --web-identity-provider")
}

func TestOptions(t *testing.T) {
	w := newWorld()
	w.integration += "  - {name: other, bucket: scans, region: eu-central-1, " +
		"access_key_id: AKIA, secret_access_key: s}\n"
	w.Integrations = []string{"lab"}
	steps, _ := w.check(t)
	for _, s := range steps {
		if s.Integration == "other" {
			t.Errorf("step of an integration that is not chosen: %+v", s)
		}
	}
	for _, c := range []struct {
		edit func(*Options)
		want string
	}{
		{
			func(o *Options) { o.Integrations = []string{"none"} },
			"there is no integration none; the configuration has lab, other",
		},
		{
			func(o *Options) { o.Sample = &locator.Locator{Bucket: "scans", Key: "k"} },
			"integration other serves the sample, s3://scans/k, and is not checked",
		},
		{
			func(o *Options) { o.Sample = &locator.Locator{Bucket: "none", Key: "k"} },
			"none of these integrations serves the sample, s3://none/k",
		},
	} {
		o := w.Options
		c.edit(&o)
		if _, err := Run(context.Background(), o); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("Run = %v, want %q", err, c.want)
		}
	}
}

// TestWithoutSample checks that only the steps that need an object are skipped.
func TestWithoutSample(t *testing.T) {
	w := newWorld()
	w.Sample, w.Origin = nil, ""
	steps, ok := w.check(t)
	got := map[string]Verdict{}
	for _, s := range steps {
		got[s.Name] = s.Verdict
		checkText(t, s)
	}
	if !ok {
		t.Error("Run = false, want true")
	}
	for step, want := range map[string]Verdict{
		"read":        Skipped,
		"cors":        Skipped,
		"assume_role": OK,
		"region":      OK,
		"csp":         OK,
	} {
		if got[step] != want {
			t.Errorf("%s is %q, want %q", step, got[step], want)
		}
	}
}
