// Command s3redirect is a caching redirect proxy for Amazon S3 and compatible stores. It answers
// GET /s3/bucket/key with 302 and a presigned URL. It assumes an IAM role per integration and
// caches sessions and signatures until they expire.
//
//	s3redirect serve     [--config s3redirect.yaml]
//	s3redirect demo      [--listen 127.0.0.1:8080] [--admin-listen 127.0.0.1:9090]
//	s3redirect presign   [--config s3redirect.yaml] [--head] s3://bucket/key
//	s3redirect link      [--config s3redirect.yaml] [--lifetime 1h] s3://bucket/key
//	s3redirect integrate [--config s3redirect.yaml] [--yes --bucket name …]
//	s3redirect policy    DOCUMENT [--config s3redirect.yaml] --integration name [--format json]
//	s3redirect check     [--config s3redirect.yaml] [--integration name] [--sample s3://bucket/key]
//	                     [--origin https://…] [--json]
//	s3redirect check     [--config s3redirect.yaml] --offline
//	s3redirect check     [--config s3redirect.yaml] --as user [--groups a,b] s3://bucket/key
//	s3redirect check     [--config s3redirect.yaml] --token - [s3://bucket/key]
//	s3redirect version   [--json]
//
// # Serve
//
// Serve opens the two listeners of the configuration, one for clients and one for administrators,
// and serves until SIGTERM or SIGINT. Then /readyz fails, requests in flight finish, and the
// program exits. A second signal stops it at once. The configuration is reloaded when its file
// changes, on SIGHUP, and on POST /-/reload; if a reload fails, the previous configuration is kept.
// AWS credentials come from the usual places: environment, shared files, web identity, container or
// instance.
//
// # Demo
//
// Demo runs the proxy with stand-ins for S3 and STS in one process, and a page of images that are
// served through it. It needs neither an account nor a network.
//
// # Presign and link
//
// Presign prints the URL that a client would be redirected to. Link prints a signed link to an
// object, or to all objects in a folder (s3://bucket/folder/*).
//
// # Integrate, policy and check
//
// Integrate adds an integration to a configuration: it asks for what it needs, prints the documents
// to create, and tries the role before it writes anything. Policy prints the documents that an
// integration's role and buckets need, as JSON or ready to apply. Check tries each integration step
// by step and explains what failed, why, and what to do. With --as it reports whether a user may
// read an object, and which rule decides. With --offline it only checks what Serve checks before it
// listens, without using the network.
//
// # Exit codes
//
// 0 means success; for check, that nothing needs fixing, or that the user may read the object. 1
// means failure. 2 means that the command line or the configuration is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const usage = `s3redirect redirects clients to presigned URLs of S3 objects.

Usage:
  s3redirect serve     [--config file]        serve clients until SIGTERM
  s3redirect demo      [--listen host:port]   try it: an S3, an STS and a gallery in one process
  s3redirect presign   [--config file] URL    print the presigned URL of s3://bucket/key
  s3redirect link      [--config file] URL    print a signed link to s3://bucket/key
  s3redirect integrate [--config file]        add an integration, interactively
  s3redirect policy    access|trust|cors|…    print the documents that an integration needs
  s3redirect check     [--sample URL]         try the integrations and explain what fails
  s3redirect check     --offline              report everything that serve would refuse
  s3redirect check     --as user URL          report whether a user may read an object, and by which rule
  s3redirect check     --token -              explain the token on standard input
  s3redirect version   [--json]               print the version

Run s3redirect COMMAND --help for the flags of a command.
`

// command is a subcommand. It parses its own flags.
type command func(ctx context.Context, args []string, stdout, stderr io.Writer) error

var commands = map[string]command{
	"serve":     serve,
	"demo":      runDemo,
	"presign":   presignLocator,
	"link":      makeLink,
	"policy":    writePolicy,
	"integrate": integrate,
	"check":     checkAll,
	"version":   printVersion,
}

// usageError is an error in the command line or the configuration. Its text is printed without a prefix.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal, the next one has its default effect: it ends the process.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs a command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	name := args[0]
	if name == "help" || name == "-h" || name == "--help" {
		fmt.Fprint(stdout, usage)
		return 0
	}
	c, ok := commands[name]
	if !ok {
		fmt.Fprintf(stderr, "s3redirect: unknown command %q\n\n%s", name, usage)
		return 2
	}
	err := c(ctx, args[1:], stdout, stderr)
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, err)
		return 2
	case errors.Is(err, errCheckFailed):
		return 1
	}
	fmt.Fprintf(stderr, "s3redirect %s: %v\n", name, err)
	return 1
}

// parse parses a command's flags. names are its positional arguments, all of them required.
func parse(flags *flag.FlagSet, args []string, stderr io.Writer, names ...string) error {
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "Usage: s3redirect %s [flags] %s\n", flags.Name(), strings.Join(names, " "))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return usageError{fmt.Errorf("s3redirect %s: invalid command line", flags.Name())} // flag printed the reason
	}
	if flags.NArg() != len(names) {
		flags.Usage()
		return usageError{fmt.Errorf("s3redirect %s: got %d arguments, want %d",
			flags.Name(), flags.NArg(), len(names))}
	}
	return nil
}
