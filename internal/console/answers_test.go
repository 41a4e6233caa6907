package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/locator"
	"s3redirect/internal/onboard"
	"s3redirect/metrics"
)

// TestOverview checks the totals, and that the charts keep samples of the last ten minutes only.
func TestOverview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testFile)
		ctx, cancel := context.WithCancel(t.Context())
		go w.Sample(ctx)
		i := w.metrics.Integration("lab")
		for range 200 {
			i.Request(0, "GET", 302)
			i.URLs.Count(0, true)
			time.Sleep(sampleInterval)
			synctest.Wait()
		}
		cancel()
		w.state.Refused, w.state.Problem = time.Now(), "config.yaml:3: tls: invalid"
		var o overviewAnswer
		w.get("/api/overview").into(t, &o)
		last := o.Samples[len(o.Samples)-1]
		if len(o.Samples) != maxSamples || last.At-o.Samples[0].At != 600_000 ||
			last.Redirects != 200 || o.Samples[0].Redirects != 80 {
			t.Errorf("got %d samples from %+v to %+v, want %d of 10m, with 80 to 200 redirects",
				len(o.Samples), o.Samples[0], last, maxSamples)
		}
		if o.Total != (metrics.Counts{Requests: 200, Redirects: 200, URLHits: 200}) ||
			o.Now-o.Started != 1_000_000 || o.File != w.path || o.Integrations != 2 ||
			o.Problem == "" || o.Refused != o.Now || o.Read != o.Started {
			t.Errorf("overview = %+v, want 200 requests, 200 redirects and 200 URL hits in 1000s, "+
				"and the rejected configuration", o)
		}
		synctest.Wait()
	})
}

// A card shows the integration's state, but not its keys.
func TestIntegrations(t *testing.T) {
	w := newWorld(t, testFile)
	if b, ok := w.set.Find(locator.Locator{Bucket: "photos"}, time.Now()); !ok {
		t.Fatal("no integration serves photos")
	} else if _, _, err := b.Integration.Window(t.Context(), time.Now(), 0); err != nil {
		t.Fatal(err)
	}
	a := w.get("/api/integrations")
	var got integrationsAnswer
	a.into(t, &got)
	if len(got.Integrations) != 2 || strings.Contains(a.body, testKey) {
		t.Fatalf("got %s, want 2 integrations without keys", a.body)
	}
	keys, lab := got.Integrations[0], got.Integrations[1]
	if lab.Name != "lab" || !lab.Scoped || lab.Buckets[0] != "photos" ||
		lab.RoleARN != roleARN || lab.ExternalID != "id-0123456789" ||
		lab.SessionDuration != "1h" || lab.URLLifetime != "45m" ||
		lab.Result != "ok" || lab.Asked == 0 || lab.Expires <= got.Now || lab.Static ||
		lab.Counts.CredentialMisses != 1 || !lab.Editable || lab.Line != 2 ||
		lab.File != filepath.Join(w.folder(), "lab.yaml") {
		t.Errorf("card of lab = %+v, want its keys from lab.yaml, result ok and a session", lab)
	}
	if !keys.Static || keys.Expires != 0 ||
		keys.Asked != 0 || keys.Endpoint == "" || keys.SessionDuration != "" || keys.Editable ||
		keys.File != w.path || keys.Line == 0 {
		t.Errorf("card of keys = %+v, want a static read-only integration of %s", keys, w.path)
	}
	// If STS denies the role, the card shows the answer of STS.
	w.write(strings.Replace(testFile, "id-0123456789", "another-id", 1))
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	b, _ := w.set.Find(locator.Locator{Bucket: "photos"}, time.Now())
	if _, _, err := b.Integration.Window(t.Context(), time.Now(), 0); err == nil {
		t.Fatal("got a session with the wrong external ID, want an error")
	}
	w.get("/api/integrations").into(t, &got)
	if lab = got.Integrations[1]; lab.Result != "denied" ||
		!strings.Contains(lab.Problem, "AccessDenied") || lab.RetryAt <= got.Now {
		t.Errorf("card of lab = %+v, want result denied, AccessDenied and a later retry", lab)
	}
}

type documentsAnswer struct {
	Documents []documentAnswer
	KeysOnly  bool `json:"keys_only"`
	Error     string
	Keys      map[string]string
}

