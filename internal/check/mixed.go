package check

import (
	"fmt"
	"net/url"
	"strings"

	"s3redirect/internal/config"
)

// mixedContent warns about pages with https:// whose objects are at a store with http://. Browsers
// check each redirect of a request.
//
// https://www.w3.org/TR/mixed-content/
func (p *probe) mixedContent() {
	store, err := url.Parse(p.i.Endpoint)
	if err != nil || store.Scheme != "http" || config.IsLoopback(store.Hostname()) {
		return
	}
	pages, _ := p.pages()
	for _, page := range pages {
		if !strings.HasPrefix(page, "https://") {
			continue
		}
		p.warn("mixed_content", explanation{
			fmt.Sprintf("pages of %s cannot load from %s: browsers block http:// in pages with "+
				"https://, or request images, audio and video with https:// instead",
				page, p.i.Endpoint),
			"Give the store a certificate, and set endpoint: https://" + store.Host + store.Path,
		})
		return
	}
}
