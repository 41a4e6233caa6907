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

	"s3redirect/internal/onboard"
	"s3redirect/metrics"
)

// The charts' samples are of the last ten minutes, and no more are kept.
func TestOverview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testFile)
		ctx, cancel := context.WithCancel(t.Context())
		go w.Sample(ctx)
		i := w.metrics.Integration("lab")
		for range 200 {
			i.Request("GET", 302)
			i.URLs.Count(true)
			time.Sleep(sampleInterval)
			synctest.Wait()
		}
		cancel()
		w.state.Refused, w.state.Problem = time.Now(), "config.yaml:3: tls: it is wrong"
		var o overviewAnswer
		w.get("/api/overview").into(t, &o)
		last := o.Samples[len(o.Samples)-1]
		if len(o.Samples) != maxSamples || last.At-o.Samples[0].At != 600_000 ||
			last.Redirects != 200 || o.Samples[0].Redirects != 80 {
			t.Errorf("%d samples, from %+v to %+v", len(o.Samples), o.Samples[0], last)
		}
		if o.Total != (metrics.Counts{Requests: 200, Redirects: 200, URLHits: 200}) ||
			o.Now-o.Started != 1_000_000 || o.File != w.path || o.Integrations != 2 ||
			o.Problem == "" || o.Refused != o.Now || o.Read != o.Started {
			t.Errorf("%+v", o)
		}
		synctest.Wait()
	})
}

// A card says how an integration stands, and keeps its keys to itself.
func TestIntegrations(t *testing.T) {
	w := newWorld(t, testFile)
	if b, ok := w.set.Find("photos", time.Now()); !ok {
		t.Fatal("nobody serves photos")
	} else if _, _, err := b.Integration.Window(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	a := w.get("/api/integrations")
	var got integrationsAnswer
	a.into(t, &got)
	if len(got.Integrations) != 2 || strings.Contains(a.body, testKey) {
		t.Fatal(a.body)
	}
	keys, lab := got.Integrations[0], got.Integrations[1]
	if lab.Name != "lab" || !lab.Scoped || lab.Buckets[0] != "photos" ||
		lab.RoleARN != roleARN || lab.ExternalID != "id-0123456789" ||
		lab.SessionDuration != "1h" || lab.URLLifetime != "45m" ||
		lab.Result != "ok" || lab.Asked == 0 || lab.Expires <= got.Now || lab.Static ||
		lab.Counts.CredentialMisses != 1 || !lab.Editable || lab.Line != 2 ||
		lab.File != filepath.Join(w.folder(), "lab.yaml") {
		t.Errorf("%+v", lab)
	}
	if !keys.Static || keys.Expires != 0 ||
		keys.Asked != 0 || keys.Endpoint == "" || keys.SessionDuration != "" || keys.Editable ||
		keys.File != w.path || keys.Line == 0 {
		t.Errorf("%+v", keys)
	}
	// A role that is refused: what STS said is told.
	w.write(strings.Replace(testFile, "id-0123456789", "another-id", 1))
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	b, _ := w.set.Find("photos", time.Now())
	if _, _, err := b.Integration.Window(t.Context(), time.Now()); err == nil {
		t.Fatal("a session with the wrong external ID")
	}
	w.get("/api/integrations").into(t, &got)
	if lab = got.Integrations[1]; lab.Result != "denied" ||
		!strings.Contains(lab.Problem, "AccessDenied") || lab.RetryAt <= got.Now {
		t.Errorf("%+v", lab)
	}
}

type documentsAnswer struct {
	Documents []documentAnswer
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
				t.Errorf("%+v", doc)
			}
		}
		return all
	}
	d, _ := ask(map[string]any{"name": "lab", "format": "json", "kinds": []string{"access", "trust"}})
	if kinds(d) != "access trust " || d.Documents[0].Text == "" || d.Documents[1].Text != "" ||
		!strings.Contains(d.Documents[1].Error, "sign in to look up") {
		t.Errorf("for a client that is not signed in: %+v, want the access policy, and no call to STS", d)
	}
	w.signInAs("ann")
	d, _ = ask(map[string]any{"name": "lab", "format": "json"})
	if kinds(d) != "access trust cors assume " ||
		!strings.Contains(d.Documents[1].Text, `"arn:aws:iam::123456789012:user/proxy"`) ||
		!strings.Contains(d.Documents[1].Text, `"id-0123456789"`) ||
		!strings.Contains(d.Documents[0].Text, `"arn:aws:s3:::photos/*"`) ||
		!strings.Contains(d.Documents[2].Text, "https://media.example.com") {
		t.Errorf("%+v", d)
	}
	if d, _ = ask(map[string]any{"name": "lab",
		"format":    "terraform",
		"principal": "arn:aws:iam::210987654321:role/other"}); kinds(d) != "role access trust cors assume " ||
		!strings.Contains(d.Documents[0].Text, `resource "aws_iam_role"`) ||
		!strings.Contains(d.Documents[0].Text, "210987654321:role/other") {
		t.Errorf("%+v", d)
	}
	if d, _ = ask(map[string]any{"name": "keys", "format": "cloudformation"}); kinds(d) != "access cors " {
		t.Errorf("%+v", d)
	}
	if d, _ = ask(map[string]any{"name": "lab",
		"format": "cli", "kinds": []string{"cors"}}); kinds(d) != "cors " ||
		!strings.Contains(d.Documents[0].Text, "put-bucket-cors") {
		t.Errorf("%+v", d)
	}
	if d, _ = ask(map[string]any{"name": "lab",
		"format": "json", "principal": "*", "kinds": []string{"trust"}}); d.Documents[0].Error == "" ||
		d.Documents[0].Text != "" {
		t.Errorf("%+v", d)
	}
	for name, body := range map[string]map[string]any{
		"no such integration": {"name": "lad", "format": "json"}, "no such form": {"name": "lab", "format": "xml"},
		"not expected": {"name": "lab", "format": "json", "x": 1},
	} {
		if d, status := ask(body); status/100 != 4 || d.Error == "" {
			t.Errorf("%s: %d %+v", name, status, d)
		}
	}
}

