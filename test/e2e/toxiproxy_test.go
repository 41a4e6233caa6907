package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// toxiproxy is a real toxiproxy server that all tests share. Its api is the URL of its API.
type toxiproxy struct{ api string }

var startedToxiproxy = sync.OnceValues(func() (*toxiproxy, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	s, err := startServer(workDir, "toxiproxy", nil,
		"toxiproxy-server", "-host", "127.0.0.1", "-port", fmt.Sprint(ports[0]))
	if err != nil {
		return nil, err
	}
	x := &toxiproxy{api: fmt.Sprintf("http://127.0.0.1:%d", ports[0])}
	return x, s.await("toxiproxy", func() bool { return answersOK(x.api + "/version") })
})

// call sends a request to toxiproxy's API and returns the decoded response.
func (x *toxiproxy) call(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, x.api+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(client.Do(req))
	if err != nil || a.status >= 300 {
		t.Fatalf("%s %s: error %v, response %+v", method, path, err, a)
	}
	var answer map[string]any
	if len(a.body) > 0 {
		if err := json.Unmarshal(a.body, &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

// cause makes the connections of one of toxiproxy's proxies fail, and returns a function that
// repairs them.
func (x *toxiproxy) cause(t *testing.T, name string, f *fault) (repair func()) {
	t.Helper()
	if f.down {
		enable := func(enabled bool) {
			x.call(t, http.MethodPost, "/proxies/"+name, map[string]any{"enabled": enabled})
		}
		enable(false)
		return func() { enable(true) }
	}
	x.call(t, http.MethodPost, "/proxies/"+name+"/toxics", map[string]any{
		"name":       "it",
		"type":       f.toxic,
		"stream":     "downstream",
		"attributes": f.attributes,
	})
	return func() { x.call(t, http.MethodDelete, "/proxies/"+name+"/toxics/it", nil) }
}