func TestDocuments(t *testing.T) {
	w := newWorld(t, testFile)
	ask := func(body map[string]any) (d documentsAnswer, status int) {
		a := w.post("/api/documents", body)
		a.into(t, &d)
		return d, a.status
	}
	kinds := func(d documentsAnswer) (all string) {
		for _, doc := range d.Documents {
			all += string(doc.Kind) + " "
			if doc.Title == "" || doc.Hint == "" || doc.Text == "" && doc.Error == "" {
				t.Errorf("document = %+v, want a title, a hint, and a text or an error", doc)
			}
		}
		return all
	}
	d, _ := ask(map[string]any{
		"name": "lab", "format": "json", "kinds": []string{"access", "trust"},
	})
	if kinds(d) != "access trust " || d.Documents[0].Text == "" || d.Documents[1].Text != "" ||
		!strings.Contains(d.Documents[1].Error, "sign in to look up") {
		t.Errorf("without a session: got %+v, want the access policy and no call to STS", d)
	}
	w.signInAs("ann")
	d, _ = ask(map[string]any{"name": "lab", "format": "json"})
	if kinds(d) != "access trust cors assume " ||
		!strings.Contains(d.Documents[1].Text, `"arn:aws:iam::123456789012:user/proxy"`) ||
		!strings.Contains(d.Documents[1].Text, `"id-0123456789"`) ||
		!strings.Contains(d.Documents[0].Text, `"arn:aws:s3:::photos/*"`) ||
		!strings.Contains(d.Documents[2].Text, "https://media.example.com") {
		t.Errorf("with a session: got %+v, want four documents of lab", d)
	}
	d, _ = ask(map[string]any{
		"name": "lab", "format": "terraform", "principal": "arn:aws:iam::210987654321:role/other",
	})
	if kinds(d) != "role access trust cors assume " ||
		!strings.Contains(d.Documents[0].Text, `resource "aws_iam_role"`) ||
		!strings.Contains(d.Documents[0].Text, "210987654321:role/other") {
		t.Errorf("in Terraform: got %+v, want five documents for the given principal", d)
	}
	if strings.Contains(d.Documents[0].Text, "sts:TagSession") {
		t.Errorf("without with_tags: got %s, want no sts:TagSession", d.Documents[0].Text)
	}
	d, _ = ask(map[string]any{"name": "lab", "format": "json", "with_tags": true})
	for _, n := range []int{1, 3} {
		if doc := d.Documents[n]; !strings.Contains(doc.Text, `"sts:TagSession"`) {
			t.Errorf("with_tags: document %s is %s, want sts:TagSession", doc.Kind, doc.Text)
		}
	}
	d, _ = ask(map[string]any{"name": "keys", "format": "cloudformation"})
	if kinds(d) != "access cors " || !d.KeysOnly {
		t.Errorf("without a role: got %+v, want keys_only, and the documents access and cors", d)
	}
	d, _ = ask(map[string]any{"name": "lab", "format": "cli", "kinds": []string{"cors"}})
	if kinds(d) != "cors " || !strings.Contains(d.Documents[0].Text, "put-bucket-cors") {
		t.Errorf("for the AWS CLI: got %+v, want a put-bucket-cors command", d)
	}
	d, _ = ask(map[string]any{
		"name": "lab", "format": "json", "principal": "*", "kinds": []string{"trust"},
	})
	if d.Documents[0].Error == "" || d.Documents[0].Text != "" {
		t.Errorf("for principal *: got %+v, want an error and no text", d)
	}
	for name, body := range map[string]map[string]any{
		"unknown integration": {"name": "lad", "format": "json"},
		"unknown format":      {"name": "lab", "format": "xml"},
		"unknown field":       {"name": "lab", "format": "json", "x": 1},
	} {
		if d, status := ask(body); status/100 != 4 || d.Error == "" {
			t.Errorf("%s: got status %d, %+v, want 4xx and an error", name, status, d)
		}
	}
}

