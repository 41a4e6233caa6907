package check

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"s3redirect/internal/fakeaws"
)

// limitAge makes the store reject signatures that are older than limit. It returns a function that
// returns the number of requests that it rejected or accepted for their age since the last call.
func (w *world) limitAge(limit time.Duration, reject http.HandlerFunc) (count func() int) {
	n := 0
	w.Transport = fakeaws.InMemory{Handler: http.HandlerFunc(
		func(rw http.ResponseWriter, r *http.Request) {
			at, err := time.Parse("20060102T150405Z", r.URL.Query().Get("X-Amz-Date"))
			age := w.Clock().Sub(at)
			if err == nil && age > 2*time.Second {
				n++
			}
			if err == nil && age > limit {
				reject(rw, r)
				return
			}
			w.serve(rw, r)
		})}
	return func() int { last := n; n = 0; return last }
}

func denyAge(rw http.ResponseWriter, _ *http.Request) {
	rw.WriteHeader(http.StatusForbidden)
	fmt.Fprint(rw, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
}

// The step finds the limit of a policy that denies old signatures with at most six requests. With
// the setting that it recommends, it succeeds.
func TestSignatureAge(t *testing.T) {
	recommended := regexp.MustCompile(`^Set (max_signature_age: \w+)\.`)
	for _, limit := range []time.Duration{
		90 * time.Second, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 44 * time.Minute,
	} {
		w := newWorld()
		count := w.limitAge(limit, denyAge)
		steps, ok := w.check(t)
		s := stepNamed(steps, "signature_age")
		m := recommended.FindStringSubmatch(s.Remedy)
		if n := count(); ok || s.Verdict != Failed || m == nil || n > maxAges {
			t.Errorf("limit %v: Run = %v after %d requests with %+v, want a failure with a setting after "+
				"at most %d", limit, ok, n, s, maxAges)
			continue
		}
		if s.Setting == nil || s.Setting.String() != m[1] {
			t.Errorf("limit %v: setting %v, want %s", limit, s.Setting, m[1])
		}
		w.replace("    region", "    "+m[1]+"\n    region")
		if steps, ok = w.check(t); !ok {
			t.Errorf("limit %v, %s: Run = false with %+v, want true", limit, m[1],
				stepNamed(steps, "signature_age"))
		}
	}
}

// answer returns a handler that answers with a status.
func answer(status int) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) }
}

func TestSignatureAgeWithoutASetting(t *testing.T) {
	for name, c := range map[string]struct {
		limit   time.Duration
		reject  http.HandlerFunc
		verdict Verdict
	}{
		"no limit":          {time.Hour, denyAge, OK},
		"only new ones":     {5 * time.Second, denyAge, Failed},
		"the store is down": {5 * time.Second, answer(http.StatusServiceUnavailable), Skipped},
		"an empty sample":   {5 * time.Second, answer(http.StatusRequestedRangeNotSatisfiable), OK},
	} {
		w := newWorld()
		count := w.limitAge(c.limit, c.reject)
		steps, _ := w.check(t)
		s := stepNamed(steps, "signature_age")
		checkText(t, s)
		if n := count(); s.Verdict != c.verdict || n > maxAges || s.Setting != nil {
			t.Errorf("%s: %+v after %d requests, want %s without a setting after at most %d", name, s, n,
				c.verdict, maxAges)
		}
	}
}

// stepNamed returns the first step with a name.
func stepNamed(steps []Step, name string) Step {
	for _, s := range steps {
		if s.Name == name {
			return s
		}
	}
	return Step{}
}
