package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	testVersion  = "0.1.0-rc.1"
	testRevision = "0123456789abcdef0123456789abcdef01234567"
)

var testTime = time.Date(2026, 1, 31, 10, 20, 30, 0, time.UTC)

// writeImage writes an image of two programs, which are only text, and returns the file.
func writeImage(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	args := []string{
		"-version", testVersion, "-revision", testRevision,
		"-created", fmt.Sprint(testTime.Unix()), "-output", filepath.Join(dir, "image.tar"),
	}
	for _, arch := range []string{"amd64", "arm64"} {
		program := filepath.Join(dir, arch)
		if err := os.WriteFile(program, []byte("the program for "+arch), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "linux/"+arch+"="+program)
	}
	if err := run(args, io.Discard); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(filepath.Join(dir, "image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// entry is a file or a folder of a tar file.
type entry struct {
	header *tar.Header
	data   []byte
}

// untar returns the entries of a tar file by their names, and checks that they are in order and
// depend only on the time of the commit.
func untar(t *testing.T, file []byte) map[string]entry {
	t.Helper()
	entries := map[string]entry{}
	r := tar.NewReader(bytes.NewReader(file))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return entries
		} else if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := entries[h.Name]; ok {
			t.Errorf("%s is there twice", h.Name)
		}
		if parent := filepath.Dir(strings.TrimSuffix(h.Name, "/")) + "/"; parent != "./" {
			if _, ok := entries[parent]; !ok {
				t.Errorf("%s comes before its folder", h.Name)
			}
		}
		if !h.ModTime.Equal(testTime) || h.Uid != 0 || h.Gid != 0 || h.Uname+h.Gname != "" {
			t.Errorf("%s: time %v, owner %d:%d (%s:%s), want %v, 0:0, no names",
				h.Name, h.ModTime, h.Uid, h.Gid, h.Uname, h.Gname, testTime)
		}
		entries[h.Name] = entry{h, data}
	}
}

// layoutReader follows the digests of an image layout.
type layoutReader struct {
	t       *testing.T
	entries map[string]entry
	read    map[string]bool
}

// blob returns the blob that a descriptor describes.
func (l *layoutReader) blob(d descriptor) []byte {
	l.t.Helper()
	name := "blobs/" + strings.Replace(d.Digest, ":", "/", 1)
	e, ok := l.entries[name]
	if !ok {
		l.t.Fatalf("%s is missing", name)
	}
	if int64(len(e.data)) != d.Size || digest(e.data) != d.Digest {
		l.t.Errorf("%s has %d bytes and the digest %s, want %d, %s",
			name, len(e.data), digest(e.data), d.Size, d.Digest)
	}
	l.read[name] = true
	return e.data
}

// json decodes the JSON of a blob or file into v. Unknown fields are errors.
func (l *layoutReader) json(data []byte, v any) {
	l.t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		l.t.Fatalf("%v:\n%s", err, data)
	}
}

// The file is a valid image layout: all digests and sizes are right, no blob is missing or left
// over, and the configuration and the files of each platform are complete.
func TestImage(t *testing.T) {
	l := &layoutReader{t, untar(t, writeImage(t)), map[string]bool{}}
	if got := string(l.entries["oci-layout"].data); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout = %s", got)
	}
	var top, index index
	l.json(l.entries["index.json"].data, &top)
	if len(top.Manifests) != 1 || top.Manifests[0].MediaType != indexType ||
		top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != testVersion {
		t.Fatalf("index.json = %+v, want one index with the name %s", top, testVersion)
	}
	l.json(l.blob(top.Manifests[0]), &index)
	var platforms []string
	for _, d := range index.Manifests {
		platforms = append(platforms, d.Platform.OS+"/"+d.Platform.Architecture)
		checkManifest(l, d)
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(platforms, want) {
		t.Errorf("platforms = %q, want %q", platforms, want)
	}
	for name, e := range l.entries {
		isBlob := strings.HasPrefix(name, "blobs/") && e.header.Typeflag == tar.TypeReg
		if isBlob && !l.read[name] {
			t.Errorf("nothing refers to %s", name)
		}
	}
}

