package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

var pageColumns = []string{
	"GET", "HEAD", "Range", "references", "token in a cookie", "token in a header", "link",
	"setting for the header",
}

// pageClient is a library of testdata/clients/clients.js.
type pageClient struct {
	name     string
	needs    []string
	files    documentFiles
	document string
	refers   bool   // whether the document refers to other files
	setting  string // sends a header; "" if there is none
}

// pageRows returns the rows of the libraries in a page.
func pageRows() (rows []clientRow) {
	for _, c := range pageClients {
		rows = append(rows, clientRow{c.name, append(c.needs, "chromium", "nginx"), c.cells})
	}
	return rows
}

var pageClients = []pageClient{
	{"Chromium, `<video>` with HLS", []string{"ffmpeg"}, hlsFiles, "film.m3u8", true, ""},
	{"hls.js", []string{"ffmpeg", "npm/hls.js"}, hlsFiles, "film.m3u8", true, "`xhrSetup`"},
	{"dash.js", []string{"ffmpeg", "npm/dashjs"}, dashFiles, "film.mpd", true,
		"`addRequestInterceptor`"},
	{"Shaka Player", []string{"ffmpeg", "npm/shaka-player"}, hlsFiles, "film.m3u8", true,
		"`registerRequestFilter`"},
	{"video.js", []string{"ffmpeg", "npm/video.js"}, hlsFiles, "film.m3u8", true,
		"`videojs.Vhs.xhr.onRequest`"},
	{"OpenSeadragon", []string{"npm/openseadragon"}, deepZoom, "photo.dzi", true,
		"`loadTilesWithAjax`, `ajaxHeaders`"},
	{"pdf.js", []string{"npm/pdfjs-dist"}, largePDF, "page.pdf", false,
		"`httpHeaders`"},
	{"geotiff.js", []string{"gdal_create", "npm/geotiff"}, rasterFiles, "map.tif", false,
		"`headers`"},
	{"three.js", []string{"npm/three"}, model, "model.gltf", true,
		"`setRequestHeader`"},
	{"Cesium", []string{"npm/cesium"}, tileset, "tileset.json", true,
		"`new Cesium.Resource({url, headers})`"},
	{"zarrita", []string{"npm/zarrita"}, zarr, "cells.zarr", true,
		"`overrides: {headers}`"},
}

// cells are the library's row.
func (c pageClient) cells(t *testing.T, b *clientSite) []string {
	p := openPage(t)
	visits := map[string][]visit{}
	load := func(name, bucket, access string, change func(*pageLoad)) string {
		folder := b.folder(t, bucket, access, c.name+"-"+name, c.files(t))
		l := &pageLoad{origin: b.origin, path: path(bucket, folder+c.document), folder: folder}
		if change != nil {
			change(l)
		}
		p.open(l.origin + "/index.html")
		if l.cookie != "" {
			p.js(fmt.Sprintf(`document.cookie = "session=" + %q; Promise.resolve("")`, l.cookie))
		}
		got := p.js(fmt.Sprintf(`import("/clients.js").then(m => m.load(%q, %q, %q, %q))`,
			c.name, l.path, l.header, folder))
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
			l.cookie = b.token
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
	return append(cells, header, link, setting)
}

// pageLoad is a document that a page loads: the page's origin, the document's path and query, the
// key of its folder, and the credentials that the page has.
type pageLoad struct{ origin, path, folder, cookie, header string }

// openPage opens a tab of a browser that has WebGL, in software.
func openPage(t *testing.T) *tab {
	t.Helper()
	return &tab{t: t, ctx: browser(t,
		chromedp.Flag("disable-gpu", false),
		chromedp.Flag("use-angle", "swiftshader"),
		chromedp.Flag("enable-unsafe-swiftshader", true))}
}
