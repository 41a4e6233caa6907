package app

import (
	"fmt"
	"log/slog"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

// Verdict reports whether a viewer would be given an object's URL, and why.
func Verdict(c *config.Config, v viewer.Viewer, l locator.Locator) (allowed bool, why string) {
	who := v.ID
	if who == "" {
		who = "nobody in particular"
		if !c.Viewers.Anonymous {
			return false, "refused: nobody asks anonymously, as viewers.anonymous is off"
		}
	}
	// Whether a password file is there is no matter of the rules.
	rules := config.Viewers{Anonymous: true, Rules: c.Viewers.Rules}
	gate, err := viewer.New(&rules, viewer.Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return false, err.Error()
	}
	defer gate.Close()
	d := gate.Allow(&v, l)
	switch {
	case d.Rule == 0 && !d.Allowed:
		return false, fmt.Sprintf("refused: no rule lets %s read %s", who, l)
	case !d.Allowed:
		return false, fmt.Sprintf("refused by viewers.rules[%d]: %s may not read %s", d.Rule-1, who, l)
	}
	server, ok := c.ServedBy(l.Bucket)
	switch {
	case !ok:
		return false, fmt.Sprintf("refused: no integration serves the bucket %s", l.Bucket)
	case d.Rule == 0:
		return true, fmt.Sprintf("allowed, as there are no rules: %s may read %s, through the integration %s", who, l, server.Name)
	}
	return true, fmt.Sprintf("allowed by viewers.rules[%d]: %s may read %s, through the integration %s", d.Rule-1, who, l, server.Name)
}
