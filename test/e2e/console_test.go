package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestConsoleAddsTheFirstIntegration starts with a configuration without integrations and ends with
// an image on the page, by keyboard alone and with a role that radosgw enforces. The console
// explains a missing role before it writes anything.
func TestConsoleAddsTheFirstIntegration(t *testing.T) {
	t.Parallel()
	g := radosgw(t)
	const bucket = "console-wizard"
	g.createBucket(t, bucket)
	g.put(t, bucket, "pictures/one.png", picture(t, 48))
	p, dir := startProxyIn(t, `
include: [integrations.d/*.yaml]
admin:
  token: "${ADMIN_TOKEN}"
  variables: {ids: [TRUSTED_KEY], secrets: [TRUSTED_SECRET]}
`, append(g.env(), "ADMIN_TOKEN="+adminToken)...)
	before, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := openConsole(t, p)
	c.signIn("Ann")
	c.press("#add")
	c.until(`document.querySelector("dialog[open] [name=bucket]")`)
	c.press("dialog .actions button:not([type])")
	c.until(`document.querySelector("dialog [name=bucket][aria-invalid]") ===
		document.activeElement`)
	c.fill("bucket", "Console_Wizard")
	c.press("dialog .actions button:not([type])")
	c.until(`document.querySelectorAll("dialog [aria-invalid]").length === 1`)
	c.fill("bucket", bucket)
	c.fill("prefix", "pictures")
	c.press("dialog .actions button:not([type])")
	c.until(`document.querySelector("dialog [name=prefix][aria-invalid]") ===
		document.activeElement`)
	c.fill("prefix", "pictures/")
	c.fill("name", "wizard")
	c.fill("region", "us-east-1")
	c.press("dialog summary")
	c.fill("endpoint", g.endpoint)
	c.fill("sts_endpoint", g.endpoint)
	c.fill("access_key_id", "${TRUSTED_KEY}")
	c.fill("secret_access_key", "${TRUSTED_SECRET}")
	c.tabTo("[name=path_style]")
	c.do(chromedp.KeyEvent(" "))
	c.next("Access policy")
	c.until(`document.querySelector("dialog pre")?.textContent
		.includes("arn:aws:s3:::` + bucket + `/pictures/*")`)
	c.next("Trust policy")
	// radosgw does not support external IDs. An emptied field takes a new value and can be emptied
	// again.
	c.fill("external_id", "")
	c.fill("external_id", "one")
	c.fill("external_id", "")
	c.fill("principal", "arn:aws:iam:::user/trusted")
	c.do(chromedp.KeyEvent(kb.Tab))
	c.until(`document.querySelector("dialog pre")?.textContent
		.includes("arn:aws:iam:::user/trusted")`)
	c.next("The role")
	c.fill("role_arn", "arn:aws:iam:::role/nobody")
	c.next("CORS")
	c.next("Try it")
	c.fill("sample", "s3://"+bucket+"/pictures/one.png")
	c.press("dialog .check button")
	c.until(`document.querySelector("dialog .check [role=status]").textContent
		.startsWith("Some steps failed")`)
	for _, want := range []string{
		"the role arn:aws:iam:::role/nobody does not exist",
		"Correct role_arn, or create the role",
	} {
		if text := c.text(); !strings.Contains(text, want) {
			t.Errorf("check of a missing role lacks %q; the dialog shows:\n%s", want, text)
		}
	}
	back := func(title string) {
		c.press("dialog .actions button:nth-of-type(2)")
		c.until(`document.querySelector("#dialog-title").textContent
			.startsWith(` + quoted(title) + `)`)
	}
	back("CORS")
	back("The role")
	c.fill("role_arn", g.roleARN)
	c.next("CORS")
	c.next("Try it")
	c.fill("sample", "s3://"+bucket+"/pictures/one.png")
	c.press("dialog .check button")
	c.until(`document.querySelector("dialog .check [role=status]").textContent
		.startsWith("All steps passed")`)
	c.next("What will be written")
	c.until(`document.querySelector("dialog .diff")`)
	c.screenshot("diff")
	written := filepath.Join(dir, "integrations.d", "wizard.yaml")
	if _, err := os.Stat(written); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Stat of %s before saving: error %v, want %v", written, err, fs.ErrNotExist)
	}
	c.next("Done")
	c.press("dialog .step button")
	c.until(`document.querySelector(".card h3")?.textContent === "wizard"`)
	after, err := os.ReadFile(written)
	const (
		head   = "# Written by s3redirect.\nname: wizard\nbucket: " + bucket + "\nprefix: pictures/\n"
		secret = "secret_access_key: ${TRUSTED_SECRET}\n"
	)
	if err != nil || !strings.HasPrefix(string(after), head) ||
		!strings.Contains(string(after), secret) {
		t.Errorf("wizard.yaml (error %v), want it to begin with %q and to contain %q:\n%s",
			err, head, secret, after)
	}
	wantUnchanged(t, filepath.Join(dir, "config.yaml"), before)
	c.until(`document.querySelector(".card .badge").textContent === "one prefix" &&
		document.querySelector(".card dl").textContent.includes("pictures/")`)

	c.fill("locator", "s3://"+bucket+"/pictures/one.png")
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector("#trial-result iframe")
		?.contentDocument?.images[0]?.naturalWidth === 48`)
	for _, want := range []string{"allowed, because there are no rules", "wizard"} {
		if text := c.text(); !strings.Contains(text, want) {
			t.Errorf("trial result lacks %q; the page shows:\n%s", want, text)
		}
	}
	// The preview filled the cache, so the next trial reports a hit.
	c.do(chromedp.KeyEvent(kb.Enter))
	c.fill("locator", "/s3/"+bucket+"/pictures/one.png")
	c.do(chromedp.KeyEvent(kb.Enter))
	c.until(`document.querySelector("#trial-result").innerText
		.includes("hit: it is in the cache")`)
	c.until(`document.querySelector(".card .state").textContent.startsWith("session good for")`)
	log := p.output()
	if want := `"msg":"console: configuration changed","who":"Ann"`; !strings.Contains(log, want) {
		t.Errorf("the log lacks %s", want)
	}
	if strings.Contains(log, adminToken) {
		t.Error("the log contains the administrators' token")
	}
}

// wantUnchanged checks that the file at path holds want.
func wantUnchanged(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has changed (error %v): got\n%s\nwant\n%s", path, err, got, want)
	}
}

// fewIntegrations returns the end of a configuration with n integrations in files that the console
// may change. They use access keys, and tests send no request to their store.
func fewIntegrations(n int) string {
	var b strings.Builder
	b.WriteString("include: [integrations.d/*.yaml]\n")
	for i := range n {
		fmt.Fprintf(&b, `-- one-%d.yaml --