// checkManifest checks one platform's image.
func checkManifest(l *layoutReader, d descriptor) {
	t := l.t
	var m manifest
	l.json(l.blob(d), &m)
	var config image
	l.json(l.blob(m.Config), &config)
	created := testTime.Format(time.RFC3339)
	const description = "A caching redirect proxy for Amazon S3 and compatible stores"
	labels := map[string]string{
		"org.opencontainers.image.title":       "s3redirect",
		"org.opencontainers.image.description": description,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     testVersion,
		"org.opencontainers.image.revision":    testRevision,
		"org.opencontainers.image.created":     created,
	}
	if !maps.Equal(config.Config.Labels, labels) || !maps.Equal(m.Annotations, labels) {
		t.Errorf("labels %v, annotations %v, want %v", config.Config.Labels, m.Annotations, labels)
	}
	if config.OS != d.Platform.OS || config.Architecture != d.Platform.Architecture ||
		config.Created != created || len(config.RootFS.DiffIDs) != len(m.Layers) ||
		len(config.History) != len(m.Layers) {
		t.Errorf("configuration %+v does not match the manifest %+v", config, m)
	}
	files := map[string]entry{}
	for n, layer := range m.Layers {
		zipped, err := gzip.NewReader(bytes.NewReader(l.blob(layer)))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(zipped)
		if err != nil {
			t.Fatal(err)
		}
		if got := digest(plain); got != config.RootFS.DiffIDs[n] {
			t.Errorf("layer %d unpacks to %s, want %s", n, got, config.RootFS.DiffIDs[n])
		}
		maps.Copy(files, untar(t, plain))
	}
	modes := map[string]os.FileMode{}
	for name, e := range files {
		modes[name] = os.FileMode(e.header.Mode)
	}
	if want := map[string]os.FileMode{
		"etc/": 0o755, "etc/passwd": 0o644, "etc/group": 0o644, "etc/s3redirect/": 0o755,
		"etc/ssl/": 0o755, "etc/ssl/certs/": 0o755, "etc/ssl/certs/ca-certificates.crt": 0o644,
		"s3redirect": 0o755,
	}; !maps.Equal(modes, want) {
		t.Errorf("files and modes = %v, want %v", modes, want)
	}
	if got := string(files["s3redirect"].data); got != "the program for "+config.Architecture {
		t.Errorf("the program for %s = %q", config.Architecture, got)
	}
	user := regexp.MustCompile(`(?m)^nonroot:x:65532:65532:[^:]*:/:/[a-z/]*nologin$`)
	if got := files["etc/passwd"].data; !user.Match(got) {
		t.Errorf("etc/passwd = %s, want a match of %s", got, user)
	}
	checkAuthorities(t, files["etc/ssl/certs/ca-certificates.crt"].data)
}

// checkAuthorities checks that a bundle has the authorities of AWS, and only authorities.
func checkAuthorities(t *testing.T, bundle []byte) {
	t.Helper()
	missing := []string{
		"Amazon Root CA 1", "Amazon Root CA 4", "Starfield Services Root Certificate Authority - G2",
		"GTS Root R1", "ISRG Root X1",
	}
	count := 0
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !c.IsCA {
			t.Fatalf("certificate %d: %v, want an authority", count, err)
		}
		missing = slices.DeleteFunc(missing, func(name string) bool {
			return name == c.Subject.CommonName
		})
		count++
	}
	if len(missing) > 0 || count < 50 {
		t.Errorf("the bundle has %d certificates and lacks %q", count, missing)
	}
}

// The Dockerfile and the release make images that run alike.
func TestImageAgreesWithDockerfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	stages := regexp.MustCompile(`(?m)^FROM `).Split(string(text), -1)
	last := stages[len(stages)-1]
	if !strings.HasPrefix(last, "scratch\n") {
		t.Errorf("the last stage begins with %.20q, want scratch", last)
	}
	var want containerConfig
	want.ExposedPorts = map[string]struct{}{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z]+) (.*)$`).FindAllStringSubmatch(last, -1) {
		switch instruction, value := m[1], m[2]; instruction {
		case "USER":
			want.User = value
		case "EXPOSE":
			for port := range strings.FieldsSeq(value) {
				want.ExposedPorts[port+"/tcp"] = struct{}{}
			}
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(value), &want.Entrypoint)
		case "CMD":
			err = json.Unmarshal([]byte(value), &want.Cmd)
		case "COPY", "ARG", "LABEL":
		default:
			t.Errorf("the Dockerfile has %s, which the release's image lacks", instruction)
		}
		if err != nil {
			t.Errorf("%s: %v", m[0], err)
		}
	}
	got := release{}.containerConfig()
	got.Labels, got.WorkingDir = nil, ""
	if !reflect.DeepEqual(got, want) {
		t.Errorf("configuration = %+v, want the Dockerfile's %+v", got, want)
	}
}

// The bytes do not depend on the folder, the time zone or the run.
func TestImageIsReproducible(t *testing.T) {
	first := writeImage(t)
	local := time.Local
	time.Local = time.FixedZone("elsewhere", 5*3600)
	defer func() { time.Local = local }()
	if second := writeImage(t); !bytes.Equal(first, second) {
		t.Errorf("the second image's digest = %s, want %s", digest(second), digest(first))
	}
}

// Mistakes in the command line are errors, and no file is written.
func TestImageRefuses(t *testing.T) {
	output := filepath.Join(t.TempDir(), "image.tar")
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	complete := []string{
		"-version", testVersion, "-revision", testRevision, "-created", "1", "-output", output,
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{complete, "no programs"},
		{append(complete, "linux/amd64"), "PLATFORM=PROGRAM"},
		{append(complete, "amd64="+program), "PLATFORM=PROGRAM"},
		{append(complete, "linux/amd64="+program+".missing"), "no such file"},
		{append(complete, "linux/amd64="+program, "linux/amd64="+program), "twice"},
		{append(complete[2:], "linux/amd64="+program), "-version"},
		{append(complete, "-version", "v1", "-created", "soon", "linux/amd64="+program), "-created"},
	} {
		err := run(slices.Clone(c.args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.args, err, c.want)
		}
		if _, err := os.Stat(output); err == nil {
			t.Errorf("%q wrote a file", c.args)
		}
	}
}
