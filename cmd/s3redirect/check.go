package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"s3redirect/config"
	"s3redirect/locator"
	"s3redirect/viewer"
)

// errRefused ends a check whose answer is no, and has been printed.
var errRefused = errors.New("refused")

// check says what a viewer may see, and which rule decides.
func check(_ context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	path := flags.String("config", "config.yaml", "the configuration `file`")
	as := flags.String("as", "", "the `user` who would ask")
	groups := flags.String("groups", "", "the user's `groups`, separated by commas")
	anonymous := flags.Bool("anonymous", false, "ask as nobody in particular")
	if err := parse(flags, args, stderr, "s3://bucket/key"); err != nil {
		return err
	}
	if (*as == "") != *anonymous {
		return usageError{errors.New("s3redirect check: say who would ask: either --as USER or --anonymous")}
	}
	l, err := locator.Parse(flags.Arg(0))
	if err != nil {
		return usageError{fmt.Errorf("s3redirect check: %w", err)}
	}
	c, err := config.Load(*path)
	if err != nil {
		return usageError{err}
	}
	allowed, why := verdict(c, viewer.As(*as, strings.FieldsFunc(*groups, func(r rune) bool { return r == ',' })...), l)
	fmt.Fprintln(stdout, why)
	if !allowed {
		return errRefused
	}
	return nil
}

// verdict is whether a viewer would be given an object's URL, and why.
func verdict(c *config.Config, v viewer.Viewer, l locator.Locator) (allowed bool, why string) {
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
	name, ok := servedBy(c, l.Bucket)
	switch {
	case !ok:
		return false, fmt.Sprintf("refused: no integration serves the bucket %s", l.Bucket)
	case d.Rule == 0:
		return true, fmt.Sprintf("allowed, as there are no rules: %s may read %s, through the integration %s", who, l, name)
	}
	return true, fmt.Sprintf("allowed by viewers.rules[%d]: %s may read %s, through the integration %s", d.Rule-1, who, l, name)
}

// servedBy names the integration that serves a bucket: its own before one that has a pattern.
func servedBy(c *config.Config, bucket string) (name string, ok bool) {
	for _, i := range c.Integrations {
		if i.Bucket == bucket || slices.Contains(i.PermittedBuckets, bucket) {
			return i.Name, true
		}
		for _, p := range i.PermittedBuckets {
			if name == "" && locator.IsPattern(p) && locator.MatchBucket(p, bucket) {
				name = i.Name
			}
		}
	}
	return name, name != ""
}
