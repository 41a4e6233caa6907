package console

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"s3redirect/internal/config"
	"s3redirect/internal/onboard"
)

// changeRequest is a change of one integration.
type changeRequest struct {
	Action string `json:"action"` // add, change or remove
	Name   string `json:"name"`   // of the integration to change or remove
	// Draft is the new integration or, for a change, the keys that change.
	Draft config.Draft `json:"draft"`
	// Base identifies the content of the integration's file that the change was made for. If it is
	// set, the file must still have that content.
	Base string `json:"base"`
	// Save writes the file. Without it the change is only shown.
	Save bool `json:"save"`
}

// changeAnswer is what a change does to the integration's file.
type changeAnswer struct {
	Base string `json:"base"`
	File string `json:"file"` // after the change, or before it if the integration is removed
	Diff string `json:"diff"`
	// Different reports whether anything changes.
	Different bool `json:"different"`
	Saved     bool `json:"saved"`
	// Problem is why the proxy does not use a change that was saved.
	Problem string `json:"problem,omitempty"`
}

// draftAnswer holds the initial values of a form.
type draftAnswer struct {
	Base  string       `json:"base"`
	Draft config.Draft `json:"draft"`
}

// draft answers with the keys of an integration's file, or with the initial keys of a new one.
func (c *Console) draft(r *http.Request) (any, error) {
	if err := c.mustBeSignedIn(r); err != nil {
		return nil, err
	}
	source, parsed, err := c.read()
	if err != nil {
		return nil, err
	}
	if err := source.Writable(); err != nil {
		return nil, &refusal{status: http.StatusConflict, text: err.Error()}
	}
	name := r.URL.Query().Get("name")
	if name == "" {
		return draftAnswer{Base: baseOf(nil), Draft: onboard.New()}, nil
	}
	d, err := source.Draft(parsed, name)
	if err != nil {
		return nil, c.mistakes(err, "")
	}
	ch, err := source.Remove(parsed, name)
	if err != nil {
		return nil, c.mistakes(err, "")
	}
	return draftAnswer{Base: baseOf(ch.Old), Draft: d}, nil
}

// read reads and parses the configuration as it is on disk, which may differ from the one in use.
func (c *Console) read() (*config.Source, *config.Config, error) {
	file := c.Proxy.State().File
	if file == "" {
		return nil, nil, &refusal{status: http.StatusForbidden,
			text: "nothing can be changed here: the configuration does not come from a file"}
	}
	source, err := config.Read(file)
	if err != nil {
		return nil, nil, &refusal{status: http.StatusConflict, text: err.Error()}
	}
	parsed, err := source.Parse(c.Getenv)
	if err != nil {
		return nil, nil, c.mistakes(err, "")
	}
	return source, parsed, nil
}

// baseOf returns an identifier of a file's content, nil for a file that does not exist.
func baseOf(text []byte) string {
	sum := sha256.Sum256(text)
	return encode(sum[:])
}

// changed holds a change and the resulting configuration.
type changed struct {
	*config.Change
	base   string
	config *config.Config
	// integration is the one that was added or changed; nil if it is removed.
	integration *config.Integration
}

// changed applies a request. It returns an error if the resulting configuration does not load.
func (c *Console) changed(in *changeRequest) (*changed, error) {
	source, before, err := c.read()
	if err != nil {
		return nil, err
	}
	for _, key := range config.SecretKeys() {
		if text := in.Draft[key]; text != "" && !config.IsVariable(text) {
			return nil, &refusal{status: http.StatusUnprocessableEntity,
				text: "a secret stays out of the file and of this page",
				keys: map[string]string{key: "name an environment variable, such as " +
					"${SCANS_SECRET}, which is set where the proxy runs"}}
		}
	}
	if err := c.checkVariables(in, source, before); err != nil {
		return nil, err
	}
	done := &changed{}
	switch in.Action {
	case "add":
		done.Change, err = source.Add(withName(in.Draft))
	case "change":
		done.Change, err = source.Edit(before, in.Name, in.Draft)
	case "remove":
		done.Change, err = source.Remove(before, in.Name)
	default:
		return nil, &refusal{status: http.StatusBadRequest, text: "unknown action: " + in.Action}
	}
	if err != nil {
		return nil, c.mistakes(err, "")
	}
	if done.base = baseOf(done.Old); in.Base != "" && in.Base != done.base {
		return nil, errChangedMeanwhile
	}
	if done.config, err = done.Parse(c.Getenv); err != nil {
		return nil, c.mistakes(err, done.NewPath)
	}
	if all := done.config.Integrations; in.Action != "remove" {
		done.integration = all[len(all)-1]
	}
	return done, nil
}

