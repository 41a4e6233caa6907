package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// apacheModules is where Debian installs Apache's modules.
const apacheModules = "/usr/lib/apache2/modules"

// apacheWith starts Apache with the modules that deploy/apache names, those in more, and the content
// of a virtual host.
func apacheWith(t *testing.T, host, virtualHost string, more ...string) *front {
	t.Helper()
	need(t, "apache2")
	dir := t.TempDir()
	user := ""
	if os.Geteuid() == 0 {
		user = "User www-data\nGroup www-data\n"
	}
	conf := readFile(t, "../../deploy/apache/s3redirect.conf")
	_, named, found := strings.Cut(conf, "a2enmod ")
	named, _, _ = strings.Cut(named, "\n")
	if !found {
		t.Fatal("deploy/apache/s3redirect.conf does not name its modules")
	}
	load := ""
	modules := append([]string{"mpm_event", "authz_core"}, strings.Fields(named)...)
	for _, name := range append(modules, more...) {
		load += fmt.Sprintf("LoadModule %[1]s_module %[2]s/mod_%[1]s.so\n", name, apacheModules)
	}
	text := fmt.Sprintf(`%[1]s%[2]s
ServerRoot %[3]s
DefaultRuntimeDir %[3]s
PidFile %[3]s/apache.pid
ErrorLog /dev/stderr
ServerName app.example.com
Listen %[4]s
<VirtualHost %[4]s>
%[5]s
</VirtualHost>
`, load, user, dir, host, virtualHost)
	path := filepath.Join(dir, "apache.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startFront(t, dir, host, "apache2", "-D", "FOREGROUND", "-f", path)
}

// behindShippedApache starts Apache with the shipped file, and with more directives in the virtual
// host.
func behindShippedApache(t *testing.T, p *proxy, more string, modules ...string) *front {
	t.Helper()
	dir := shipped(t, "apache", "127.0.0.1:8080", p.host)
	include := fmt.Sprintf("Include %s/s3redirect.conf\n%s", dir, more)
	return apacheWith(t, freeAddress(t), include, modules...)
}

// TestOddKeysBehindApache checks that the shipped configuration passes every odd key on byte for
// byte, on a site that caches everything else.
func TestOddKeysBehindApache(t *testing.T) {
	t.Parallel()
	need(t, "apache2")
	g, p := startOddKeys(t, "odd-apache")
	f := behindShippedApache(t, p, `
CacheEnable socache /
CacheSocache shmcb
CacheStorePrivate On
CacheStoreNoStore On
CacheIgnoreNoLastMod On`, "cache", "cache_socache", "socache_shmcb")
	checkKeys(t, &g.store, f.asProxy(), "odd-apache", oddKeys)
	checkBatch(t, f.asProxy(), "odd-apache")
}

// TestEncodedSlashesBehindApache checks that a key with %2F is not found without
// AllowEncodedSlashes, and is another key without nocanon.
func TestEncodedSlashesBehindApache(t *testing.T) {
	t.Parallel()
	need(t, "apache2")
	_, p := startOddKeys(t, "odd-canon")
	for name, c := range map[string]struct {
		piece string
		odd   string // the encoded key
		want  string // the encoded key that the proxy sees, or "" if it sees no request
	}{
		"encoded slashes": {"AllowEncodedSlashes NoDecode", "a%2Fb", ""},
		"nocanon":         {" nocanon responsefieldsize", "a%2Fb", "a%252Fb"},
	} {
		kept := strings.TrimPrefix(c.piece, " nocanon")
		if kept == c.piece {
			kept = ""
		}
		dir := shipped(t, "apache", "127.0.0.1:8080", p.host, c.piece, kept)
		f := apacheWith(t, freeAddress(t), "Include "+dir+"/s3redirect.conf")
		got := f.asProxy().raw(t, http.MethodGet, "/s3/odd-canon/"+c.odd).header.Get("Location")
		want := ""
		if c.want != "" {
			want = p.raw(t, http.MethodGet, "/s3/odd-canon/"+c.want).header.Get("Location")
		}
		if got != want {
			t.Errorf("without %s: %s is redirected to %q, want %q", name, c.odd, got, want)
		}
	}
}

// TestHostBehindApache checks that the proxy gets the host of the client's request.
func TestHostBehindApache(t *testing.T) {
	t.Parallel()
	need(t, "apache2")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host)
	}))
	t.Cleanup(s.Close)
	p := &proxy{host: strings.TrimPrefix(s.URL, "http://")}
	f := behindShippedApache(t, p, "")
	for _, target := range []string{"/s3/b/k", "/presign"} {
		if a := fetch(t, http.MethodGet, f.asProxy().url(target)); string(a.body) != f.host {
			t.Errorf("%s: Host = %q, want %q", target, a.body, f.host)
		}
	}
}
