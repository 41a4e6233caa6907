package console

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"s3redirect/internal/config"
)

// changeRequest is a change of the configuration: what is to be done, to which integration, and how it is to be.
type changeRequest struct {
	Action string `json:"action"` // add, change or remove
	Name   string `json:"name"`   // of the integration that is changed or removed
	// Draft is the new integration; of one that is changed, the keys that are.
	Draft config.Draft `json:"draft"`
	// Base names the file's text that the change was made for. Where it is given, the file must still be the same.
	Base string `json:"base"`
	// Save writes the file. Without it the change is only shown.
	Save bool `json:"save"`
}

// changeAnswer is what a change does to the file.
type changeAnswer struct {
	Base string `json:"base"`
	Diff string `json:"diff"`
	// Different tells whether anything changes, be it something that the diff does not show.
	Different bool `json:"different"`
	Saved     bool `json:"saved"`
	// Problem is why the file is written and not in use.
	Problem string `json:"problem,omitempty"`
}

// draftAnswer is what a form begins with.
type draftAnswer struct {
	Base  string       `json:"base"`
	Draft config.Draft `json:"draft"`
	// Kept are the secrets that the file has written out, which are not shown.
	Kept []string `json:"kept"`
}

// draft is an integration as the file has it, or the beginning of a new one.
func (c *Console) draft(r *http.Request) (any, error) {
	if err := c.mustBeSignedIn(r); err != nil {
		return nil, err
	}
	file := c.Proxy.State().File
	text, base, err := readBase(file)
	if err != nil {
		return nil, err
	}
	parsed, err := config.Parse(file, text, c.Getenv)
	if err != nil {
		return nil, c.mistakes(err, -1)
	}
	if err := config.Writable(file); err != nil {
		return nil, &refusal{status: http.StatusConflict, text: err.Error()}
	}
	name := r.URL.Query().Get("name")
	if name == "" {
		return draftAnswer{Base: base, Draft: config.Draft{"region": config.RegionAuto, "external_id": rand.Text()}, Kept: []string{}}, nil
	}
	d, err := config.DraftOf(file, text, name, c.Getenv)
	if err != nil {
		return nil, c.mistakes(err, -1)
	}
	a := draftAnswer{Base: base, Draft: d, Kept: []string{}}
	if i, err := named(parsed, name); err == nil && i.SecretAccessKey != "" && d["secret_access_key"] == "" {
		a.Kept = config.SecretKeys()
	}
	return a, nil
}

// readBase reads the file, and makes a name for its text.
func readBase(file string) (text []byte, base string, err error) {
	if file == "" {
		return nil, "", &refusal{status: http.StatusForbidden, text: "nothing can be changed here: the configuration is no file's"}
	}
	if text, err = config.ReadFile(file); err != nil {
		return nil, "", &refusal{status: http.StatusConflict, text: err.Error()}
	}
	sum := sha256.Sum256(text)
	return text, encode(sum[:]), nil
}

// changed is the file after a change.
type changed struct {
	file      string
	old, text []byte
	base      string
	config    *config.Config
	// integration is the one that was added or changed.
	integration *config.Integration
}

var variable = regexp.MustCompile(`^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`)

// changed makes the text that the file would have.
func (c *Console) changed(in *changeRequest) (*changed, error) {
	file := c.Proxy.State().File
	old, base, err := readBase(file)
	if err != nil {
		return nil, err
	}
	if in.Base != "" && in.Base != base {
		return nil, errChangedMeanwhile
	}
	for _, key := range config.SecretKeys() {
		if text := in.Draft[key]; text != "" && !variable.MatchString(text) {
			return nil, &refusal{status: http.StatusUnprocessableEntity, text: "a secret stays out of the file and of this page",
				keys: map[string]string{key: "name an environment variable, such as ${SCANS_SECRET}, which is set where the proxy runs"}}
		}
	}
	before, err := config.Parse(file, old, c.Getenv)
	if err != nil {
		return nil, c.mistakes(err, -1)
	}
	if err := c.checkVariables(in, file, old, before.Admin.Variables); err != nil {
		return nil, err
	}
	n, name := -1, in.Name
	var text []byte
	switch in.Action {
	case "add":
		var i *config.Integration
		if i, err = in.Draft.Integration(); err == nil {
			n, name = len(before.Integrations), i.Name
			text, err = config.Append(file, old, i, c.Getenv)
		}
	case "change":
		n = slices.IndexFunc(before.Integrations, func(i config.Integration) bool { return i.Name == in.Name })
		if renamed := in.Draft["name"]; renamed != "" {
			name = renamed
		}
		text, err = config.Change(file, old, in.Name, in.Draft, c.Getenv)
	case "remove":
		text, err = config.Remove(file, old, in.Name, c.Getenv)
	default:
		return nil, &refusal{status: http.StatusBadRequest, text: "there is no such change: " + in.Action}
	}
	if err != nil {
		return nil, c.mistakes(err, n)
	}
	done := &changed{file: file, old: old, text: text, base: base}
	if done.config, err = config.Parse(file, text, c.Getenv); err != nil {
		return nil, c.mistakes(err, n)
	}
	if in.Action != "remove" {
		done.integration, err = named(done.config, name)
	}
	return done, err
}