// A draft has documents before its role exists. Errors in its other keys are reported by key.
func TestDocumentsOfADraft(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	draft := map[string]string{"name": "new", "permitted_buckets": "team-a  team-b*",
		"region": "cn-north-1", "external_id": "fresh-1"}
	principal := "arn:aws-cn:iam::123456789012:user/proxy"
	ask := func(later bool) (d documentsAnswer, status int) {
		a := w.post("/api/documents", map[string]any{"change": map[string]any{"action": "add",
			"draft": draft}, "role_later": later, "format": "json", "principal": principal})
		a.into(t, &d)
		return d, a.status
	}
	d, status := ask(true)
	if status != http.StatusOK || !strings.Contains(d.Documents[0].Text,
		`"arn:aws-cn:s3:::team-b*/*"`) || !strings.Contains(d.Documents[1].Text, `"fresh-1"`) {
		t.Errorf("without a role: got status %d, %+v, want 200 and both policies", status, d)
	}
	principal = "" // STS reports a principal in partition aws, not aws-cn
	if d, status = ask(true); status != http.StatusOK ||
		!strings.Contains(d.Documents[1].Error, "in partition aws, but the integration is in aws-cn") {
		t.Errorf("in another partition: got status %d, %+v, want 200 and an error", status, d)
	}
	if d, status := ask(false); status != http.StatusUnprocessableEntity ||
		!strings.Contains(d.Error, "role_arn is needed") {
		t.Errorf("without role_later: got status %d, %+v, want 422 for role_arn", status, d)
	}
	// With region auto, the partition comes from the principal.
	draft["region"] = "auto"
	a := w.post("/api/documents", map[string]any{
		"change":     map[string]any{"action": "add", "draft": draft},
		"role_later": true,
		"format":     "json",
		"principal":  "arn:aws-cn:iam::123456789012:user/proxy",
	})
	if a.status != http.StatusOK || !strings.Contains(a.body, "arn:aws-cn:s3:::team-a/*") ||
		strings.Contains(a.body, `"error"`) {
		t.Errorf("region auto: got status %d, %s, want 200 and ARNs in aws-cn", a.status, a.body)
	}
	draft["permitted_buckets"], draft["name"], draft["region"] = "photos", "lab", "Frankfurt"
	if d, status := ask(true); status != http.StatusUnprocessableEntity ||
		!strings.Contains(d.Keys["name"], "is the name of the integration") ||
		!strings.Contains(d.Keys["region"], "region") ||
		!strings.Contains(d.Keys["permitted_buckets"], "is a bucket of integration lab") {
		t.Errorf("got status %d, %+v, want 422 for name, region and permitted_buckets", status, d)
	}
	draft = map[string]string{"name": "new", "bucket": "fresh",
		"region": "us-east-1", "endpoint": "https://store.example.com", "access_key_id": "AKIA",
		"secret_access_key": "canary"}
	if d, status := ask(true); status != http.StatusUnprocessableEntity ||
		!strings.Contains(d.Keys["secret_access_key"], "environment variable") {
		t.Errorf("got status %d, %+v, want 422 for secret_access_key", status, d)
	}
	// One of S3's own hosts needs no other STS.
	draft = map[string]string{"name": "new", "bucket": "fresh", "region": "us-gov-west-1",
		"endpoint": "https://s3-fips.us-gov-west-1.amazonaws.com", "external_id": "fresh-1"}
	principal = "arn:aws-us-gov:iam::123456789012:user/proxy"
	if d, status := ask(true); status != http.StatusOK || d.KeysOnly ||
		!strings.Contains(d.Documents[0].Text, `"arn:aws-us-gov:s3:::fresh/*"`) ||
		!strings.Contains(d.Documents[1].Text, `"fresh-1"`) {
		t.Errorf("FIPS endpoint: got status %d, %+v, want 200 and both policies", status, d)
	}
	if a := w.post("/api/documents", map[string]any{"change": map[string]any{"action": "remove",
		"name": "lab"}, "format": "json"}); a.status != http.StatusBadRequest {
		t.Errorf("documents of a removal: got status %d, %s, want 400", a.status, a.body)
	}
	if w.file() != testFile {
		t.Error("the file has changed")
	}
}

// The forms ask the same questions as the terminal. They are readable without a session.
func TestQuestions(t *testing.T) {
	w := newWorld(t, testFile)
	var got struct {
		Questions []onboard.Question
		Documents []onboard.Document
	}
	a := w.get("/api/questions")
	a.into(t, &got)
	if a.status != http.StatusOK || !reflect.DeepEqual(got.Questions, onboard.Questions()) ||
		!reflect.DeepEqual(got.Documents, onboard.Documents()) {
		t.Errorf("got status %d, questions %+v, documents %+v, want 200 and those of onboard",
			a.status, got.Questions, got.Documents)
	}
}

