package main

import (
	"context"
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
)

// errCheckFailed ends a check that failed and has printed why.
var errCheckFailed = errors.New("check failed")

// checkAll tries the integrations. With --as, --anonymous or --token, it evaluates the rules for a
// viewer.
func checkAll(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	path := configFlag(flags)
	var names list
	flags.Var(&names, "integration",
		"the `name` of an integration to check; may be repeated; default: all integrations")
	sample := flags.String("sample", "", "an object to read, as `s3://bucket/key`")
	origin := flags.String("origin", "",
		"the `origin` of a page that reads with fetch(), such as https://app.example.com")
	asJSON := flags.Bool("json", false, "print JSON")
	const offlineUsage = "check only what serve checks before it listens: the configuration and the " +
		"files that it names; nothing is sent over the network"
	var offline bool
	flags.BoolVar(&offline, "offline", false, offlineUsage)
	flags.BoolVar(&offline, "config-only", false, "the same as --offline")
	as := flags.String("as", "",
		"evaluate the rules for this `user` and s3://bucket/key instead of checking integrations")
	groups := flags.String("groups", "", "with --as: the user's `groups`, separated by commas")
	anonymous := flags.Bool("anonymous", false, "evaluate the rules for an anonymous client")
	token := flags.String("token", "",
		"with the value `-`: read a token from standard input, and explain it; with s3://bucket/key, "+
			"evaluate the rules for its viewer")
	switch {
	case slices.ContainsFunc(args, isFlag("offline", "config-only")) &&
		slices.ContainsFunc(args, isFlag("sample", "origin", "as", "anonymous", "token")):
		return usageError{errors.New("s3redirect check: --offline checks the configuration only; " +
			"remove --sample, --origin, --as, --anonymous or --token")}
	case slices.ContainsFunc(args, isFlag("token")):
		return checkToken(ctx, flags, args, tokenFlags{path, token, as, anonymous, asJSON}, stdout,
			stderr)
	case slices.ContainsFunc(args, isFlag("as", "anonymous")):
		if err := parse(flags, args, stderr, "s3://bucket/key"); err != nil {
			return err
		}
		return checkViewer(*path, *as, *groups, *anonymous, flags.Arg(0), stdout)
	}
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	_, c, err := app.Load(*path)
	if err != nil {
		return usageError{err}
	}
	o := check.Options{
		Offline:      offline,
		Services:     true,
		Config:       c,
		Program:      program,
		ConfigFile:   shellQuote(*path),
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
	return report(ctx, *asJSON, stdout, func(add func(check.Step)) (bool, error) {
		o.Report = add
		return check.Run(ctx, o)
	})
}

// isFlag returns a function that reports whether an argument is one of the flags with the names.
func isFlag(names ...string) func(arg string) bool {
	return func(arg string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		return strings.HasPrefix(arg, "-") && slices.Contains(names, name)
	}
}

// report runs a check. It prints a table step by step, or JSON at the end.
func report(
	ctx context.Context, asJSON bool, stdout io.Writer, run func(add func(check.Step)) (bool, error),
) error {
	result := struct {
		OK    bool         `json:"ok"`
		Steps []check.Step `json:"steps"`
	}{Steps: []check.Step{}}
	table := newTable(stdout)
	ok, err := run(func(s check.Step) {
		result.Steps = append(result.Steps, s)
		if !asJSON {
			table.Add(s)
		}
	})
	if err != nil && ctx.Err() == nil {
		return usageError{fmt.Errorf("s3redirect check: %w", err)}
	} else if err != nil {
		return errors.New("interrupted")
	}
	result.OK = ok
	if asJSON {
		if err := writeJSON(stdout, result); err != nil {
			return err
		}
	}
	if !ok {
		return errCheckFailed
	}
	return nil
}
