package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// webKit is WebKitGTK's MiniBrowser, driven by WebKitWebDriver. Its engine and media elements are
// those of Safari in many respects, but it is not Safari.
// https://www.w3.org/TR/webdriver2/
type webKit struct {
	t       *testing.T
	driver  *server
	url     string // the driver's
	session string // the session's URL
}

// miniBrowser returns the path of the browser that comes with WebKitGTK.
func miniBrowser() (string, error) {
	found, err := filepath.Glob("/usr/lib/*/webkit2gtk-4.*/MiniBrowser")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("MiniBrowser is missing below /usr/lib: %w", os.ErrNotExist)
	}
	return found[len(found)-1], nil
}

// needHLS skips the test if WebKitGTK lacks what it plays HLS with: GStreamer's demultiplexer, or
// ffmpeg's decoders. In CI, the test fails instead.
func needHLS(t *testing.T) {
	t.Helper()
	for _, plugin := range []string{"libgsthls.so", "libgstlibav.so"} {
		found, err := filepath.Glob("/usr/lib/*/gstreamer-1.0/" + plugin)
		if err != nil || len(found) == 0 {
			needFiles(t, "/usr/lib/gstreamer-1.0/"+plugin)
		}
	}
}

// display starts an X server without a screen, which all tests share, and returns its name.
var display = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp(workDir, "xvfb-")
	if err != nil {
		return "", err
	}
	// Xvfb chooses a free display and writes its number to the file descriptor 1.
	process, err := startServer(dir, "xvfb", nil, "Xvfb", "-displayfd", "1", "-nolisten", "tcp")
	if err != nil {
		return "", err
	}
	number := regexp.MustCompile(`(?m)^\d+$`)
	err = process.await("Xvfb", func() bool { return number.MatchString(process.output()) })
	return ":" + number.FindString(process.output()), err
})

// openWebKit starts a WebKitGTK with an empty profile.
func openWebKit(t *testing.T) *webKit {
	t.Helper()
	need(t, "Xvfb", "WebKitWebDriver")
	browser, err := miniBrowser()
	if err != nil {
		t.Fatal(err)
	}
	screen, err := display()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(workDir, "webkit-")
	if err != nil {
		t.Fatal(err)
	}
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	// WebKitGTK's sandbox needs rights that containers lack, and there is no GPU. HLS is off by
	// default.
	env := []string{
		"DISPLAY=" + screen,
		"WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS=1",
		"WEBKIT_DISABLE_COMPOSITING_MODE=1",
		"LIBGL_ALWAYS_SOFTWARE=1",
		"WEBKIT_GST_ENABLE_HLS_SUPPORT=1",
	}
	driver, err := startServer(dir, "webkit", env,
		"WebKitWebDriver", "--host=127.0.0.1", fmt.Sprintf("--port=%d", ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	w := &webKit{t: t, driver: driver, url: fmt.Sprintf("http://127.0.0.1:%d", ports[0])}
	t.Cleanup(w.close)
	ready := func() bool { return answersOK(w.url + "/status") }
	if err := driver.await("WebKitWebDriver", ready); err != nil {
		t.Fatal(err)
	}
	w.newSession(browser)
	return w
}

func (w *webKit) newSession(browser string) {
	w.t.Helper()
	result := w.command(http.MethodPost, w.url+"/session", map[string]any{
		"capabilities": map[string]any{"alwaysMatch": map[string]any{
			"timeouts": map[string]int64{
				"script":   pageTimeout.Milliseconds(),
				"pageLoad": pageTimeout.Milliseconds(),
			},
			"webkitgtk:browserOptions": map[string]any{
				"binary": browser,
				"args":   []string{"--automation"},
			},
		}},
	})
	var created struct{ Value struct{ SessionID string } }
	if err := json.Unmarshal(result, &created); err != nil || created.Value.SessionID == "" {
		w.t.Fatalf("WebKitWebDriver: new session: %v: %s", err, result)
	}
	w.session = w.url + "/session/" + created.Value.SessionID
}

// command sends a command and returns its response.
func (w *webKit) command(method, url string, parameters any) []byte {
	w.t.Helper()
	response, err := w.try(method, url, parameters)
	if err != nil {
		w.t.Fatalf("WebKitWebDriver: %v", err)
	}
	return response
}

// try is command for a browser that may hang.
func (w *webKit) try(method, url string, parameters any) ([]byte, error) {
	body, err := json.Marshal(parameters)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	a, err := readAnswer((&http.Client{Timeout: pageTimeout + 10*time.Second}).Do(req))
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d: %s",
			strings.TrimPrefix(url, w.url), a.status, a.body)
	}
	return a.body, nil
}

func (w *webKit) open(url string) {
	w.t.Helper()
	w.command(http.MethodPost, w.session+"/url", map[string]string{"url": url})
}

func (w *webKit) back() {
	w.t.Helper()
	w.command(http.MethodPost, w.session+"/back", struct{}{})
}

func (w *webKit) js(script string) string {
	w.t.Helper()
	result := w.command(http.MethodPost, w.session+"/execute/async", asyncScript(script))
	return scriptResult(w.t, script, result)
}

// tryJS is js for a script that the browser may hang in.
func (w *webKit) tryJS(script string) (string, error) {
	w.t.Helper()
	result, err := w.try(http.MethodPost, w.session+"/execute/async", asyncScript(script))
	if err != nil {
		return "", err
	}
	return scriptResult(w.t, script, result), nil
}

// close ends the session, which ends the browser, and stops the driver.
func (w *webKit) close() {
	if w.session != "" {
		req, err := http.NewRequest(http.MethodDelete, w.session, nil)
		if err == nil {
			_, _ = readAnswer((&http.Client{Timeout: 10 * time.Second}).Do(req))
		}
		w.session = ""
	}
	w.driver.stop()
}
