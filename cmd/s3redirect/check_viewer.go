package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"s3redirect/internal/app"
	"s3redirect/internal/check"
	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

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

// maxTokenInput bounds what is read from standard input, in bytes. It is more than a browser sends.
const maxTokenInput = 1 << 20

// tokenFlags are the flags of check that concern its --token.
type tokenFlags struct {
	path, token, as   *string
	anonymous, asJSON *bool
}

// checkToken explains the token on standard input and, if an object is given, whether its viewer
// may read it.
func checkToken(
	ctx context.Context, flags *flag.FlagSet, args []string, f tokenFlags, stdout, stderr io.Writer,
) error {
	arguments := []string{}
	if len(args) > 0 && strings.HasPrefix(args[len(args)-1], locator.Scheme) {
		arguments = append(arguments, "s3://bucket/key")
	}
	if err := parse(flags, args, stderr, arguments...); err != nil {
		return err
	}
	switch {
	case *f.token != "-":
		return usageError{errors.New("s3redirect check: --token accepts only -, which reads standard " +
			"input: other users of this machine can see the arguments of programs")}
	case *f.as != "" || *f.anonymous:
		return usageError{errors.New("s3redirect check: set only one of --token, --as and --anonymous")}
	}
	var l locator.Locator
	var err error
	if flags.NArg() > 0 {
		if l, err = locator.Parse(flags.Arg(0)); err != nil {
			return usageError{fmt.Errorf("s3redirect check: %w", err)}
		}
	}
	c, err := config.Load(*f.path)
	if err != nil {
		return usageError{err}
	}
	if len(c.Viewers.JWT) == 0 {
		return usageError{fmt.Errorf("%s: viewers.jwt is missing, so the proxy accepts no tokens; "+
			"docs/sign-in has an example for each provider", *f.path)}
	}
	text, err := readToken(stdin)
	if err != nil {
		return usageError{fmt.Errorf("s3redirect check: --token: %w", err)}
	}
	return report(ctx, *f.asJSON, stdout, func(add func(check.Step)) (bool, error) {
		v, ok, err := check.Token(ctx, check.TokenOptions{
			Config: c,
			Token:  text,
			Clock:  time.Now,
			Report: add,
		})
		if err != nil {
			return false, err
		}
		rule := check.Step{Integration: "token", Name: "rule", Verdict: check.Skipped}
		switch {
		case l.Bucket == "":
			rule.Reason = "pass s3://bucket/key to evaluate the rules for an object"
		case !ok:
			rule.Reason = "an earlier step failed"
		default:
			rule, ok = ruleStep(rule, c, v, l)
		}
		add(rule)
		return ok, nil
	})
}

// ruleStep completes the step that evaluates the rules.
func ruleStep(
	s check.Step, c *config.Config, v viewer.Viewer, l locator.Locator,
) (_ check.Step, allowed bool) {
	s.Verdict = check.OK
	if allowed, s.Reason = app.Verdict(c, v, l); !allowed {
		s.Verdict = check.Failed
		s.Remedy = "If the viewer should be able to read the object, change viewers.rules: the first " +
			"rule that matches decides."
	}
	return s, allowed
}

// readToken reads a token. It accepts what people copy: an Authorization header, and spaces around
// the token.
func readToken(from io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(from, maxTokenInput))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(b))
	for _, prefix := range []string{"authorization:", "bearer "} {
		if len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix) {
			text = strings.TrimSpace(text[len(prefix):])
		}
	}
	if text == "" {
		return "", errors.New("standard input is empty; write the token to it")
	}
	return text, nil
}
