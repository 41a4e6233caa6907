package e2e

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/crypto/bcrypt"
)

// clientRow is a row of a table in docs/clients.md.
type clientRow struct {
	name  string
	needs []string // programs, npm/PACKAGE, and patterns of absolute paths
	cells func(*testing.T, *clientSite) []string
}

// clientTables are the tables in docs/clients.md.
var clientTables = []struct {
	title   string
	columns []string
	rows    []clientRow
}{
	{"Programs and libraries that send requests", httpColumns, httpRows()},
	{"Programs that read films and maps", programColumns, programRows()},
	{"Libraries in a page", pageColumns, pageRows()},
}

// TestClients runs each client against the proxy and compares what it does with the tables in
// docs/clients.md. With UPDATE=1 it writes them. The rows of clients that are missing stay
// unchanged.
//
// It does not run beside other tests: it keeps all cores busy with browsers for a minute or two, and
// others count requests in windows of seconds.
func TestClients(t *testing.T) {
	site := startClientSite(t)
	var (
		mu      sync.Mutex
		results = map[string][]string{}
	)
	t.Run("clients", func(t *testing.T) {
		for _, table := range clientTables {
			for _, row := range table.rows {
				t.Run(row.name, func(t *testing.T) {
					t.Parallel()
					needFiles(t, row.needs...)
					cells := row.cells(t, site)
					t.Log(cells)
					mu.Lock()
					defer mu.Unlock()
					results[row.name] = cells
				})
			}
		}
	})
	if !t.Failed() {
		compareClients(t, results)
	}
}

// needFiles is need, also for files.
func needFiles(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		path := name
		switch {
		case strings.HasPrefix(name, "npm/"):
			path = filepath.Join(nodeModules, strings.TrimPrefix(name, "npm/"))
		case !strings.HasPrefix(name, "/"):
			need(t, name)
			continue
		}
		if found, err := filepath.Glob(path); err != nil {
			t.Fatal(err)
		} else if len(found) == 0 {
			const reason = "%s is missing: run `make tools` to install it"
			if os.Getenv("CI") == "true" {
				t.Fatalf(reason, name)
			}
			t.Skipf(reason, name)
		}
	}
}

const nodeModules = "../../.tools/npm/node_modules"

// compareClients compares the results with docs/clients.md, or writes them.
func compareClients(t *testing.T, results map[string][]string) {
	t.Helper()
	const path, begin, end = "../../docs/clients.md", "<!-- clients -->\n", "<!-- /clients -->"
	page := readFile(t, path)
	i, j := strings.Index(page, begin), strings.Index(page, end)
	if i < 0 || j < i {
		t.Fatalf("%s has no %q before %q", path, begin, end)
	}
	i += len(begin)
	previous := map[string]string{}
	for line := range strings.Lines(page[i:j]) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | "); ok {
			previous[name] = line
		}
	}
	var text strings.Builder
	for _, table := range clientTables {
		fmt.Fprintf(&text, "\n## %s\n\n", table.title)
		fmt.Fprintf(&text, "| client | %s |\n", strings.Join(table.columns, " | "))
		text.WriteString("|---|" + strings.Repeat("---|", len(table.columns)) + "\n")
		for _, row := range table.rows {
			line := fmt.Sprintf("| %s | %s |\n", row.name, strings.Join(results[row.name], " | "))
			if results[row.name] == nil {
				line = cmp.Or(previous[row.name], "| "+row.name+" | ? |\n")
			}
			text.WriteString(line)
		}
	}
	text.WriteByte('\n')
	switch {
	case page[i:j] == text.String():
	case os.Getenv("UPDATE") == "":
		t.Errorf("the tables in docs/clients.md differ (UPDATE=1 writes them); want:\n%s",
			text.String())
	default:
		err := os.WriteFile(path, []byte(page[:i]+text.String()+page[j:]), 0o644)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// clientSite is what clients are tried with: a store that behaves like AWS, the proxy, and a site
// with pages on the proxy's origin.
type clientSite struct {
	*proxy
	minio  *store
	store  *counted
	origin string // of the pages
	token  string // for Authorization: Bearer, and for the cookie "session"
	config string
	env    []string
}

const (
	clientUser    = "ann:password"
	clientBucket  = "clients"
	inPlaceBucket = "clients-in-place" // its integration has in_place
)

// startClientSite starts the servers. What is in open/ is for everyone, and what is in closed/
// needs a credential.
func startClientSite(t *testing.T) *clientSite {
	t.Helper()
	s := minio(t)
	b := &clientSite{minio: s, store: s.strict(t)}
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	passwords := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(passwords, append([]byte("ann:"), hash...), 0o600); err != nil {
		t.Fatal(err)
	}
	var issuer string
	issuer, b.token = issuedToken(t)
	second := strings.NewReplacer("integrations:\n", "", "name: keys", "name: in-place")
	b.config = longWindow + inStore(clientBucket) + second.Replace(inStore(inPlaceBucket)) +
		`    in_place: {suffixes: [.m3u8, .mpd, .dzi, .vrt, .gltf, .json]}
viewers:
  anonymous: true
  basic: {htpasswd_file: "${PASSWORDS}"}
  jwt: {issuer: "${ISSUER}", jwks_url: "${ISSUER}/keys", audience: media, user_claim: sub, cookie: session}
  links: {cookie: s3link, keys: [{id: k1, secret: canary-of-a-link-with-32-bytes!!}]}
  rules:
    - {known: true, locators: ["s3://clients*/*"]}
    - {anonymous: true, locators: ["s3://clients*/open/*"]}
`
	b.env = append(s.env(), "STORE="+b.store.url, "PASSWORDS="+passwords, "ISSUER="+issuer)
	s.createBucket(t, clientBucket)
	s.createBucket(t, inPlaceBucket)
	b.proxy = startProxy(t, b.config, b.env...)
	pages, err := filepath.Abs("testdata/clients")
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := filepath.Abs(nodeModules)
	if err != nil {
		t.Fatal(err)
	}
	need(t, "nginx")
	// Chromium would show a dialog for a password, and wait.
	nginx := behindShippedNginx(t, b.proxy, `root `+pages+`; proxy_hide_header WWW-Authenticate;
		location /lib/ { alias `+libraries+`/; }
		types {
			text/html html; text/javascript js mjs; application/json json; text/css css;
			application/wasm wasm;
		}`)
	b.origin = "http://app.localhost" + nginx.host[strings.LastIndexByte(nginx.host, ':'):]
	return b
}

// issuedToken returns an issuer's URL and one of its tokens, for ann.
func issuedToken(t *testing.T) (issuer, token string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "k", Key: key.Public()}}}
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(set)
	}))
	t.Cleanup(keys.Close)
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{KeyID: "k", Key: key}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err = jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: keys.URL, Subject: "ann", Audience: jwt.Audience{"media"},
		Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return keys.URL, token
}