# Written by s3redirect.
name: one-%d
bucket: bucket-%d
region: us-east-1
endpoint: https://store.example.com
access_key_id: AKIA
secret_access_key: ${SECRET}
`, i, i, i)
	}
	return b.String()
}

// TestConsoleExplainsReadOnlyIntegrations shows that an integration in the main file is read-only.
// Its card names the file and the line, and the console explains how to make it editable.
func TestConsoleExplainsReadOnlyIntegrations(t *testing.T) {
	t.Parallel()
	p, _ := startProxyIn(t, withConsole+`
integrations:
  - name: ours
    bucket: our-bucket
    region: us-east-1
    endpoint: https://store.example.com
    access_key_id: AKIA
    secret_access_key: ${SECRET}
`+fewIntegrations(1), "ADMIN_TOKEN="+adminToken, "SECRET=canary")
	c := openConsole(t, p)
	c.until(`[...document.querySelectorAll(".card")]
		.filter(e => e.textContent.includes("config.yaml, line ")).length === 1`)
	c.signIn("Ann")
	c.until(`document.querySelector('[aria-label="Edit one-0"]') &&
		!document.querySelector('[aria-label="Edit ours"]') &&
		!document.querySelector('[aria-label="Remove ours"]')`)
	c.press(`[aria-label="Read-only: how to change ours"]`)
	c.until(`document.querySelector("dialog [role=alert]")?.textContent.includes(
		"only people edit this file. " +
		"To change it here, move its keys to integrations.d/ours.yaml")`)
}

// TestConsoleReportsConcurrentEdits lets two administrators edit one integration. The second to
// save gets a conflict, keeps the input, and continues with the file's current contents.
func TestConsoleReportsConcurrentEdits(t *testing.T) {
	t.Parallel()
	p, dir := startProxyIn(t, withConsole+fewIntegrations(2),
		"ADMIN_TOKEN="+adminToken, "SECRET=canary")
	ann, bob := openConsole(t, p), openConsole(t, p)
	for name, c := range map[string]*consoleTab{"Ann": ann, "Bob": bob} {
		c.signIn(name)
		c.press(`[aria-label="Edit one-0"]`)
		c.until(`document.querySelector("dialog[open] [name=bucket]")?.value === "bucket-0"`)
		c.fill("bucket", strings.ToLower(name)+"s-bucket")
	}
	ann.next("Try it")
	ann.next("What will be written")
	ann.next("Done")
	const conflict = `document.querySelector("dialog [role=alert]")?.textContent
		.includes("another user or program has saved it")`
	bob.press("dialog .actions button:not([type])")
	bob.until(conflict)
	got := bob.js(`Promise.resolve(document.querySelector("dialog [name=bucket]").value)`)
	if got != "bobs-bucket" {
		t.Errorf("Bob's input after the conflict = %q, want %q", got, "bobs-bucket")
	}
	bob.press(`dialog [role=alert] + button`)
	bob.until(`document.querySelector("#dialog-title").textContent === "Try it"`)
	bob.next("What will be written")
	bob.until(`document.querySelector("dialog .diff del")?.textContent.includes("anns-bucket")`)
	// Meanwhile, another program changes the file.
	file := filepath.Join(dir, "integrations.d", "one-0.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := bytes.Replace(text, []byte("us-east-1"), []byte("us-east-2"), 1)
	if err := os.WriteFile(file, edited, 0o600); err != nil {
		t.Fatal(err)
	}
	bob.press("dialog .actions button:not([type])")
	bob.until(conflict)
	bob.press(`dialog [role=alert] + button`)
	bob.until(`document.querySelector("dialog .diff") &&
		!document.querySelector("dialog [role=alert]")`)
	bob.next("Done")
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bobs-bucket", "us-east-2"} {
		if !strings.Contains(string(saved), want) {
			t.Errorf("the saved file lacks %q:\n%s", want, saved)
		}
	}
}

// TestConsoleWithAThousandIntegrations opens the console with 1,000 integrations. The page has only
// the first 50, and the search finds the others.
func TestConsoleWithAThousandIntegrations(t *testing.T) {
	t.Parallel()
	openTime := func(n int) time.Duration {
		p, _ := startProxyIn(t, fewIntegrations(n), "SECRET=canary")
		c := openConsole(t, p)
		var best time.Duration
		for range 3 {
			began := time.Now()
			c.open(p.admin + "/")
			c.until(fmt.Sprintf(
				`document.querySelector("#count").textContent.replace(/\D/g, "") === "%d" &&
				document.querySelectorAll(".card").length === %d`, n, min(n, 50)))
			if took := time.Since(began); best == 0 || took < best {
				best = took
			}
		}
		if n > 50 {
			c.tabTo("#search")
			c.do(chromedp.KeyEvent("BUCKET-777"))
			c.until(`document.querySelectorAll(".card").length === 1 &&
				document.querySelector(".card h3").textContent === "one-777" &&
				document.querySelector("#count").textContent.startsWith("1 of")`)
			c.do(chromedp.KeyEvent(strings.Repeat(kb.Backspace, 10)))
			c.until(`!document.querySelector("#more").hidden`)
			c.press("#more")
			c.until(`document.querySelectorAll(".card").length === 100`)
		}
		return best
	}
	few, many := openTime(10), openTime(1000)
	t.Logf("the page opens in %v with 10 integrations and in %v with 1,000: a ratio of %.1f",
		few.Round(time.Millisecond), many.Round(time.Millisecond), float64(many)/float64(few))
}
