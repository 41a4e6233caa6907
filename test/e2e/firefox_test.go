package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// webPage is a page in a real browser. Its methods fail the test on errors.
type webPage interface {
	open(url string)         // navigates and waits until the page is loaded
	js(script string) string // evaluates a script and returns the string its promise is fulfilled with
	back()                   // goes back in the tab's history
	close()                  // stops the browser; the end of the test does so too
}

// pageTimeout bounds a navigation and a script.
const pageTimeout = 60 * time.Second

// firefox is a headless Firefox with a new profile. It is driven by Marionette, Firefox's own
// protocol: WebDriver commands as JSON over TCP, without geckodriver.
// https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html
type firefox struct {
	t       *testing.T
	process *server
	conn    net.Conn
	answers *bufio.Reader
	id      int // of the last command
}

// firefoxPreferences let Firefox run without a user and without requests of its own. The
// back-forward cache is off, so that going back loads a page again.
const firefoxPreferences = `
user_pref("marionette.port", %d);
user_pref("browser.sessionhistory.max_total_viewers", 0);
user_pref("media.autoplay.default", 0);
user_pref("app.update.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("browser.region.network.url", "");
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.page", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("extensions.update.enabled", false);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "http://127.0.0.1:1");
user_pref("toolkit.telemetry.enabled", false);
user_pref("toolkit.telemetry.server", "");
`

// openFirefox starts a Firefox. preferences are further lines of its user.js.
func openFirefox(t *testing.T, preferences ...string) *firefox {
	t.Helper()
	need(t, "firefox-esr")
	// The profile is in workDir because Firefox may still write to it when the test ends.
	dir, err := os.MkdirTemp(workDir, "firefox-")
	if err != nil {
		t.Fatal(err)
	}
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	prefs := fmt.Sprintf(firefoxPreferences, ports[0]) + strings.Join(preferences, "\n")
	if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(prefs), 0o600); err != nil {
		t.Fatal(err)
	}
	// Firefox's sandbox needs rights that containers lack.
	process, err := startServer(dir, "firefox", []string{"MOZ_DISABLE_CONTENT_SANDBOX=1"},
		"firefox-esr", "--headless", "--marionette", "--no-remote", "--profile", dir, "about:blank")
	if err != nil {
		t.Fatal(err)
	}
	f := &firefox{t: t, process: process}
	t.Cleanup(f.close)
	if err := process.await("Firefox", func() bool { return f.connect(ports[0]) }); err != nil {
		t.Fatal(err)
	}
	timeouts := map[string]int64{
		"script":   pageTimeout.Milliseconds(),
		"pageLoad": pageTimeout.Milliseconds(),
	}
	f.command("WebDriver:NewSession", map[string]any{
		"capabilities": map[string]any{"alwaysMatch": map[string]any{"timeouts": timeouts}},
	})
	return f
}

// connect connects to Marionette and reports whether it greeted.
func (f *firefox) connect(port int) bool {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	f.conn, f.answers = conn, bufio.NewReader(conn)
	_, err = f.read()
	return err == nil
}

// read reads a message, which is preceded by its length and a colon.
func (f *firefox) read() ([]byte, error) {
	if err := f.conn.SetReadDeadline(time.Now().Add(2 * pageTimeout)); err != nil {
		return nil, err
	}
	length, err := f.answers.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		return nil, err
	}
	message := make([]byte, n)
	_, err = io.ReadFull(f.answers, message)
	return message, err
}

// command sends a command and returns its result.
func (f *firefox) command(name string, parameters any) json.RawMessage {
	f.t.Helper()
	f.id++
	message, err := json.Marshal([]any{0, f.id, name, parameters})
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f.conn, "%d:%s", len(message), message); err != nil {
		f.t.Fatalf("Firefox: %s: %v", name, err)
	}
	message, err = f.read()
	if err != nil {
		f.t.Fatalf("Firefox: %s: %v", name, err)
	}
	var answer [4]json.RawMessage // 1, the command's id, an error or null, the result
	if err := json.Unmarshal(message, &answer); err != nil {
		f.t.Fatalf("Firefox: %s: %v: %s", name, err, message)
	}
	if string(answer[2]) != "null" {
		f.t.Fatalf("Firefox: %s: %s", name, answer[2])
	}
	return answer[3]
}

func (f *firefox) open(url string) {
	f.t.Helper()
	f.command("WebDriver:Navigate", map[string]string{"url": url})
}

func (f *firefox) back() {
	f.t.Helper()
	f.command("WebDriver:Back", struct{}{})
}

func (f *firefox) js(script string) string {
	f.t.Helper()
	result := f.command("WebDriver:ExecuteAsyncScript", asyncScript(script))
	return scriptResult(f.t, script, result)
}

func (f *firefox) close() {
	if f.conn != nil {
		_ = f.conn.Close()
	}
	f.process.stop()
}

// asyncScript returns the parameters of WebDriver's Execute Async Script that evaluate a script and
// wait for its promise. https://www.w3.org/TR/webdriver2/#execute-async-script
func asyncScript(script string) map[string]any {
	return map[string]any{
		"script": "const done = arguments[arguments.length - 1];\n" +
			"Promise.resolve(" + script + ").then(v => done({value: v}), e => done({error: '' + e}))",
		"args": []any{},
	}
}

// scriptResult returns the string that a script was fulfilled with.
func scriptResult(t *testing.T, script string, result []byte) string {
	t.Helper()
	var got struct {
		Value struct {
			Value any
			Error string
		}
	}
	if err := json.Unmarshal(result, &got); err != nil {
		t.Fatalf("%v: %s: %s", err, result, script)
	}
	text, ok := got.Value.Value.(string)
	if !ok || got.Value.Error != "" {
		t.Fatalf("script returned %s, want a string: %s", result, script)
	}
	return text
}
