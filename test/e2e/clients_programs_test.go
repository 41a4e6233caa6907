package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var programColumns = []string{
	"GET", "HEAD", "Range", "references", "password", "token in a header", "token in a cookie",
	"link", "link in the path", "settings",
}

// programClient is a program that reads a document and what it refers to.
type programClient struct {
	name     string
	needs    []string
	files    documentFiles
	document string
	settings string // for a password, a header and a cookie
	// args returns the command that reads a target, a path or a URL, with a credential of a kind:
	// "password", "header", "cookie" or "".
	args func(target, kind, credential string) []string
}

// programRows returns the rows of the programs that read documents.
func programRows() (rows []clientRow) {
	for _, c := range programClients {
		rows = append(rows, clientRow{c.name, c.needs, c.cells})
	}
	return rows
}

const (
	mediaSettings = "a password in the URL, `-headers`, `-cookies`"
	mpvSettings   = "a password in the URL, `http-header-fields`, `cookies` in `stream-lavf-o`"
	gdalSettings  = "a password in the URL, `GDAL_HTTP_HEADERS`, `GDAL_HTTP_COOKIE`"
)

var programClients = []programClient{
	{"ffprobe, a film", []string{"ffmpeg", "ffprobe"},
		filesFrom(encode("film.mp4")), "film.mp4", mediaSettings, ffprobe},
	{"ffprobe, HLS", []string{"ffmpeg", "ffprobe"},
		hlsFiles, "film.m3u8", mediaSettings, ffprobe},
	{"ffprobe, DASH", []string{"ffmpeg", "ffprobe"},
		dashFiles, "film.mpd", mediaSettings, ffprobe},
	{"mpv, HLS", []string{"ffmpeg", "mpv"}, hlsFiles, "film.m3u8", mpvSettings, mpv},
	{"GDAL, GeoTIFF", []string{"gdalinfo", "gdal_create"},
		rasterFiles, "map.tif", gdalSettings, gdal("gdalinfo", "-checksum")},
	{"GDAL, virtual raster", []string{"gdalinfo", "gdal_create", "gdalbuildvrt"},
		rasterFiles, "map.vrt", gdalSettings, gdal("gdalinfo", "-checksum")},
	{"GDAL, shapefile", []string{"ogrinfo", "ogr2ogr"},
		shapeFiles, "places.shp", gdalSettings, gdal("ogrinfo", "-al")},
}

// ffprobe counts the packets of a film.
func ffprobe(target, kind, credential string) []string {
	args := []string{"ffprobe", "-v", "error", "-count_packets", "-select_streams", "v",
		"-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"}
	switch kind {
	case "password":
		target = strings.Replace(target, "://", "://"+credential+"@", 1)
	case "header":
		args = append(args, "-headers", "Authorization: Bearer "+credential+"\r\n")
	case "cookie":
		args = append(args, "-cookies", cookieOf(target, credential))
	}
	return append(args, target)
}

// mpv plays a film and prints a checksum of each frame.
func mpv(target, kind, credential string) []string {
	args := []string{"mpv", "--no-config", "--ytdl=no", "--no-audio", "--ao=null",
		"--msg-level=all=warn", "--ovc=rawvideo", "--of=framecrc", "--o=/dev/stdout"}
	switch kind {
	case "password":
		target = strings.Replace(target, "://", "://"+credential+"@", 1)
	case "header":
		args = append(args, "--http-header-fields=Authorization: Bearer "+credential)
	case "cookie":
		cookie := cookieOf(target, credential)
		args = append(args, fmt.Sprintf("--stream-lavf-o=cookies=%%%d%%%s", len(cookie), cookie))
	}
	return append(args, target)
}

// cookieOf returns a session cookie for ffmpeg, whose domain is the target's host and port.
func cookieOf(target, token string) string {
	_, host, _ := strings.Cut(target, "://")
	host, _, _ = strings.Cut(host, "/")
	return "session=" + token + "; path=/; domain=" + host
}

