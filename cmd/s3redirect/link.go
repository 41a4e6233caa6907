package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"s3redirect/internal/app"
	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

// makeLink prints a signed link.
func makeLink(_ context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("link", flag.ContinueOnError)
	path := configFlag(flags)
	var lifetime duration
	flags.Var(&lifetime, "lifetime",
		"the link's lifetime, a `duration` such as 1h or 30d; 0 means viewers.links.max_lifetime")
	form := flags.String("form", string(viewer.LinkQuery),
		"the link's `form`: query, path (relative references keep the link) or cookie")
	if err := parse(flags, args, stderr, "s3://bucket/key"); err != nil {
		return err
	}
	target, err := viewer.ParseTarget(flags.Arg(0))
	if err != nil {
		return usageError{fmt.Errorf("s3redirect link: %w", err)}
	}
	c, err := config.Load(*path)
	if err != nil {
		return usageError{err}
	}
	if c.Viewers.Links == nil {
		return usageError{fmt.Errorf("s3redirect link: %s has no viewers.links; "+
			"add keys to it to sign links", *path)}
	}
	links, now := viewer.NewLinks(c.Viewers.Links), time.Now()
	if lifetime == 0 {
		lifetime = duration(links.MaxLifetime())
	}
	if err := links.CheckForm(viewer.LinkForm(*form)); err != nil {
		return usageError{fmt.Errorf("s3redirect link: %w", err)}
	}
	until := now.Add(time.Duration(lifetime)).Truncate(time.Second)
	query, err := links.Query(target, now, until)
	if err != nil {
		return err
	}
	text := strings.TrimSuffix(c.PublicURL, "/")
	switch viewer.LinkForm(*form) {
	case viewer.LinkPath:
		text += target.LinkPath(viewer.Token(query))
	case viewer.LinkCookie:
		text = "Set-Cookie: " + links.Cookie(target, query, now, until).String()
	default:
		text += target.Path() + "?" + query
	}
	if note := app.Unserved(c, target); note != "" {
		fmt.Fprintln(stderr, "note:", note)
	}
	_, err = fmt.Fprintln(stdout, text)
	return err
}

// duration is a [flag.Value] that accepts durations as the configuration does.
type duration time.Duration

func (d *duration) String() string { return config.Short(time.Duration(*d)) }

// Set implements [flag.Value].
func (d *duration) Set(text string) error {
	parsed, err := config.ParseDuration(text)
	*d = duration(parsed)
	return err
}
