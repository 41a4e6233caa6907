package integration

import (
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

func typed() *Integration {
	i := &Integration{}
	i.setParams(&config.Integration{RequesterPays: true, ContentTypes: map[string]string{
		".gz": "application/gzip", ".SVG": "image/svg+xml", ".svg.gz": "image/svg+xml; a=b",
	}})
	return i
}

func TestCanonicalParamsOfKeys(t *testing.T) {
	const payer, kind = "x-amz-request-payer=requester", "response-content-type="
	i := typed()
	for key, want := range map[string]string{
		"a.svg":        kind + "image%2Fsvg%2Bxml&" + payer,
		"A.SVG":        kind + "image%2Fsvg%2Bxml&" + payer,
		".svg":         kind + "image%2Fsvg%2Bxml&" + payer,
		"x/a.tar.gz":   kind + "application%2Fgzip&" + payer,
		"a.Svg.Gz":     kind + "image%2Fsvg%2Bxml%3B%20a%3Db&" + payer,
		"a.svg/":       payer,
		"a.svgz":       payer,
		"svg":          payer,
		"":             payer,
		"a\u017fvg":    payer, // its first letter has the same lower case as an S
		"a.\u017fvg":   payer,
		"a.svg?x":      payer,
		"folder.svg/a": payer,
	} {
		if got := i.CanonicalParams(key, false); got != want {
			t.Errorf("CanonicalParams(%q, false) = %s, want %s", key, got, want)
		}
		if got := i.CanonicalParams(key, true); got != want+"&x-cors=1" {
			t.Errorf("CanonicalParams(%q, true) = %s, want %s&x-cors=1", key, got, want)
		}
		p := i.ParamsOf(key)
		if got := p.Canonical(); got != want {
			t.Errorf("ParamsOf(%q) is %s in canonical form, want %s", key, got, want)
		}
	}
}

func TestCanonicalParamsDoNotAllocate(t *testing.T) {
	i := typed()
	if n := testing.AllocsPerRun(1000, func() {
		_ = i.CanonicalParams("folder/A.SVG", true)
		_ = i.CanonicalParams("folder/none", false)
	}); n > 0 {
		t.Errorf("CanonicalParams makes %v allocations, want none", n)
	}
}

// Content types are part of URLs and not of sessions.
func TestNextWithOtherContentTypesKeepsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{}, []config.Integration{role("lab", "bucket")})
		w.sleepUntilTurn("bucket")
		window := w.mustWindow("bucket")
		changed := role("lab", "bucket")
		changed.ContentTypes = map[string]string{".svg": "image/svg+xml"}
		n := w.next(changed)
		defer n.Close()
		if n.mustWindow("bucket") != window {
			t.Error("with content_types the integration has another window, want the same")
		}
		if got := n.sts.count("lab"); got != 1 {
			t.Errorf("%d calls to STS, want 1", got)
		}
		l := locator.Locator{Bucket: "bucket", Key: "a.svg"}
		u, err := n.Presign(t.Context(), http.MethodGet, l, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := parsed.Query().Get("response-content-type"), "image/svg+xml"; got != want {
			t.Errorf("response-content-type = %q, want %q", got, want)
		}
	})
}
