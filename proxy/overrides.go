package proxy

import (
	"mime"
	"slices"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// checkOverrides returns an error if an integration does not let viewers override the headers of
// the store's response in this way. given holds the names of the parameters in the request, and p
// their values. p has a content type only if the request has one: the operator may configure any.
//
// An application that stores uploads may rely on their Content-Type or Content-Disposition to keep
// browsers from running them. An override must not undo that, so OverridesSafe allows only types in
// which browsers run no scripts. The proxy does not know the stored type, so a disposition that
// makes browsers show the object requires a type in the same request.
func checkOverrides(overrides string, given []string, p *presign.Params) error {
	switch overrides {
	case config.OverridesAll:
		return nil
	case config.OverridesNone:
		for _, name := range given {
			if name != paramVersionID {
				return badQuery(name + " is not allowed: the integration has overrides: none")
			}
		}
		return nil
	}
	kind := p.ResponseContentType
	if kind != "" && !isPassive(kind) {
		return badQuery(paramContentType + " is not allowed: the integration has overrides: safe" +
			"; use a type such as image/png, application/pdf or text/plain")
	}
	if !slices.Contains(given, paramDisposition) {
		return nil
	}
	disposition, _, _ := strings.Cut(p.ResponseContentDisposition, ";")
	switch strings.ToLower(strings.Trim(disposition, " ")) {
	case "attachment":
		return nil
	case "inline":
		if kind != "" {
			return nil
		}
		return badQuery(paramDisposition + "=inline needs a " + paramContentType +
			" in the same request: the integration has overrides: safe")
	case "":
		if p.ResponseContentDisposition == "" {
			return nil // an empty value is the same as none
		}
	}
	return badQuery(paramDisposition +
		" must be attachment or inline: the integration has overrides: safe")
}

// Types in which browsers run no scripts, besides the families and suffixes in isPassive.
var (
	passiveTexts = []string{
		"calendar", "csv", "markdown", "plain", "tab-separated-values", "vcard", "vtt",
	}
	passiveApplications = []string{
		"dicom", "gzip", "json", "msword", "octet-stream", "ogg", "pdf", "rtf", "x-7z-compressed",
		"x-bzip2", "x-gzip", "x-mpegurl", "x-ndjson", "x-tar", "x-xz", "zip", "zstd",
		"vnd.amazon.ebook", "vnd.android.package-archive", "vnd.apache.arrow.file",
		"vnd.apache.parquet", "vnd.apple.mpegurl", "vnd.debian.binary-package",
		"vnd.google-earth.kmz", "vnd.ms-excel", "vnd.ms-outlook", "vnd.ms-powerpoint",
		"vnd.oasis.opendocument.graphics", "vnd.oasis.opendocument.presentation",
		"vnd.oasis.opendocument.spreadsheet", "vnd.oasis.opendocument.text",
		"vnd.openxmlformats-officedocument.presentationml.presentation",
		"vnd.openxmlformats-officedocument.presentationml.slideshow",
		"vnd.openxmlformats-officedocument.presentationml.template",
		"vnd.openxmlformats-officedocument.spreadsheetml.sheet",
		"vnd.openxmlformats-officedocument.spreadsheetml.template",
		"vnd.openxmlformats-officedocument.wordprocessingml.document",
		"vnd.openxmlformats-officedocument.wordprocessingml.template",
		"vnd.rar", "vnd.sqlite3", "vnd.tcpdump.pcap", "vnd.visio",
	}
	// In other charsets, such as UTF-7 and ISO-2022-JP, the bytes of plain text can be a script.
	passiveCharsets = []string{"utf-8", "us-ascii", "iso-8859-1"}
)

// isPassive reports whether browsers only show or save objects with a Content-Type. It is an
// allow-list, because browsers run scripts in HTML, SVG and all other XML, and guess the type if it
// is unknown or malformed.
func isPassive(contentType string) bool {
	kind, parameters, err := mime.ParseMediaType(contentType)
	// Browsers read what follows a comma as another type. They do not support the parameters in
	// parts or with escapes that ParseMediaType does (charset*0*=utf%2D8; RFC 2231).
	if err != nil || strings.ContainsAny(contentType, ",%*") {
		return false
	}
	charset, ok := parameters["charset"]
	if ok && !slices.Contains(passiveCharsets, strings.ToLower(charset)) {
		return false
	}
	family, name, _ := strings.Cut(kind, "/")
	if _, suffix, ok := strings.Cut(name, "+"); ok && suffix != "json" && suffix != "zip" {
		return false
	} else if ok && family == "application" {
		return true
	}
	switch family {
	case "audio", "font", "model", "video":
		return name != ""
	case "image":
		return name != "" && name != "svg"
	case "text":
		return slices.Contains(passiveTexts, name)
	case "application":
		return slices.Contains(passiveApplications, name)
	}
	return false
}
