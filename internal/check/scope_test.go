package check

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

// withPrefix narrows the integration to the sample's folder.
func withPrefix(w *world) {
	w.replace("    bucket: photos\n", "    bucket: photos\n    prefix: a/\n")
	w.replace("bucket: photos, ", "bucket: photos, prefix: a/, ") // useStaticKeys
}

// scopeFaults are sessions that can read more than the prefix.
var scopeFaults = []faultTest{
	{
		"the role can read outside the prefix",
		func(_ *testing.T, w *world) {
			withPrefix(w)
			w.replace("    region:", "    session_policy: false\n    region:")
		},
		"scope", Warning, "a request for a key outside the prefix is not denied",
		"Set session_policy: true, or limit the role's policy",
	},
	{
		"the keys can read outside the prefix",
		func(_ *testing.T, w *world) {
			w.user.Buckets = []string{"photos"}
			w.useStaticKeys(key, secret)
			withPrefix(w)
		},
		"scope", Warning, "a request for a key outside the prefix is not denied",
		"policy access --integration lab",
	},
	{
		"the role can read outside the prefix, and S3 does not reveal missing keys",
		func(_ *testing.T, w *world) {
			withPrefix(w)
			w.role.List = false
			w.replace("    region:", "    session_policy: false\n    region:")
		},
		"scope", Skipped, "denies requests for missing keys under the prefix, too", "",
	},
	{
		"the role cannot read outside the prefix",
		func(t *testing.T, w *world) {
			withPrefix(w)
			w.replace("    region:", "    session_policy: false\n    region:")
			storeAnswers(func(rw http.ResponseWriter, r *http.Request) {
				switch key := strings.TrimPrefix(r.URL.Path, "/photos/"); {
				case !strings.HasPrefix(key, "a/"):
					rw.WriteHeader(http.StatusForbidden)
				case key != w.Sample.Key:
					rw.WriteHeader(http.StatusNotFound)
				}
			})(t, w)
		},
		"scope", OK, "a request for a key outside the prefix is denied", "",
	},
	{
		"the store ignores session policies",
		func(t *testing.T, w *world) {
			withPrefix(w)
			storeAnswers(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Length", "0")
			})(t, w)
		},
		"scope", Warning, "a session for another prefix can read the sample",
		"policy access --integration lab",
	},
	{
		"no session for another prefix",
		func(_ *testing.T, w *world) {
			withPrefix(w)
			w.cloud.Intercept(func(c *fakeaws.AssumeRoleCall) error {
				if strings.Contains(c.Policy, checkFolder) {
					return &fakeaws.Fault{Status: 503, Code: "ServiceUnavailable", Message: "later"}
				}
				return nil
			})
		},
		"scope", Skipped, "STS did not answer", "",
	},
	{
		"blocked prefixes that do not fit",
		func(_ *testing.T, w *world) {
			w.replace("    bucket: photos\n", "    bucket: photos\n    blocked_prefixes: ["+
				strings.Repeat("x", 1000)+"/, "+strings.Repeat("y", 1000)+"/]\n")
		},
		"session", Warning, "the session may read the blocked prefixes", "fewer and shorter",
	},
}

// TestScope checks that a session for another prefix cannot read the sample.
func TestScope(t *testing.T) {
	w := newWorld()
	withPrefix(w)
	steps, ok := w.check(t)
	for _, s := range steps {
		if s.Name != "scope" {
			continue
		}
		if !ok || s.Verdict != OK || !strings.Contains(s.Reason, "a session for another prefix") {
			t.Errorf("Run = %v with %+v, want scope to be ok", ok, s)
		}
		return
	}
	t.Errorf("there is no step scope in %+v", steps)
}

// TestSampleOutsidePrefix checks that a sample that cannot be read is explained.
func TestSampleOutsidePrefix(t *testing.T) {
	w := newWorld()
	withPrefix(w)
	w.replace("    prefix: a/\n", "    prefix: a/\n    blocked_prefixes: [a/raw/]\n")
	w.integration += "  - {name: other, bucket: photos, prefix: b/, region: eu-central-1, " +
		"access_key_id: AKIA, secret_access_key: s}\n"
	w.check(t)
	for _, c := range []struct {
		key, want    string
		integrations []string
	}{
		{"c/photo.jpg", "is under none of the prefixes of bucket photos: a/ of lab, b/ of other", nil},
		{"photo.jpg", "is under none of the prefixes of bucket photos: a/ of lab, b/ of other", nil},
		{"b/x", "other serves the sample, s3://photos/b/x, and is not checked", []string{"lab"}},
		{"a/raw/x", "integration lab blocks the sample", nil},
		{"/a/x", "a store may serve the sample, s3://photos//a/x, for another key", nil},
	} {
		o := w.Options
		o.Sample = &locator.Locator{Bucket: "photos", Key: c.key}
		o.Integrations = c.integrations
		if _, err := Run(context.Background(), o); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("Run with the sample %s = %v, want %q", c.key, err, c.want)
		}
	}
}

// TestSampleHint checks that the command for a sample names the prefix.
func TestSampleHint(t *testing.T) {
	w := newWorld()
	withPrefix(w)
	w.Sample = nil
	steps, _ := w.check(t)
	for _, s := range steps {
		if s.Name == "read" && !strings.Contains(s.Reason, "--sample s3://photos/a/key") {
			t.Errorf("read = %+v, want a sample under the prefix", s)
		}
	}
}
