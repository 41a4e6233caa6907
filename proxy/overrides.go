package proxy

import (
	"mime"
	"slices"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// checkOverrides reports whether an integration lets viewers override the headers of the store's answer.
// given holds the names of the parameters in the request, and p their values.
//
// An application that stores uploads may rely on their Content-Type or Content-Disposition to keep
// browsers from running them. An override must not undo that, so OverridesSafe allows only types in which
// browsers run nothing. The proxy does not know the stored type: a disposition by which browsers show
// the object needs a type beside it.
func checkOverrides(overrides string, given []string, p *presign.Params) error {
	switch overrides {
	case config.OverridesAll:
		return nil
	case config.OverridesNone:
		for _, name := range given {
			if name != paramVersionID {
				return badQuery(name + " is not allowed: the integration's overrides is none")
			}
		}
		return nil
	}
	if kind := p.ResponseContentType; kind != "" && slices.Contains(given, paramContentType) && !isPassive(kind) {
		return badQuery(paramContentType + " is not a type that the integration's overrides (safe) allows, " +
			"such as image/png, application/pdf or text/plain")
	}
	if !slices.Contains(given, paramDisposition) {
		return nil
	}
	disposition, _, _ := strings.Cut(p.ResponseContentDisposition, ";")
	switch strings.ToLower(strings.Trim(disposition, " ")) {
	case "attachment":
		return nil
	case "inline":
		if p.ResponseContentType != "" {
			return nil
		}
		return badQuery(paramDisposition + "=inline needs a " + paramContentType +
			" beside it: the integration's overrides is safe")
	case "":
		if p.ResponseContentDisposition == "" {
			return nil // as if it were not given
		}
	}
	return badQuery(paramDisposition + " must be attachment or inline: the integration's overrides is safe")
}

// Types in which browsers run nothing, beside the families and suffixes in isPassive.
var (
	passiveTexts        = []string{"calendar", "csv", "markdown", "plain", "tab-separated-values", "vcard", "vtt"}
	passiveApplications = []string{"dicom", "gzip", "json", "msword", "octet-stream", "ogg", "pdf", "rtf", "x-7z-compressed",
		"x-bzip2", "x-gzip", "x-mpegurl", "x-ndjson", "x-tar", "x-xz", "zip", "zstd"}
)

// isPassive reports whether browsers only show or save an object of a Content-Type. It is an allow-list:
// browsers run scripts in HTML, SVG and any XML, and guess at types that are unknown or malformed.
func isPassive(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || strings.Contains(contentType, ",") { // browsers take what follows a comma for another type
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
		return slices.Contains(passiveApplications, name) || strings.HasPrefix(name, "vnd.")
	}
	return false
}
