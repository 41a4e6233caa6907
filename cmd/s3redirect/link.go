package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

// makeLink prints a signed link.
func makeLink(_ context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("link", flag.ContinueOnError)
	path := flags.String("config", "config.yaml", "the configuration `file`")
	lifetime := flags.Duration("lifetime", 0,
		"the link's lifetime; 0 means viewers.links.max_lifetime")
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
	if *lifetime == 0 {
		*lifetime = links.MaxLifetime()
	}
	query, err := links.Query(target, now, now.Add(*lifetime).Truncate(time.Second))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, strings.TrimSuffix(c.PublicURL, "/")+target.Path()+"?"+query)
	return err
}