// strict starts a reverse proxy to the store at another address, 127.0.0.2, which programs can
// reach that do not resolve *.localhost. In two things it is like AWS and unlike MinIO. It rejects
// requests that have both an Authorization header and a signature in the query ("Only one auth
// mechanism allowed"). And it answers 403 for a missing key, as AWS does without s3:ListBucket.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (s *store) strict(t *testing.T) *counted {
	t.Helper()
	c, forward := counting(t, s.endpoint, nil)
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusBadRequest)
			c.note(r, time.Now(), http.StatusBadRequest, w.Header())
			return
		}
		forward.ServeHTTP(&noMissing{w}, r)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(handler))
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// noMissing is a ResponseWriter that turns 404 into 403.
type noMissing struct{ http.ResponseWriter }

func (w *noMissing) WriteHeader(status int) {
	if status == http.StatusNotFound {
		status = http.StatusForbidden
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *noMissing) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// folder stores files in a folder of a bucket, and returns the folder's key.
func (b *clientSite) folder(
	t *testing.T, bucket, access, client string, files map[string][]byte,
) (folder string) {
	t.Helper()
	folder = access + "/" + strings.Map(func(r rune) rune {
		if strings.ContainsRune("`,/<>() ", r) {
			return '-'
		}
		return r
	}, client) + "/"
	for name, body := range files {
		input := &s3.PutObjectInput{
			Bucket: &bucket, Key: aws.String(folder + name), Body: bytes.NewReader(body),
			// Otherwise it depends on the state of the browser's cache whether pdf.js gets a 304.
			CacheControl: aws.String("no-store"),
		}
		if contentType := documentTypes[filepath.Ext(name)]; contentType != "" {
			input.ContentType = &contentType
		}
		if _, err := b.minio.client(b.minio.owner).PutObject(t.Context(), input); err != nil {
			t.Fatalf("PutObject(%q): %v", folder+name, err)
		}
	}
	return folder
}

// documentTypes are the types of objects, by their suffix.
var documentTypes = map[string]string{
	".m3u8": "application/vnd.apple.mpegurl",
	".mpd":  "application/dash+xml",
	".ts":   "video/mp2t",
	".m4s":  "video/iso.segment",
	".mp4":  "video/mp4",
	".png":  "image/png",
	".json": "application/json",
	".gltf": "model/gltf+json",
	".css":  "text/css",
	".vtt":  "text/vtt",
}

// seen returns the requests for the objects of a folder that have reached the store.
func (b *clientSite) seen(bucket, folder string) []visit {
	return b.store.visits(func(v visit) bool {
		return strings.HasPrefix(v.path, "/"+bucket+"/"+folder)
	})
}

// link returns a signed link, a path and its query, that the link command makes.
func (b *clientSite) link(t *testing.T, locator string, flags ...string) string {
	t.Helper()
	env := append(slices.Clone(b.env), "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0")
	args := append(append([]string{"link", "--config", "config.yaml"}, flags...), locator)
	code, link := command(t, writeConfig(t, b.config), env, args...)
	if code != 0 {
		t.Fatalf("s3redirect link: exit code %d, want 0: %s", code, link)
	}
	return strings.TrimSpace(link)
}

// query returns the query of a link to a folder of a bucket.
func (b *clientSite) query(t *testing.T, bucket, folder string) string {
	t.Helper()
	u, err := url.Parse(b.link(t, "s3://"+bucket+"/"+folder+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return u.RawQuery
}

// inPath returns the path of a folder of a bucket with a link to the folder in it.
func (b *clientSite) inPath(t *testing.T, bucket, folder string) string {
	t.Helper()
	u, err := url.Parse(b.link(t, "s3://"+bucket+"/"+folder+"*", "--form", "path"))
	if err != nil {
		t.Fatal(err)
	}
	return u.Path
}
