package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

var pageColumns = []string{
	"GET", "HEAD", "Range", "references", "token in a cookie", "token in a header", "link",
	"link in the path", "link in a cookie", "setting for the header",
}

// pageClient is a library of testdata/clients/clients.js, or an element.
type pageClient struct {
	name     string
	engine   string // see openEngine; "" is a Chromium with WebGL
	library  string // its name in clients.js
	needs    []string
	files    documentFiles
	document string
	refers   bool   // whether the document refers to other files
	setting  string // sends a header; "" if there is none
}

// What the engines need.
var (
	chromiumNeeds = []string{"chromium", "nginx"}
	firefoxNeeds  = []string{"firefox-esr", "nginx"}
	webKitNeeds   = []string{"WebKitWebDriver", "Xvfb", "nginx"}
)

// pageRows returns the rows of the libraries and elements in a page.
func pageRows() (rows []clientRow) {
	for _, c := range pageClients {
		rows = append(rows, clientRow{c.name, c.needs, c.cells})
	}
	return rows
}

var pageClients = slices.Concat(
	elementsIn("Chromium", chromiumNeeds, "video crossorigin"),
	elementsIn("Firefox", firefoxNeeds, ""),
	elementsIn("WebKitGTK", webKitNeeds, ""),
	[]pageClient{
		library("hls.js", "hls.js", hlsFiles, "film.m3u8", "`xhrSetup`"),
		{"Firefox, hls.js", "Firefox", "hls.js", append([]string{"ffmpeg", "npm/hls.js"},
			firefoxNeeds...), hlsFiles, "film.m3u8", true, "`xhrSetup`"},
		library("dash.js", "dashjs", dashFiles, "film.mpd", "`addRequestInterceptor`"),
		library("Shaka Player", "shaka-player", hlsFiles, "film.m3u8",
			"`registerRequestFilter`"),
		library("video.js", "video.js", hlsFiles, "film.m3u8", "`videojs.Vhs.xhr.onRequest`"),
		library("OpenSeadragon", "openseadragon", deepZoom, "photo.dzi",
			"`loadTilesWithAjax`, `ajaxHeaders`"),
		library("pdf.js", "pdfjs-dist", largePDF, "page.pdf", "`httpHeaders`"),
		library("geotiff.js", "geotiff", rasterFiles, "map.tif", "`headers`"),
		library("three.js", "three", model, "model.gltf", "`setRequestHeader`"),
		library("Cesium", "cesium", tileset, "tileset.json",
			"`new Cesium.Resource({url, headers})`"),
		library("zarrita", "zarrita", zarr, "cells.zarr", "`overrides: {headers}`"),
	})

// elementsIn returns the elements that load objects in an engine by themselves, and the one that
// plays HLS, if there is one.
func elementsIn(engine string, needs []string, hls string) []pageClient {
	film := append([]string{"ffmpeg"}, needs...)
	if engine == "WebKitGTK" { // which plays films with plug-ins
		film = append(film, "/usr/lib/*/gstreamer-1.0/libgstvideoparsersbad.so",
			"/usr/lib/*/gstreamer-1.0/libgstlibav.so")
	}
	elements := []pageClient{
		{engine + ", `<img>`", engine, "img", needs, photo, "photo.png", false, ""},
		{engine + ", `<video>`", engine, "video", film, filmFiles, "film.mp4", false, ""},
	}
	if hls != "" {
		elements = append(elements, pageClient{engine + ", `<" + hls + ">` with HLS", engine, hls,
			film, hlsFiles, "film.m3u8", true, ""})
	}
	return elements
}

// library returns a client that is a library in an npm package.
func library(name, npm string, files documentFiles, document, setting string) pageClient {
	needs := append([]string{"npm/" + npm}, chromiumNeeds...)
	switch {
	case strings.HasPrefix(document, "film."):
		needs = append(needs, "ffmpeg")
	case document == "map.tif":
		needs = append(needs, "gdal_create", "gdalbuildvrt")
	}
	refers := document != "page.pdf" && document != "map.tif"
	return pageClient{name, "", name, needs, files, document, refers, setting}
}

// cells are the library's row.
func (c pageClient) cells(t *testing.T, b *clientSite) []string {
	p := openEngine(t, c.engine)
	visits := map[string][]visit{}
	load := func(name, bucket, access string, change func(*pageLoad)) string {
		folder := b.folder(t, bucket, access, c.name+"-"+name, c.files(t))
		l := &pageLoad{origin: b.origin, path: path(bucket, folder+c.document), folder: folder}
		if change != nil {
			change(l)
		}
		p.open(l.origin + "/index.html")
		if l.cookie != "" {
			p.js(fmt.Sprintf(`Promise.resolve(document.cookie = %q)`, l.cookie))
		}
		got := p.js(fmt.Sprintf(`import("/clients.js").then(m => m.load(%q, %q, %q, %q))`,
			c.library, l.path, l.header, folder))
		visits[name] = b.seen(bucket, folder)
		switch got {
		case "yes":
			return works(visits[name])
		case "timeout":
			t.Errorf("%s: timeout, want the document or an error", name)
		}
		t.Logf("%s: %s", name, got)
		return "no"
	}
	references, opened := load("open", clientBucket, "open", nil), "open"
	switch {
	case references == "no" && c.refers:
		opened = "in place"
		if references = load(opened, inPlaceBucket, "open", nil); references == "yes" {
			references = "with `in_place`"
		}
	case !c.refers && references != "yes":
		t.Errorf("without a credential: %s, want yes", references)
	case !c.refers:
		references = "–"
	}
	cells := append(methods(visits[opened]), references,
		load("cookie", inPlaceBucket, "closed", func(l *pageLoad) {
			l.origin = strings.Replace(l.origin, "//app.", "//signed-in.", 1)
			l.cookie = "session=" + b.token
		}))
	header, setting := "–", "–"
	if c.setting != "" {
		setting = c.setting
		header = load("header", inPlaceBucket, "closed", func(l *pageLoad) {
			l.header = "Bearer " + b.token
		})
	}
	link := load("link", inPlaceBucket, "closed", func(l *pageLoad) {
		l.path += "?" + b.query(t, inPlaceBucket, l.folder)
	})
	inPath := load("path", inPlaceBucket, "closed", func(l *pageLoad) {
		l.path = b.inPath(t, inPlaceBucket, l.folder) + c.document
	})
	inCookie := load("link-cookie", inPlaceBucket, "closed", func(l *pageLoad) {
		l.origin = strings.Replace(l.origin, "//app.", "//linked.", 1)
		l.cookie = "s3link=" + b.query(t, inPlaceBucket, l.folder) + "; path=/s3/" + inPlaceBucket + "/"
	})
	return append(cells, header, link, inPath, inCookie, setting)
}

// pageLoad is a document that a page loads: the page's origin, the document's path and query, the
// key of its folder, and the credentials that the page has.
type pageLoad struct{ origin, path, folder, cookie, header string }

// openEngine opens a page in an engine. "" is a Chromium that has WebGL, in software.
func openEngine(t *testing.T, name string) webPage {
	t.Helper()
	for _, e := range engines {
		if e.name == name {
			return e.open(t)
		}
	}
	return &tab{t: t, ctx: browser(t,
		chromedp.Flag("disable-gpu", false),
		chromedp.Flag("use-angle", "swiftshader"),
		chromedp.Flag("enable-unsafe-swiftshader", true))}
}