// withName returns the draft of a new integration with the default name, if it has none.
func withName(d config.Draft) config.Draft {
	if d["name"] != "" {
		return d
	}
	d = maps.Clone(d)
	if d == nil {
		d = config.Draft{}
	}
	d["name"] = onboard.DefaultName(strings.Fields(d["bucket"]+" "+d["permitted_buckets"]), d["prefix"])
	return d
}

// questions answers with the questions and documents of the forms.
func (c *Console) questions(*http.Request) (any, error) {
	return map[string]any{"questions": onboard.Questions(), "documents": onboard.Documents()}, nil
}

var errChangedMeanwhile = &refusal{status: http.StatusConflict,
	text: "The integration's file has changed since this was opened: another user or program has " +
		"saved it. Nothing was written, and your input is kept."}

// mistakes returns the response for a configuration that does not load or an integration that
// cannot be changed. Errors about a draft or about file are by key; all others are text.
func (c *Console) mistakes(err error, file string) error {
	if readOnly, ok := errors.AsType[*config.ReadOnlyError](err); ok {
		return &refusal{status: http.StatusForbidden, text: readOnly.Error()}
	}
	all, ok := errors.AsType[config.Errors](err)
	if !ok {
		return err
	}
	no := &refusal{status: http.StatusUnprocessableEntity, keys: map[string]string{}}
	var lines []string
	for _, e := range all {
		if e.File == "" && e.Key != "" || e.File == file && file != "" {
			no.keys[indexed.ReplaceAllString(e.Key, "")] = e.Problem
		}
		lines = append(lines, e.Error())
	}
	no.text = strings.Join(lines, "\n")
	return no
}

// indexed matches the index at the end of a list item's key.
var indexed = regexp.MustCompile(`\[\d+\]$`)

// change answers with the diff of a change, and saves the change if the request says so.
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
		return nil, &refusal{status: http.StatusBadRequest,
			text: "a change must be shown before it is saved: base is missing"}
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
	a := changeAnswer{Base: done.base, File: cmp.Or(done.NewPath, done.OldPath), Diff: done.diff(),
		Different: !bytes.Equal(done.Old, done.New)}
	if !in.Save {
		return a, nil
	}
	switch err := done.Save(r.Context(), c.Getenv); {
	case err == nil:
	case errors.Is(err, config.ErrChanged):
		return nil, errChangedMeanwhile
	case errors.Is(err, config.ErrLocked), errors.Is(err, context.Canceled):
		return nil, &refusal{status: http.StatusServiceUnavailable, text: err.Error()}
	default:
		// Another program has changed the configuration so that it does not load.
		if _, ok := errors.AsType[config.Errors](err); ok {
			return nil, c.mistakes(err, done.NewPath)
		}
		return nil, &refusal{status: http.StatusInternalServerError, text: err.Error()}
	}
	c.Log.Info("console: configuration changed", "who", who, "from", r.RemoteAddr, "action",
		in.Action, "integration", changedName(&in, done),
		"keys", slices.Sorted(maps.Keys(in.Draft)))
	a.Saved = true
	if err := c.Proxy.Reload(); err != nil {
		a.Problem = "The file was saved, but the proxy rejects the configuration and keeps the " +
			"previous one: " + err.Error()
	}
	return a, nil
}

// lockFile waits until no other request saves a change, as long as [config.Save] waits for other
// programs.
func (c *Console) lockFile(ctx context.Context) (unlock func(), err error) {
	select {
	case c.saving <- struct{}{}:
		return func() { <-c.saving }, nil
	case <-time.After(config.LockTimeout):
		return nil, &refusal{status: http.StatusServiceUnavailable,
			text: "other changes are being saved; nothing was written, try again"}
	case <-ctx.Done():
		return nil, &refusal{status: http.StatusServiceUnavailable,
			text: "the request was cancelled; nothing was written"}
	}
}

// diff returns the unified diff of the file, without its header. It contains no secrets, because
// the console cannot change files with literal secrets.
func (d *changed) diff() string {
	text := diff.Diff("a", d.Old, "b", d.New)
	return string(bytes.TrimPrefix(text, []byte("diff a b\n--- a\n+++ b\n")))
}

func changedName(in *changeRequest, done *changed) string {
	if done.integration != nil {
		return done.integration.Name
	}
	return in.Name
}