// Whose role is not made yet has its documents all the same, and what is wrong with the rest is said by key.
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
		t.Errorf("%d %+v", status, d)
	}
	principal = "" // STS says who we are, and that is nobody in China
	if d, status = ask(true); status != http.StatusOK ||
		!strings.Contains(d.Documents[1].Error, "in partition aws, but the integration is in aws-cn") {
		t.Errorf("%d %+v", status, d)
	}
	if d, status := ask(false); status != http.StatusUnprocessableEntity ||
		!strings.Contains(d.Error, "role_arn is needed") {
		t.Errorf("%d %+v", status, d)
	}
	// Where the region is to be found, our principal tells the partition.
	draft["region"] = "auto"
	a := w.post("/api/documents", map[string]any{"change": map[string]any{"action": "add",
		"draft": draft}, "role_later": true, "format": "json", "principal": "arn:aws-cn:iam::123456789012:user/proxy"})
	if a.status != http.StatusOK || !strings.Contains(a.body, "arn:aws-cn:s3:::team-a/*") ||
		strings.Contains(a.body, `"error"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	draft["permitted_buckets"], draft["name"], draft["region"] = "photos", "lab", "Frankfurt"
	if d, status := ask(true); status != http.StatusUnprocessableEntity ||
		!strings.Contains(d.Keys["name"], "is the name of the integration") ||
		!strings.Contains(d.Keys["region"], "region") ||
		!strings.Contains(d.Keys["permitted_buckets"], "is a bucket of integration lab") {
		t.Errorf("%d %+v", status, d)
	}
	draft = map[string]string{"name": "new", "bucket": "fresh",
		"region": "us-east-1", "endpoint": "https://store.example.com", "access_key_id": "AKIA",
		"secret_access_key": "canary"}
	if d, status := ask(true); status != http.StatusUnprocessableEntity ||
		!strings.Contains(d.Keys["secret_access_key"], "environment variable") {
		t.Errorf("%d %+v", status, d)
	}
	if a := w.post("/api/documents", map[string]any{"change": map[string]any{"action": "remove",
		"name": "lab"}, "format": "json"}); a.status != http.StatusBadRequest {
		t.Errorf("what is removed: %d %s", a.status, a.body)
	}
	if w.file() != testFile {
		t.Error("the file has changed")
	}
}

// The forms ask what the terminal asks, and nothing of it is secret.
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
		t.Errorf("status %d, questions %+v, documents %+v", a.status, got.Questions, got.Documents)
	}
}

// An integration that is added without a name gets one after its first bucket.
func TestDefaultNameOfNewIntegrations(t *testing.T) {
	w := newWorld(t, testFile)
	w.signInAs("ann")
	change := map[string]any{"action": "add",
		"draft": map[string]string{"permitted_buckets": "team-* scans-2", "region": "us-east-1"}}
	var got struct{ Name string }
	a := w.post("/api/documents", map[string]any{"change": change, "role_later": true,
		"format": "json", "kinds": []string{}})
	if a.into(t, &got); a.status != http.StatusOK || got.Name != "team" {
		t.Errorf("status %d, name %q, want team: %s", a.status, got.Name, a.body)
	}
}

func TestTry(t *testing.T) {
	w := newWorld(t, testFile)
	ask := func(v url.Values) (a trialAnswer, status int) {
		r := w.get("/api/try?" + v.Encode())
		if r.status == http.StatusOK {
			r.into(t, &a)
		}
		return a, r.status
	}
	for _, locator := range []string{"s3://photos/a b/ü.jpg", "/s3/photos/a%20b/%C3%BC.jpg",
		" https://media.example.com/s3/photos/a%20b/%C3%BC.jpg?versionId=1 "} {
		a, status := ask(url.Values{"locator": {locator}, "user": {" ann "}, "groups": {"lab, staff,"}})
		if status != http.StatusOK || a.Locator != "s3://photos/a b/ü.jpg" ||
			a.URL != "https://media.example.com/s3/photos/a%20b/%C3%BC.jpg" || a.Why != "allowed to annlab|staff" ||
			!a.Allowed || !a.Hit || !a.Preview || a.MaxAge != 60 || a.Integration != "lab" {
			t.Errorf("%s: %d %+v", locator, status, a)
		}
	}
	if a, _ := ask(url.Values{"locator": {"s3://elsewhere/k.jpg"}}); a.Allowed || a.Preview || a.Integration != "" {
		t.Errorf("%+v", a)
	}
	for _, bad := range []string{"", "photos/a",
		"s3://photos", "s3://photos/../x", "/s3/photos/%zz", "javascript:/s3/photos/a",
		"https://media.example.com/other"} {
		if _, status := ask(url.Values{"locator": {bad}}); status != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, status)
		}
	}
}

// Without a public URL the proxy is where the browser sees the console, or where it listens.
func TestViewersURL(t *testing.T) {
	w := newWorld(t, strings.Replace(testFile, "public_url: https://media.example.com\n", "", 1))
	for _, c := range []struct{ listen, host, want string }{
		{"127.0.0.1:8080", "admin.example.com:9090", "http://127.0.0.1:8080"},
		{"[::]:8080", "admin.example.com:9090", "http://admin.example.com:8080"},
		{"0.0.0.0:80", "10.1.2.3", "http://10.1.2.3:80"}, {"[::]:8080", "[::1]:9090", "http://[::1]:8080"},
	} {
		w.state.Listen = c.listen
		var a trialAnswer
		w.send(http.MethodGet, "/api/try?locator=s3://photos/k", nil,
			func(r *http.Request) { r.Host = c.host }).into(t, &a)
		if a.URL != c.want+"/s3/photos/k" {
			t.Errorf("%+v: %s", c, a.URL)
		}
	}
}

// The preview may load the object, from the proxy and from the store, and nothing else; its texts are no HTML.
func TestPreview(t *testing.T) {
	w := newWorld(t, testFile)
	for key, tag := range map[string]string{"a.JPG": "<img ", "a.mp4": "<video ",
		"a.ogg": "<audio ", "a.pdf": "<iframe ", "a.html": "<iframe "} {
		a := w.get("/preview?locator=s3://photos/" + key)
		if a.status != http.StatusOK || !strings.Contains(a.body, tag) ||
			!strings.Contains(a.body, `src="https://media.example.com/s3/photos/`+key) ||
			strings.Contains(a.body, "sandbox") != (key == "a.html") {
			t.Errorf("%s: %d %s", key, a.status, a.body)
		}
		csp := a.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; ") ||
			!strings.Contains(csp, "img-src https://media.example.com https://store.example.com;") ||
			!strings.Contains(csp, "frame-ancestors 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", key, csp)
		}
	}
	a := w.get("/preview?" + url.Values{"locator": {`s3://photos/"><script>alert(1)</script>.jpg`}}.Encode())
	if a.status != http.StatusOK || strings.Contains(a.body, "<script>alert") ||
		strings.Count(a.body, "<script ") != 1 {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, bad := range []string{"s3://photos/archive.zip", "s3://elsewhere/a.jpg", "nothing"} {
		if a := w.get("/preview?locator=" + bad); a.status/100 != 4 || strings.Contains(a.body, "<") {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
}

// A check tells each step in a line, and the verdict in the last one.
func TestCheck(t *testing.T) {
	w := newWorld(t, testFile)
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
		t.Errorf("%v %v", steps, last)
	}
	if steps, last = ask(map[string]any{"name": "lab", "sample": "/s3/photos/nothing"}); last["sound"] != false ||
		!strings.HasPrefix(steps["get"], "failed: ") {
		t.Errorf("%v %v", steps, last)
	}
	for name, body := range map[string]map[string]any{
		"no such integration": {"name": "lad"},
		"no sample":           {"name": "lab", "sample": "photos"},
		"another's sample":    {"name": "lab", "sample": "s3://scans/k"},
		"no origin":           {"name": "lab", "origin": "app.example.com"}, "nothing": {},
	} {
		if _, last = ask(body); last["error"] == nil {
			t.Errorf("%s: %v", name, last)
		}
	}
	// As it would be after a change.
	if steps, last = ask(map[string]any{"change": map[string]any{"action": "change", "name": "lab",
		"draft": map[string]string{"external_id": "another-id"}}}); last["sound"] != false ||
		!strings.HasPrefix(steps["assume_role"], "failed: ") || w.file() != testFile {
		t.Errorf("%v %v", steps, last)
	}
	a := w.post("/api/check", map[string]any{"change": map[string]any{"action": "change",
		"name": "lab", "draft": map[string]string{"external_id": "another-id"}}})
	if !strings.Contains(a.body, "the document Trust policy, which the steps before show") ||
		strings.Contains(a.body, "s3redirect policy") {
		t.Errorf("remedies of what is in no file: %s", a.body)
	}
	if _, last = ask(map[string]any{"change": map[string]any{"action": "remove",
		"name": "lab"}}); last["error"] == nil {
		t.Errorf("what is removed: %v", last)
	}
	// Only so many at once: each calls STS.
	for range maxChecks {
		w.checks <- struct{}{}
	}
	if a := w.post("/api/check", map[string]any{"name": "lab"}); a.status != http.StatusTooManyRequests {
		t.Errorf("one too many: %d", a.status)
	}
}
