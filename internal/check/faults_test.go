package check

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"s3redirect/internal/fakeaws"
)

// faultTest is a world with one fault, and the step that reports it.
type faultTest struct {
	name    string
	inject  func(t *testing.T, w *world)
	step    string
	verdict Verdict
	reason  string // part of the step's reason
	remedy  string // part of the step's remedy
}

// assumeRoleFails lets AssumeRole fail with an error response.
func assumeRoleFails(status int, code, message string) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		w.cloud.Intercept(func(*fakeaws.AssumeRoleCall) error {
			return &fakeaws.Fault{Status: status, Code: code, Message: message}
		})
	}
}

// stsFails lets STS answer all requests with an error response.
func stsFails(status int, code, message string) func(*testing.T, *world) {
	const body = "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code>" +
		"<Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>"
	return func(t *testing.T, w *world) {
		w.useStore(newServer(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			fmt.Fprintf(rw, body, code, message)
		}).URL)
	}
}

// storeFails lets the store answer all requests with an error response, except those for a bucket's
// region.
func storeFails(status int, code, message string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		w.moveStore(t, newServer(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodOptions && r.URL.RawQuery == "" {
				return
			}
			rw.WriteHeader(status)
			fmt.Fprintf(rw, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
		}).URL)
	}
}

// storeAnswers lets the store answer all requests with f.
func storeAnswers(f http.HandlerFunc) func(*testing.T, *world) {
	return func(t *testing.T, w *world) { w.moveStore(t, newServer(t, f).URL) }
}

// withCORS sets the bucket's CORS rule, changed by edit.
func withCORS(edit func(*fakeaws.CORS)) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		rule := &fakeaws.CORS{
			Origins: []string{"*"},
			Methods: []string{"GET", "HEAD"},
			Headers: []string{"*"},
			Expose:  []string{"Content-Range", "Content-Length", "Accept-Ranges", "ETag"},
		}
		edit(rule)
		w.cloud.SetCORS("photos", rule)
	}
}

func TestFaults(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, c := range slices.Concat(stsFaults, storeFaults, corsFaults, configFaults,
		redisFaults, viewerFaults, scopeFaults) {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			c.inject(t, w)
			steps, ok := w.check(t)
			found, failed := false, false
			for _, s := range steps {
				failed = failed || s.Verdict == Failed
				found = found || s.Name == c.step && s.Verdict == c.verdict &&
					strings.Contains(s.Reason, c.reason) && strings.Contains(s.Remedy, c.remedy)
				checkText(t, s)
			}
			if ok == failed {
				t.Errorf("Run = %v, want %v", ok, !failed)
			}
			if !found {
				t.Errorf("no step %s %s with the reason %q and the remedy %q; got:",
					c.step, c.verdict, c.reason, c.remedy)
				for _, s := range steps {
					t.Logf("%s %s: %s → %s", s.Name, s.Verdict, s.Reason, s.Remedy)
				}
			}
		})
	}
}

// checkText checks that a step has a reason, that exactly warnings and failures have a remedy, and
// that the texts contain no secrets and no bare Go or SDK errors.
func checkText(t *testing.T, s Step) {
	t.Helper()
	if s.Reason == "" {
		t.Errorf("%+v has no reason", s)
	}
	if got, want := s.Remedy != "", s.Verdict == Failed || s.Verdict == Warning; got != want {
		t.Errorf("%+v has a remedy: %v, want %v", s, got, want)
	}
	for _, text := range []string{
		"operation error", "response error", "StatusCode", "RequestID", "X-Amz-Signature",
		"X-Amz-Security-Token", "canary", "goroutine", "0x", "UnknownError", "dial tcp", "%!",
	} {
		if strings.Contains(s.Reason+s.Remedy, text) {
			t.Errorf("%+v contains %q", s, text)
		}
	}
}
