package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"s3redirect/internal/viewer"
)

// One client with many slow bodies does not keep others from sending theirs. Clients are told apart
// by their IDs and, without IDs, by their addresses.
func TestOneClientCannotUseUpTheBudget(t *testing.T) {
	for name, c := range map[string]struct {
		options []worldOption
		// The addresses and user IDs of the client with the slow bodies and of another client.
		slowAddr, slowUser, addr, user string
	}{
		"addresses":      {nil, "192.0.2.1:%d", "", "192.0.2.2:1", ""},
		"IPv6 networks":  {nil, "[2001:db8::%x]:1", "", "[2001:db8:0:1::1]:1", ""},
		"users":          {[]worldOption{withViewers}, "10.0.0.1:%d", "ann", "10.0.0.1:1", "bob"},
		"one user's IPs": {[]worldOption{withViewers}, "10.0.%d.1:1", "ann", "10.0.0.1:1", "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.options...)
			w.bodies = newBudget(maxBodies / 8)
			serve := func(target, addr, user string, body io.Reader) *http.Response {
				r := httptest.NewRequest(http.MethodPost, "http://proxy.localhost/", body)
				r.RequestURI, r.RemoteAddr, r.ContentLength = target, addr, -1
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set(groupsHeader, "-")
				if user != "" {
					r.Header.Set(userHeader, user)
				}
				rec := httptest.NewRecorder()
				w.ServeHTTP(rec, r)
				return rec.Result()
			}
			hold, reading := make(chan struct{}), make(chan struct{})
			answered := make(chan *http.Response)
			slow := 0
			for n, size := range slowSizes() {
				text := batch(125, func(int) string { return strings.Repeat("x", size) })
				wait := readerFunc(func([]byte) (int, error) {
					reading <- struct{}{}
					<-hold
					return 0, io.EOF
				})
				body := io.MultiReader(strings.NewReader(text[:len(text)-1]), wait)
				go func() {
					answered <- serve("/presign", fmt.Sprintf(c.slowAddr, n+1), c.slowUser, body)
				}()
				select {
				case <-reading:
					slow++
				case resp := <-answered:
					wantCode(t, fmt.Sprintf("slow body %d", n), resp, 503, "overloaded")
				}
			}
			if slow < 6 {
				t.Errorf("%d slow bodies are in flight, want at least 6", slow)
			}
			full := batch(125, func(int) string { return strings.Repeat("x", 1040) })
			resp := serve("/presign", c.addr, c.user, strings.NewReader(full))
			if got := readURLs(t, resp); len(got) != 125 {
				t.Errorf("another client's batch: got %d results, want 125", len(got))
			}
			if c.user != "" {
				for _, user := range []string{c.user, c.slowUser} {
					link := fmt.Sprintf(`{"locator": "s3://bucket/users/%s/k"}`, user)
					resp := serve("/link", c.addr, user, strings.NewReader(link))
					if resp.StatusCode != http.StatusOK {
						t.Errorf("a link for %s: got %d, want 200", user, resp.StatusCode)
					}
				}
			}
			close(hold)
			for range slow {
				wantCode(t, "half a body", <-answered, 400, "bad_request")
			}
			wantReleased(t, w.bodies)
		})
	}
}

// wantReleased checks that nothing is held of a budget, and that no client is remembered.
func wantReleased(t *testing.T, b *budget) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held != 0 || len(b.clients) != 0 {
		t.Errorf("got %d bytes held, by %d clients; want none", b.held, len(b.clients))
	}
}

// A client may hold a quarter of a budget, and all clients the entire budget.
func TestBudget(t *testing.T) {
	g := &viewer.Gate{}
	client := func(id string) viewer.Client {
		return g.Client(&viewer.Viewer{ID: id}, viewer.NewRequest(httptest.NewRequest("GET", "/", nil)))
	}
	b := newBudget(103)
	for n, step := range []struct {
		id   string
		take int64 // negative: release
		want bool
	}{
		{"a", 26, false}, {"a", 25, true}, {"a", 1, false}, {"a", 0, true},
		{"b", 25, true}, {"c", 25, true}, {"d", 25, true},
		{"", 4, false}, {"", 3, true}, {"e", 1, false},
		{"a", -5, true}, {"a", 6, false}, {"e", 5, true}, {"a", 1, false},
		{"a", -20, true}, {"b", -25, true}, {"c", -25, true}, {"d", -25, true},
		{"e", 21, false}, {"e", -5, true}, {"", -3, true}, {"f", 0, true},
	} {
		if step.take < 0 {
			b.release(client(step.id), -step.take)
		} else if got := b.take(client(step.id), step.take); got != step.want {
			t.Errorf("step %d, %q takes %d: got %v, want %v", n, step.id, step.take, got, step.want)
		}
	}
	b.release(client("f"), 0)
	wantReleased(t, b)
}

// slowSizes returns the lengths of the locators of batches that leave no gap in a budget: a few
// large batches, then smaller ones.
func slowSizes() (sizes []int) {
	for _, size := range []int{3000, 300, 30} {
		for range 30 {
			sizes = append(sizes, size)
		}
	}
	return sizes
}