// A new integration without a name is named after its first bucket.
func TestDefaultNameOfNewIntegrations(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	change := map[string]any{"action": "add",
		"draft": map[string]string{"permitted_buckets": "team-* scans-2", "region": "us-east-1"}}
	var got struct{ Name string }
	a := w.post("/api/documents", map[string]any{"change": change, "role_later": true,
		"format": "json", "kinds": []string{}})
	if a.into(t, &got); a.status != http.StatusOK || got.Name != "team" {
		t.Errorf("got status %d, name %q, want 200 and %q: %s", a.status, got.Name, "team", a.body)
	}
}

func TestTryParsesLocators(t *testing.T) {
	w := newWorld(t, testFile)
	ask := func(v url.Values) (a trialAnswer, status int) {
		r := w.get("/api/try?" + v.Encode())
		if r.status == http.StatusOK {
			r.into(t, &a)
		}
		return a, r.status
	}
	for _, locator := range []string{"s3://photos/a b/ü.jpg", "/s3/photos/a%20b/%C3%BC.jpg",
		" https://media.example.com/s3/photos/a%20b/%C3%BC.jpg?versionId=1 ",
		"https://media.example.com/s3/~ZXhwPTE/photos/a%20b/%C3%BC.jpg"} {
		a, status := ask(url.Values{
			"locator": {locator}, "user": {" ann "}, "groups": {"lab, staff,"},
		})
		if status != http.StatusOK || a.Locator != "s3://photos/a b/ü.jpg" ||
			a.URL != "https://media.example.com/s3/photos/a%20b/%C3%BC.jpg" ||
			a.Why != "allowed to annlab|staff" ||
			!a.Allowed || !a.Hit || !a.Preview || a.MaxAge != 60 || a.Integration != "lab" {
			t.Errorf("%s: got status %d, %+v, want 200 and a hit of lab", locator, status, a)
		}
	}
	a, _ := ask(url.Values{"locator": {"s3://elsewhere/k.jpg"}})
	if a.Allowed || a.Preview || a.Integration != "" {
		t.Errorf("a bucket without an integration: got %+v, want a denial without a preview", a)
	}
	for _, bad := range []string{"", "photos/a",
		"s3://photos", "s3://photos/../x", "/s3/photos/%zz", "javascript:/s3/photos/a",
		"https://media.example.com/other"} {
		if _, status := ask(url.Values{"locator": {bad}}); status != http.StatusBadRequest {
			t.Errorf("locator %q: got status %d, want 400", bad, status)
		}
	}
}

// Without public_url, links use the listener's address. A listener on every address is reached at
// the console's host.
func TestViewersURLWithoutPublicURL(t *testing.T) {
	w := newWorld(t, strings.Replace(testFile, "public_url: https://media.example.com\n", "", 1))
	for _, c := range []struct{ listen, host, want string }{
		{"127.0.0.1:8080", "admin.example.com:9090", "http://127.0.0.1:8080"},
		{"[::]:8080", "admin.example.com:9090", "http://admin.example.com:8080"},
		{"0.0.0.0:80", "10.1.2.3", "http://10.1.2.3:80"},
		{"[::]:8080", "[::1]:9090", "http://[::1]:8080"},
	} {
		w.state.Listen = c.listen
		var a trialAnswer
		w.send(http.MethodGet, "/api/try?locator=s3://photos/k", nil,
			func(r *http.Request) { r.Host = c.host }).into(t, &a)
		if want := c.want + "/s3/photos/k"; a.URL != want {
			t.Errorf("listen %s, Host %s: URL = %s, want %s", c.listen, c.host, a.URL, want)
		}
	}
}