// gdal returns the args of a program of GDAL, which prints what is in a file.
func gdal(program, flag string) func(string, string, string) []string {
	return func(target, kind, credential string) []string {
		args := []string{program, flag, "--config", "GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR"}
		switch kind {
		case "password":
			target = strings.Replace(target, "://", "://"+credential+"@", 1)
		case "header":
			args = append(args,
				"--config", "GDAL_HTTP_HEADERS", "Authorization: Bearer "+credential)
		case "cookie":
			args = append(args, "--config", "GDAL_HTTP_COOKIE", "session="+credential)
		}
		if strings.Contains(target, "://") {
			target = "/vsicurl/" + target
		}
		return append(args, target)
	}
}

// told matches the lines of a program's output that depend on what it read, not on from where.
var told = regexp.MustCompile(
	`(?m)^\s*(\d+|Checksum=.*|name \(String\) =.*|POINT.*|0, +\d+, .*, 0x[0-9a-f]{8})$`)

// cells are the program's row.
func (c programClient) cells(t *testing.T, b *clientSite) []string {
	files := c.files(t)
	dir := t.TempDir()
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := told.FindAllString(output(t, c.args(filepath.Join(dir, c.document), "", "")...), -1)
	if len(want) == 0 {
		t.Fatal("the program prints nothing for a local file")
	}
	visits := map[string][]visit{}
	read := func(name, bucket, access, kind, credential string, link func(*url.URL, string)) string {
		folder := b.folder(t, bucket, access, c.name+"-"+name, files)
		target := &url.URL{Path: "/s3/" + bucket + "/" + folder + c.document}
		if link != nil {
			link(target, folder)
		}
		out := output(t, c.args(b.url(target.RequestURI()), kind, credential)...)
		got := told.FindAllString(out, -1)
		visits[name] = b.seen(bucket, folder)
		if !slices.Equal(got, want) {
			t.Logf("%s: %q, want %q: %s", name, got, want, out)
			return "no"
		}
		return works(visits[name])
	}
	references, opened := "–", "open"
	if c.refers() {
		references = read("open", clientBucket, "open", "", "", nil)
		if references == "no" {
			opened = "in place"
			if references = read(opened, inPlaceBucket, "open", "", "", nil); references == "yes" {
				references = "with `in_place`"
			}
		}
	} else if got := read("open", clientBucket, "open", "", "", nil); got != "yes" {
		t.Errorf("without a credential: %s, want yes", got)
	}
	cells := append(methods(visits[opened]), references,
		read("password", inPlaceBucket, "closed", "password", clientUser, nil),
		read("header", inPlaceBucket, "closed", "header", b.token, nil),
		read("cookie", inPlaceBucket, "closed", "cookie", b.token, nil),
		read("link", inPlaceBucket, "closed", "", "", func(target *url.URL, folder string) {
			target.RawQuery = b.query(t, inPlaceBucket, folder)
		}),
		read("path", inPlaceBucket, "closed", "", "", func(target *url.URL, folder string) {
			target.Path = b.inPath(t, inPlaceBucket, folder) + c.document
		}))
	return append(cells, c.settings)
}

// refers reports whether the document refers to other files.
func (c programClient) refers() bool {
	return !slices.Contains([]string{".mp4", ".tif"}, filepath.Ext(c.document))
}

// works is the cell of a credential that works. A client may also send it to the store.
func works(visits []visit) string {
	if slices.ContainsFunc(visits, func(v visit) bool { return v.credentials != "" }) {
		return "yes, and the store gets it"
	}
	return "yes"
}

// methods returns the cells for GET, HEAD and Range: the least status of the store's responses, or
// a dash if the client sends no such request. Clients try files that do not exist.
func methods(visits []visit) []string {
	least := map[string]int{}
	for _, v := range visits {
		kind := v.method
		if kind == http.MethodGet && v.rng != "" {
			kind = "Range"
		}
		if least[kind] == 0 || v.status < least[kind] {
			least[kind] = v.status
		}
	}
	cells := make([]string, 0, 3)
	for _, kind := range []string{http.MethodGet, http.MethodHead, "Range"} {
		cell := "–"
		if status := least[kind]; status != 0 {
			cell = fmt.Sprint(status)
		}
		cells = append(cells, cell)
	}
	return cells
}
