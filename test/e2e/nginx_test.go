package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nginxWith starts nginx with the content of its http block.
func nginxWith(t *testing.T, host, block string) *front {
	t.Helper()
	return nginxLogging(t, "warn", host, block)
}

// nginxLogging is nginxWith with a level of the error log.
func nginxLogging(t *testing.T, level, host, block string) *front {
	t.Helper()
	need(t, "nginx")
	dir := t.TempDir()
	asUs := ""
	if os.Geteuid() == 0 {
		asUs = "user root;" // by default its workers run as nobody, who cannot read this directory
	}
	text := fmt.Sprintf(`%[3]s daemon off; pid %[1]s/nginx.pid;
error_log stderr %[4]s; worker_processes 1;
events { worker_connections 256; }
http {
  access_log off; types { text/html html; image/png png; }
  proxy_cache_path %[1]s/cache keys_zone=cache:1m;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  %[2]s
}
`, dir, block, asUs, level)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startFront(t, dir, host, "nginx", "-e", "stderr", "-c", path)
}

// startNginx starts nginx with one server block that contains the given directives. values holds
// names and values in turn; each ${NAME} in block is replaced by the value of that name.
func startNginx(t *testing.T, block string, values ...string) *front {
	t.Helper()
	for i := 0; i+1 < len(values); i += 2 {
		block = strings.ReplaceAll(block, "${"+values[i]+"}", values[i+1])
	}
	host := freeAddress(t)
	return nginxWith(t, host, fmt.Sprintf("server { listen %s; %s }", host, block))
}

// cookieAuth answers auth_request subrequests: it identifies the viewer by the session cookie.
func cookieAuth(w http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie("session")
	if err != nil || !strings.HasPrefix(c.Value, "secret-of-") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	viewer := strings.TrimPrefix(c.Value, "secret-of-")
	if viewer != unnamed {
		w.Header().Set("X-Auth-Request-Email", viewer)
	}
	if groups := groupsOf[viewer]; groups != nil {
		w.Header().Set("X-Auth-Request-Groups", strings.Join(groups, ","))
	}
}

// unnamed is a viewer whom cookieAuth accepts without a name, as oauth2-proxy does on the paths of
// --skip-auth-route.
const unnamed = "unnamed"

// groupsOf maps viewers to their groups. Like oauth2-proxy, cookieAuth sends no groups header for a
// viewer without groups.
var groupsOf = map[string][]string{"dan": {"lab", "suspended"}, "eve": {"suspended"}}