// The preview may load the object from the proxy and the store, and nothing else. It escapes the
// locator.
func TestPreview(t *testing.T) {
	w := newWorld(t, testFile)
	for key, tag := range map[string]string{"a.JPG": "<img ", "a.mp4": "<video ",
		"a.ogg": "<audio ", "a.pdf": "<iframe ", "a.html": "<iframe "} {
		a := w.get("/preview?locator=s3://photos/" + key)
		if a.status != http.StatusOK || !strings.Contains(a.body, tag) ||
			!strings.Contains(a.body, `src="https://media.example.com/s3/photos/`+key) ||
			strings.Contains(a.body, "sandbox") != (key == "a.html") {
			t.Errorf("%s: got status %d, %s, want 200 and %s", key, a.status, a.body, tag)
		}
		csp := a.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; ") ||
			!strings.Contains(csp, "img-src https://media.example.com https://store.example.com;") ||
			!strings.Contains(csp, "frame-ancestors 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q, want only the proxy and the store", key, csp)
		}
	}
	markup := url.Values{"locator": {`s3://photos/"><script>alert(1)</script>.jpg`}}
	a := w.get("/preview?" + markup.Encode())
	if a.status != http.StatusOK || strings.Contains(a.body, "<script>alert") ||
		strings.Count(a.body, "<script ") != 1 {
		t.Errorf("markup: got status %d, %s, want 200 and it escaped", a.status, a.body)
	}
	for _, bad := range []string{"s3://photos/archive.zip", "s3://elsewhere/a.jpg", "nothing"} {
		a := w.get("/preview?locator=" + bad)
		if a.status/100 != 4 || strings.Contains(a.body, "<") {
			t.Errorf("locator %q: got status %d, %s, want 4xx without HTML", bad, a.status, a.body)
		}
	}
}

// The response to a check has a line for each step, and the verdict in the last line.
func TestCheck(t *testing.T) {
	// No viewers' listener runs, so there is no front to check.
	file := strings.Replace(testFile, "public_url: https://media.example.com\n", "", 1)
	w := newWorld(t, file)
	ask := func(body map[string]any) (steps map[string]string, last map[string]any) {
		a := w.post("/api/check", body)
		if a.status != http.StatusOK {
			a.into(t, &last)
			return nil, last
		}
		lines := strings.Split(strings.TrimSpace(a.body), "\n")
		steps = map[string]string{}
		for _, line := range lines {
			last = nil
			if err := json.Unmarshal([]byte(line), &last); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if step, ok := last["step"].(string); ok {
				steps[step] = fmt.Sprint(last["verdict"], ": ", last["reason"])
			}
		}
		return steps, last
	}
	w.signInAs("ann")
	steps, last := ask(map[string]any{"name": "lab", "sample": "s3://photos/a.jpg"})
	if last["sound"] != true || !strings.HasPrefix(steps["assume_role"], "ok: ") ||
		!strings.HasPrefix(steps["get"], "ok: ") {
		t.Errorf("got steps %v, verdict %v, want all ok", steps, last)
	}
	steps, last = ask(map[string]any{"name": "lab", "sample": "/s3/photos/nothing"})
	if last["sound"] != false || !strings.HasPrefix(steps["get"], "failed: ") {
		t.Errorf("a missing object: got steps %v, verdict %v, want get to fail", steps, last)
	}
	for name, body := range map[string]map[string]any{
		"unknown integration":             {"name": "lad"},
		"invalid sample":                  {"name": "lab", "sample": "photos"},
		"a sample of another integration": {"name": "lab", "sample": "s3://scans/k"},
		"invalid origin":                  {"name": "lab", "origin": "app.example.com"},
		"empty request":                   {},
	} {
		if _, last = ask(body); last["error"] == nil {
			t.Errorf("%s: got %v, want an error", name, last)
		}
	}
	// A check of a draft uses the draft's values.
	if steps, last = ask(map[string]any{"change": map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"external_id": "another-id"}}}); last["sound"] != false ||
		!strings.HasPrefix(steps["assume_role"], "failed: ") || w.file() != file {
		t.Errorf("a draft: got steps %v, verdict %v, want assume_role to fail", steps, last)
	}
	a := w.post("/api/check", map[string]any{"change": map[string]any{"action": "change",
		"name": "lab", "draft": map[string]string{"external_id": "another-id"}}})
	if !strings.Contains(a.body, "the document Trust policy, which the previous steps show") ||
		strings.Contains(a.body, "s3redirect policy") {
		t.Errorf("a draft: got %s, want a remedy that names the form's Trust policy", a.body)
	}
	if _, last = ask(map[string]any{"change": map[string]any{"action": "remove",
		"name": "lab"}}); last["error"] == nil {
		t.Errorf("a removal: got %v, want an error", last)
	}
	// Concurrent checks are bounded, because each calls STS.
	for range maxChecks {
		w.checks <- struct{}{}
	}
	a = w.post("/api/check", map[string]any{"name": "lab"})
	if a.status != http.StatusTooManyRequests {
		t.Errorf("with %d checks running: got status %d, want 429", maxChecks, a.status)
	}
}
