package check

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/demo"
	"s3redirect/internal/locator"
)

// Where everything is right, every step says so.
func TestAllIsWell(t *testing.T) {
	w := newWorld()
	steps, sound := w.check(t)
	var names []string
	for _, s := range steps {
		names = append(names, s.Name)
		if s.Verdict != OK {
			t.Errorf("%+v", s)
		}
	}
	const want = "configuration credentials clock assume_role external_id session region get range head head_by_get versions url_size cors cors csp"
	if got := strings.Join(names, " "); got != want || !sound {
		t.Errorf("sound %v: %s", sound, got)
	}
	calls := w.cloud.Calls()
	if calls.AssumeRole != 2 { // with the external ID, and without
		t.Errorf("AssumeRole was called %d times", calls.AssumeRole)
	}
	if last := steps[len(steps)-1].Reason; !strings.Contains(last, "https://photos.s3.eu-central-1.amazonaws.com") {
		t.Error(last)
	}
}

// A server that says nothing holds the check up for so long, and no longer.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.Clock = time.Now
		w.Transport = demo.InMemory{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		steps, sound := w.check(t)
		if s := steps[1]; sound || s.Name != "credentials" || !strings.Contains(s.Reason, "did not answer within 15s") || !strings.Contains(s.Remedy, "firewall") {
			t.Errorf("%+v", s)
		}
		for _, s := range steps {
			wantPlain(t, s)
		}
	})
}

// Without credentials of our own, the remedy depends on where they were to come from.
func TestNoCredentials(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	check := func(reason, remedy string) {
		t.Helper()
		w := newWorld()
		w.change("    access_key_id: "+key+"\n    secret_access_key: "+secret+"\n", "")
		steps, sound := w.check(t)
		if s := steps[1]; sound || s.Name != "credentials" || !strings.Contains(s.Reason, reason) || !strings.Contains(s.Remedy, remedy) {
			t.Errorf("%+v", s)
		}
		if steps[2].Name != "assume_role" || steps[2].Verdict != Skipped {
			t.Errorf("%+v", steps[2])
		}
	}
	check("there are no credentials of our own", "AWS_ACCESS_KEY_ID")
	t.Setenv("AWS_ROLE_ARN", roleARN)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", home+"/missing")
	check("web identity", "policy trust --web-identity-provider")
}

func TestOptions(t *testing.T) {
	w := newWorld()
	w.text += "  - {name: other, bucket: scans, region: eu-central-1, access_key_id: AKIA, secret_access_key: s}\n"
	w.Integrations = []string{"lab"}
	steps, _ := w.check(t)
	for _, s := range steps {
		if s.Integration == "other" {
			t.Errorf("not asked for: %+v", s)
		}
	}
	for name, mend := range map[string]func(*Options){
		"there is no integration nobody; there are lab, other": func(o *Options) { o.Integrations = []string{"nobody"} },
		"none of these integrations serves the bucket":         func(o *Options) { o.Sample = &locator.Locator{Bucket: "scans", Key: "k"} },
	} {
		o := w.Options
		mend(&o)
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
}

// Without a sample nothing is read, and the rest is tried.
func TestWithoutASample(t *testing.T) {
	w := newWorld()
	w.Sample, w.Origin = nil, ""
	steps, sound := w.check(t)
	verdicts := map[string]Verdict{}
	for _, s := range steps {
		verdicts[s.Name] = s.Verdict
		wantPlain(t, s)
	}
	if !sound || verdicts["read"] != Skipped || verdicts["cors"] != Skipped || verdicts["assume_role"] != OK || verdicts["region"] != OK || verdicts["csp"] != OK {
		t.Errorf("%v", verdicts)
	}
}
