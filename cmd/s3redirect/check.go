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

// errCheckFailed ends a check that failed and has printed why.
var errCheckFailed = errors.New("check failed")

// checkAll tries the integrations. With --as or --anonymous, it evaluates the rules for a viewer.
func checkAll(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	path := flags.String("config", "config.yaml", "the configuration `file`")
	var names list
	flags.Var(&names, "integration",
		"the `name` of an integration to check; may be repeated; default: all integrations")
	sample := flags.String("sample", "", "an object to read, as `s3://bucket/key`")
	origin := flags.String("origin", "",
		"the `origin` of a page that reads with fetch(), such as https://app.example.com")
	asJSON := flags.Bool("json", false, "print JSON")
	as := flags.String("as", "",
		"evaluate the rules for this `user` and s3://bucket/key instead of checking integrations")
	groups := flags.String("groups", "", "with --as: the user's `groups`, separated by commas")
	anonymous := flags.Bool("anonymous", false, "evaluate the rules for an anonymous client")
	if slices.ContainsFunc(args, isViewerFlag) {
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
	o := check.Options{
		Config:       c,
		ConfigFile:   *path,
		Integrations: names,
		Clock:        time.Now,
		Origin:       *origin,
	}
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

// isViewerFlag reports whether an argument is --as or --anonymous.
func isViewerFlag(arg string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
	return strings.HasPrefix(arg, "-") && (name == "as" || name == "anonymous")
}

// report runs the check. It prints a table step by step, or JSON at the end.
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
	ok, err := check.Run(ctx, o)
	if err != nil && ctx.Err() == nil {
		return usageError{fmt.Errorf("s3redirect check: %w", err)}
	} else if err != nil {
		return errors.New("interrupted")
	}
	result.OK = ok
	if asJSON {
		e := json.NewEncoder(stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(result); err != nil {
			return err
		}
	}
	if !ok {
		return errCheckFailed
	}
	return nil
}

// checkViewer prints whether a viewer may read an object, and the rule that decides.
func checkViewer(path, as, groups string, anonymous bool, text string, stdout io.Writer) error {
	if (as == "") != anonymous {
		return usageError{errors.New("s3redirect check: set either --as USER or --anonymous")}
	}
	l, err := locator.Parse(text)
	if err != nil {
		return usageError{fmt.Errorf("s3redirect check: %w", err)}
	}
	c, err := config.Load(path)
	if err != nil {
		return usageError{err}
	}
	v := viewer.As(as, strings.FieldsFunc(groups, func(r rune) bool { return r == ',' })...)
	allowed, reason := app.Verdict(c, v, l)
	fmt.Fprintln(stdout, reason)
	if !allowed {
		return errCheckFailed
	}
	return nil
}
