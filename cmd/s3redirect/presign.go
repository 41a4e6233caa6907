package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"s3redirect/internal/app"
	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// presignLocator prints the URL that a viewer would be redirected to.
func presignLocator(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("presign", flag.ContinueOnError)
	path := configFlag(flags)
	head := flags.Bool("head", false, "sign for HEAD instead of GET")
	if err := parse(flags, args, stderr, "s3://bucket/key"); err != nil {
		return err
	}
	l, err := locator.Parse(flags.Arg(0))
	if err != nil {
		return usageError{fmt.Errorf("s3redirect presign: %w", err)}
	}
	c, err := config.Load(*path)
	if err != nil {
		return usageError{err}
	}
	c.Log = config.Log{Level: slog.LevelError, Format: "text"}
	p, err := app.New(app.Options{Config: c, Stderr: stderr, Version: programVersion()})
	if err != nil {
		return err
	}
	defer p.Close()
	method := http.MethodGet
	if *head {
		method = http.MethodHead
	}
	u, err := p.Integrations().Presign(ctx, method, l, time.Now())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, u)
	return err
}
