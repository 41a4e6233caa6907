package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nginxServer is a real nginx with one server block.
type nginxServer struct {
	*server
	address string
}

// startNginx starts nginx with the directives of its one server block; ${NAME}s in it are replaced by the values that follow,
// name and value in turn.
func startNginx(t *testing.T, block string, values ...string) *nginxServer {
	t.Helper()
	need(t, "nginx")
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	n := &nginxServer{address: fmt.Sprintf("127.0.0.1:%d", ports[0])}
	dir := t.TempDir()
	for i := 0; i+1 < len(values); i += 2 {
		block = strings.ReplaceAll(block, "${"+values[i]+"}", values[i+1])
	}
	asUs := ""
	if os.Geteuid() == 0 {
		asUs = "user root;" // its workers would be nobody, who cannot write here
	}
	conf := fmt.Sprintf(`
%[4]s daemon off; pid %[1]s/nginx.pid; error_log stderr warn; worker_processes 1;
events { worker_connections 256; }
http {
  access_log off;
  proxy_cache_path %[1]s/cache keys_zone=cache:1m;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server {
    listen %[2]s;
    %[3]s
  }
}
`, dir, n.address, block, asUs)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	if n.server, err = startServer(dir, "nginx", nil, "nginx", "-e", "stderr", "-c", path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.stop()
		if t.Failed() {
			t.Logf("nginx said:\n%s", n.output())
		}
	})
	if err := n.await("nginx", func() bool {
		resp, err := client.Get("http://" + n.address + "/is-it-there")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// cookieAuth is for auth_request: it knows who has which cookie.
func cookieAuth(w http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie("session")
	if err != nil || !strings.HasPrefix(c.Value, "secret-of-") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("X-Auth-Request-Email", strings.TrimPrefix(c.Value, "secret-of-"))
}
