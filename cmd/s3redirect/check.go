package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/app"
	"s3redirect/internal/check"
	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

// errRefused ends a check whose answer is no, and has been printed.
var errRefused = errors.New("refused")

// checkAll tries the integrations; or, for a viewer, says what they may see, and which rule decides.
func checkAll(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	path := flags.String("config", "config.yaml", "the configuration `file`")
	var names list
	flags.Var(&names, "integration", "the `name` of an integration to try; may be repeated; default: all")
	sample := flags.String("sample", "", "an object to read, as `s3://bucket/key`")
	origin := flags.String("origin", "", "the `origin` of a page that reads with fetch(), such as https://app.example.com")
	asJSON := flags.Bool("json", false, "print JSON")
	as := flags.String("as", "", "do not try anything: say whether this `user` may read s3://bucket/key")
	groups := flags.String("groups", "", "the user's `groups`, separated by commas")
	anonymous := flags.Bool("anonymous", false, "the same for nobody in particular")
	if slices.ContainsFunc(args, isAs) {
		if err := parse(flags, args, stderr, "s3://bucket/key"); err != nil {
			return err
		}
		return checkViewer(*path, *as, *groups, *anonymous, flags.Arg(0), stdout)
	}
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	c, err := config.Load(*path)
	if err != nil {
		return usageError{err}
	}
	o := check.Options{Config: c, ConfigFile: *path, Integrations: names, Clock: time.Now, Origin: *origin}
	if *sample != "" {
		l, err := locator.Parse(*sample)
		if err != nil {
			return usageError{fmt.Errorf("s3redirect check: --sample: %w", err)}
		}
		o.Sample = &l
	}
	if *origin != "" {
		if err := config.CheckOrigins([]string{*origin}); err != nil {
			return usageError{fmt.Errorf("s3redirect check: --origin: %w", err)}
		}
	}
	return report(ctx, o, *asJSON, stdout)
}

// isAs tells whether an argument asks about a viewer.
func isAs(arg string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
	return strings.HasPrefix(arg, "-") && (name == "as" || name == "anonymous")
}

// report runs the check and prints it: as it goes for people, all at once for machines.
func report(ctx context.Context, o check.Options, asJSON bool, stdout io.Writer) error {
	result := struct {
		OK    bool         `json:"ok"`
		Steps []check.Step `json:"steps"`
	}{Steps: []check.Step{}}
	table := newTable(stdout)
	o.Report = func(s check.Step) {
		result.Steps = append(result.Steps, s)
		if !asJSON {
			table.Add(s)
		}
	}
	sound, err := check.Run(ctx, o)
	if err != nil && ctx.Err() == nil {
		return usageError{fmt.Errorf("s3redirect check: %w", err)}
	} else if err != nil {
		return errors.New("interrupted")
	}
	result.OK = sound
	if asJSON {
		e := json.NewEncoder(stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(result); err != nil {
			return err
		}
	}
	if !sound {
		return errRefused
	}
	return nil
}

// checkViewer says what a viewer may see, and which rule decides.
func checkViewer(path, as, groups string, anonymous bool, text string, stdout io.Writer) error {
	if (as == "") != anonymous {
		return usageError{errors.New("s3redirect check: say who would ask: either --as USER or --anonymous")}
	}
	l, err := locator.Parse(text)
	if err != nil {
		return usageError{fmt.Errorf("s3redirect check: %w", err)}
	}
	c, err := config.Load(path)
	if err != nil {
		return usageError{err}
	}
	allowed, why := app.Verdict(c, viewer.As(as, strings.FieldsFunc(groups, func(r rune) bool { return r == ',' })...), l)
	fmt.Fprintln(stdout, why)
	if !allowed {
		return errRefused
	}
	return nil
}
