package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

// emptyRoot is a root directory with its own network. It has the tools that the README asks for
// (Go, make, curl and a shell), the files of the clone in /src, and AWS at its real host names. All
// commands run in it as an unprivileged user.
type emptyRoot struct {
	*network
	dir   string
	cloud *fakeaws.Cloud
	aws   *http.Client // trusts the certificate of the stand-in for AWS
}

// rootUser is the user that the commands run as.
const rootUser = "65532:65532"

const (
	docBucket = "my-photos"
	docKey    = "holiday/beach.jpg"
	docRole   = "arn:aws:iam::123456789012:role/s3redirect"
	docUser   = "AKIAIOSFODNN7EXAMPLE"
	docSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// docHosts are the hosts of AWS that the documents' configurations lead to.
var docHosts = []string{
	"sts.eu-central-1.amazonaws.com", docBucket + ".s3.eu-central-1.amazonaws.com",
}

// rootScript makes the root directory $R. The Go toolchain and the module cache are read-only
// mounts. The build cache is a copy-on-write mount of the user's own, or empty where the file system
// cannot have one.
const rootScript = `
mkdir -p $R/bin $R/tmp $R/etc $R/home/user $R/src $R/cache $R/dev $R/proc $R$GOROOT $R/go/pkg/mod
chmod 1777 $R/tmp
mknod -m 666 $R/dev/null c 1 3
mknod -m 666 $R/dev/urandom c 1 9
for program in bash make curl; do
	path=$(command -v $program)
	cp -L $path $R/bin/$program
	ldd $path | grep -o '/[^ ]*' | while read -r library; do
		mkdir -p $R$(dirname $library)
		cp -L $library $R$library
	done
done
cp -L $(command -v busybox) $R/bin/busybox
for applet in $(busybox --list); do [ -e $R/bin/$applet ] || ln -s busybox $R/bin/$applet; done
cd $SOURCE
git ls-files -co --exclude-standard -z | tar -c --null --ignore-failed-read -T - | tar -x -C $R/src
mount -t proc proc $R/proc
mount --bind -o ro $GOROOT $R$GOROOT
mount --bind -o ro $GOMODCACHE $R/go/pkg/mod
mkdir $R/upper $R/work
mount -t overlay overlay -o lowerdir=$GOCACHE,upperdir=$R/upper,workdir=$R/work $R/cache || true
chown $OWNER $R/cache $R/cache/*/ 2>/dev/null || chown $OWNER $R/cache
chown -R $OWNER $R/src $R/home/user
`

// newEmptyRoot makes a root directory and starts the stand-in for AWS in its network.
func newEmptyRoot(t *testing.T) *emptyRoot {
	t.Helper()
	need(t, "busybox", "bash", "make", "curl", "ldd", "git", "tar", "chroot")
	needRoot(t, "a root directory of its own")
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	r := &emptyRoot{dir: t.TempDir(), cloud: fakeaws.NewCloud(time.Now)}
	if err := os.Chmod(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	variables := ""
	for name, value := range map[string]string{
		"R": r.dir, "SOURCE": source, "OWNER": rootUser, "GOROOT": goEnv(t, "GOROOT"),
		"GOMODCACHE": goEnv(t, "GOMODCACHE"), "GOCACHE": goEnv(t, "GOCACHE"),
	} {
		variables += name + "='" + value + "'\n"
	}
	r.network = newNetwork(t, variables+rootScript)
	r.cloud.AddUser(fakeaws.User{AccessKeyID: docUser, SecretAccessKey: docSecret})
	r.cloud.CreateBucket(docBucket, "eu-central-1")
	r.cloud.Put(locator.Locator{Bucket: docBucket, Key: docKey},
		fakeaws.Object{ContentType: "image/jpeg", Data: []byte("a beach")})
	r.requireExternalID("")
	r.startAWS(t)
	return r
}

// requireExternalID gives the documents' role an external ID; "" stands for none.
func (r *emptyRoot) requireExternalID(id string) {
	r.cloud.AddRole(fakeaws.Role{
		ARN: docRole, ExternalID: id, Trusts: []string{docUser}, Buckets: []string{docBucket},
	})
}

// startAWS serves the stand-in at the hosts of AWS, which resolve to loopback in the root directory.
func (r *emptyRoot) startAWS(t *testing.T) {
	t.Helper()
	certificate, roots := selfSigned(t, docHosts)
	files := map[string]string{
		"hosts": "127.0.0.1 localhost " + strings.Join(docHosts, " ") + "\n",
		"aws.pem": string(pem.EncodeToMemory(
			&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(r.dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler:           awsHosts(r.cloud),
	}
	l := r.listen(t, "127.0.0.1:443")
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.ServeTLS(l, "", "") }()
	r.aws = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return r.dial(ctx, network, "127.0.0.1:443")
		},
	}}
}

// awsHosts serves the hosts of AWS: STS at those that begin with sts., and S3 at all others.
func awsHosts(cloud *fakeaws.Cloud) http.Handler {
	sts, s3 := cloud.STS(), cloud.S3()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "sts.") {
			sts.ServeHTTP(w, r)
			return
		}
		s3.ServeHTTP(w, r)
	})
}