var errChangedMeanwhile = &refusal{status: http.StatusConflict,
	text: "The configuration's file has changed since this was opened: somebody else has saved it. Nothing was written, and nothing of yours is lost."}

// mistakes is a refusal of what would not load, with what is wrong with the n-th integration by key, if n is not negative.
func (c *Console) mistakes(err error, n int) error {
	all, ok := errors.AsType[config.Errors](err)
	if !ok {
		return err
	}
	no := &refusal{status: http.StatusUnprocessableEntity, keys: map[string]string{}}
	var lines []string
	at := fmt.Sprintf("integrations[%d]", n)
	for _, e := range all {
		key, its := strings.CutPrefix(e.Key, at)
		switch {
		case e.File == "" && e.Key != "": // of a draft
			no.keys[e.Key] = e.Problem
		case its && n >= 0:
			no.keys[strings.TrimPrefix(strings.TrimSuffix(indexed.ReplaceAllString(key, ""), "."), ".")] = e.Problem
		}
		lines = append(lines, e.Error())
	}
	no.text = strings.Join(lines, "\n")
	return no
}

// indexed is the end of a list item's key.
var indexed = regexp.MustCompile(`\[\d+\]$`)

// change shows what a change does to the file, or does it.
func (c *Console) change(r *http.Request) (any, error) {
	who, err := c.mayChange(r)
	if err != nil {
		return nil, err
	}
	var in changeRequest
	if err := readJSON(r, &in); err != nil {
		return nil, err
	}
	if in.Save && in.Base == "" {
		return nil, &refusal{status: http.StatusBadRequest, text: "a change is looked at before it is saved"}
	}
	unlock, err := c.lockFile(r.Context())
	if err != nil {
		return nil, err
	}
	defer unlock()
	done, err := c.changed(&in)
	if err != nil {
		return nil, err
	}
	a := changeAnswer{Base: done.base, Diff: done.diff(), Different: !bytes.Equal(done.old, done.text)}
	if !in.Save {
		return a, nil
	}
	switch err := config.Save(r.Context(), done.file, done.old, done.text); {
	case err == nil:
	case errors.Is(err, config.ErrChanged):
		return nil, errChangedMeanwhile
	case errors.Is(err, config.ErrLocked), errors.Is(err, context.Canceled):
		return nil, &refusal{status: http.StatusServiceUnavailable, text: err.Error()}
	default:
		return nil, &refusal{status: http.StatusInternalServerError, text: err.Error()}
	}
	c.Log.Info("console: configuration changed", "who", who, "from", r.RemoteAddr, "action", in.Action, "integration", changedName(&in, done),
		"keys", slices.Sorted(maps.Keys(in.Draft)))
	a.Saved = true
	if err := c.Proxy.Reload(); err != nil {
		a.Problem = "The file was written, and the proxy refuses it, so the old configuration goes on: " + err.Error()
	}
	return a, nil
}

// lockFile waits until no other request changes the file, for as long as [config.Save] waits for other programs.
func (c *Console) lockFile(ctx context.Context) (unlock func(), err error) {
	select {
	case c.saving <- struct{}{}:
		return func() { <-c.saving }, nil
	case <-time.After(config.LockTimeout):
		return nil, &refusal{status: http.StatusServiceUnavailable, text: "other changes are being saved; nothing was written, try again"}
	case <-ctx.Done():
		return nil, &refusal{status: http.StatusServiceUnavailable, text: "the request was cancelled; nothing was written"}
	}
}

// diff is what changes in the file, without the secrets that are written out in it.
func (d *changed) diff() string {
	text := diff.Diff("a", config.Masked(d.old), "b", config.Masked(d.text))
	return string(bytes.TrimPrefix(text, []byte("diff a b\n--- a\n+++ b\n")))
}

func changedName(in *changeRequest, done *changed) string {
	if done.integration != nil {
		return done.integration.Name
	}
	return in.Name
}