// selfSigned returns a certificate for hosts, and a pool with it.
func selfSigned(t *testing.T, hosts []string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "stand-in for AWS"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		DNSNames:              hosts,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// shell returns the arguments that run a line in the root directory, in the clone.
func (r *emptyRoot) shell(t *testing.T, line string) []string {
	t.Helper()
	chroot, err := exec.LookPath("chroot")
	if err != nil {
		t.Fatal(err)
	}
	return r.enter(chroot, "--userspec="+rootUser, r.dir, "/bin/env", "-i",
		"PATH=/bin:"+goEnv(t, "GOROOT")+"/bin",
		"HOME=/home/user",
		"GOCACHE=/cache",
		"GOMODCACHE=/go/pkg/mod",
		"GOFLAGS=-trimpath", // as the tests build the program, so that the build cache is of use
		"GOPROXY=off",
		"GOTOOLCHAIN=local",
		"SSL_CERT_FILE=/etc/aws.pem",
		"AWS_REGION=eu-central-1",
		"AWS_ACCESS_KEY_ID="+docUser,
		"AWS_SECRET_ACCESS_KEY="+docSecret,
		"/bin/sh", "-c", "cd /src && "+line)
}

// run runs a line with some input until it exits. It returns its exit code and output.
func (r *emptyRoot) run(t *testing.T, line, input string) (code int, output string) {
	t.Helper()
	args := r.shell(t, line)
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// serve starts a line that does not exit, and waits until its output matches a pattern, whose first
// group it returns.
func (r *emptyRoot) serve(t *testing.T, line, pattern string) (s *server, match string) {
	t.Helper()
	s, err := startServer(t.TempDir(), "line", nil, r.shell(t, line)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	want := regexp.MustCompile(pattern)
	for range 10 { // the first line builds the program
		err = s.await(line, func() bool { return want.MatchString(s.output()) })
		if err == nil {
			return s, want.FindStringSubmatch(s.output())[1]
		}
		select {
		case <-s.exited:
			t.Fatal(err)
		default:
		}
	}
	t.Fatal(err)
	return nil, ""
}

// codeBlock matches a block of code in a document.
var codeBlock = regexp.MustCompile("(?s)\n```([a-z]+)\n(.*?)```")

// follow runs each line of the document's sh blocks, unchanged and in their order. It writes the
// document's yaml block to the file config, once the lines before it have run.
func (r *emptyRoot) follow(t *testing.T, document, config string) {
	t.Helper()
	for _, block := range codeBlock.FindAllStringSubmatch(readFile(t, "../../"+document), -1) {
		switch block[1] {
		case "yaml":
			id := regexp.MustCompile(`external_id: (\S+)`).FindStringSubmatch(block[2])
			r.requireExternalID(id[1])
			r.write(t, config, block[2])
		case "sh":
			for line := range strings.SplitSeq(strings.TrimSpace(block[2]), "\n") {
				r.followLine(t, document, line)
			}
		}
	}
}

// write writes a file of the clone, as the unprivileged user.
func (r *emptyRoot) write(t *testing.T, name, text string) {
	t.Helper()
	line := fmt.Sprintf("mkdir -p %s && cat > %s", filepath.Dir(name), name)
	if code, out := r.run(t, line, text); code != 0 {
		t.Fatalf("%s: exit code %d: %s", line, code, out)
	}
}

func (r *emptyRoot) followLine(t *testing.T, document, line string) {
	t.Helper()
	input := ""
	switch {
	case line == "make test":
		return // it runs this test
	case strings.HasPrefix(line, "go run ") && strings.HasSuffix(line, " demo"):
		s, page := r.serve(t, line, `gallery +(http://\S+)`)
		if resp, err := r.client.Get(page); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s: GET %s: got %v, error %v, want status 200", document, line, page, resp, err)
		}
		s.stop()
		return
	case strings.Contains(line, "s3redirect serve"):
		r.serve(t, line, `"msg":"serving".*"admin_listen":"(\S+?)"`)
		return
	case strings.HasSuffix(line, " integrate"):
		input = docBucket + "\n\n\n\neu-central-1\n\n\n" + docRole + "\ns3://" + docBucket + "/" + docKey + "\n"
	}
	code, out := r.run(t, line, input)
	if code != 0 {
		t.Fatalf("%s: %s: exit code %d, want 0:\n%s", document, line, code, out)
	}
	switch {
	case strings.HasPrefix(line, "curl ") && strings.HasSuffix(line, "/readyz"):
		if !strings.Contains(out, "HTTP/1.1 200 ") {
			t.Errorf("%s: %s prints\n%s\nwant status 200", document, line, out)
		}
	case strings.HasPrefix(line, "curl "):
		r.checkObject(t, line, out)
	case strings.HasSuffix(line, " integrate"):
		if !strings.Contains(out, "integrations.d/"+docBucket+".yaml has the integration") {
			t.Errorf("%s: %s prints\n%s\nwant the integration's file", document, line, out)
		}
	}
}

// checkObject checks that a response is a redirect to a URL that the stand-in for S3 accepts.
func (r *emptyRoot) checkObject(t *testing.T, line, response string) {
	t.Helper()
	location := regexp.MustCompile(`(?mi)^Location: (\S+)`).FindStringSubmatch(response)
	if location == nil || !strings.Contains(response, "HTTP/1.1 302 ") {
		t.Fatalf("%s prints\n%s\nwant a redirect", line, response)
	}
	a, err := readAnswer(r.aws.Get(location[1]))
	if err != nil || string(a.body) != "a beach" {
		t.Errorf("%s: GET %s: got %v, error %v, want the object", line, location[1], a, err)
	}
}

// TestREADMEInEmptyRoot runs the README's commands, word by word, as an unprivileged user whose
// machine has Go, make, curl and a shell, and nothing else. It then runs those in the README's table
// that exit.
func TestREADMEInEmptyRoot(t *testing.T) {
	t.Parallel()
	r := newEmptyRoot(t)
	const isolated = "id -u && ! ls /usr/bin && ! touch /x && ! touch $(go env GOROOT)/x"
	if code, out := r.run(t, isolated, ""); code != 0 || !strings.HasPrefix(out, "65532\n") {
		t.Fatalf("%s: exit code %d: %s, want 0 and an unprivileged user", isolated, code, out)
	}
	r.follow(t, "README.md", "s3redirect.yaml")
	rows := tableRow.FindAllStringSubmatch(readFile(t, "../../README.md"), -1)
	done := 0
	for _, row := range rows {
		want, known := tableRows[row[2]]
		if !known {
			t.Errorf("the test does not know the command %q", row[1])
		}
		if want == "" {
			continue // follow has run it
		}
		line := strings.ReplaceAll(row[1], "s3://bucket/key", "s3://"+docBucket+"/"+docKey)
		if _, out := r.run(t, line, "a token"); !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s prints\n%s\nwant a match of %q", line, out, want)
		}
		done++
	}
	if done < 7 {
		t.Errorf("the README's table has %d commands that exit, want at least 7", done)
	}
}

// tableRow matches a command in the README's table, and its name in tableRows.
var tableRow = regexp.MustCompile(
	"(?m)^\\| `(\\./bin/s3redirect ([a-z]+(?: --(?:sample|as|token))?)[^`]*)` \\|")

// tableRows maps commands in the README's table to patterns of their output, or to "" if follow runs
// them. The README's configuration has neither viewers.jwt nor viewers.links.
var tableRows = map[string]string{
	"serve": "", "demo": "", "integrate": "",
	"check --sample": `ok +get`,
	"check --as":     `^allowed, `,
	"check --token":  `viewers\.jwt is missing`,
	"policy":         `s3:GetObject`,
	"presign":        `^https://` + docBucket + `\.s3\.eu-central-1\.amazonaws\.com/` + docKey + `\?`,
	"link":           `has no viewers\.links`,
	"version":        `^s3redirect `,
}

// TestDeploymentPageInEmptyRoot does the same for the first page of docs/deployment.
func TestDeploymentPageInEmptyRoot(t *testing.T) {
	t.Parallel()
	newEmptyRoot(t).follow(t, "docs/deployment/README.md", "config/config.yaml")
}
