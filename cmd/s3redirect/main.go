// Command s3redirect redirects viewers to presigned URLs of S3 objects: GET /s3/bucket/key is answered with 302 and a URL
// that works for a while. It assumes an IAM role per integration, and keeps sessions and signatures until they expire.
//
//	s3redirect serve   --config config.yaml
//	s3redirect demo    [--listen 127.0.0.1:8080] [--admin-listen 127.0.0.1:9090]
//	s3redirect presign [--config config.yaml] [--head] s3://bucket/key
//	s3redirect link    [--config config.yaml] [--lifetime 1h] s3://bucket/key
//	s3redirect integrate [--config config.yaml] [--yes --bucket name …]
//	s3redirect policy  access|trust|cors|role|assume [--config config.yaml] --integration name [--format json]
//	s3redirect check   [--config config.yaml] [--integration name] [--sample s3://bucket/key] [--origin https://…] [--json]
//	s3redirect check   [--config config.yaml] --as user [--groups a,b] s3://bucket/key
//	s3redirect version
//
// Serve answers viewers and administrators on the two addresses of the configuration until SIGTERM or SIGINT: then
// readiness turns, running requests finish, and it exits. A second signal stops it at once. The configuration is read again
// when its file changes, at SIGHUP, and at POST /-/reload; one with mistakes changes nothing. Its own AWS credentials come
// from the usual places: environment, shared files, web identity, container, instance.
//
// Demo is a proxy with an S3 and an STS of its own in one process, and a page of images that come through it. It needs
// neither an account nor a network.
//
// Presign prints the URL that a viewer would be redirected to.
//
// Link prints a signed link to an object, or to all that is in a folder (s3://bucket/folder/*).
//
// Integrate adds an integration to a configuration, in conversation: it shows the documents that have to be made, tries the role,
// and writes the file, of which everything else stays as it is.
//
// Policy prints the documents that an integration's role and buckets need, as JSON or ready to apply.
//
// Check tries each integration step by step, and says what went wrong, why, and what to do; the exit code is 1 where something
// must be mended. With --as it says whether a viewer may read an object, and which rule decides; the exit code is 1 for a no.
//
// The exit code is 0, or 1 if something failed, or 2 if the command line or the configuration is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
)

const usage = `s3redirect redirects viewers to presigned URLs of S3 objects.

Usage:
  s3redirect serve   --config config.yaml     serve viewers until SIGTERM
  s3redirect demo    [--listen host:port]     try it: an S3, an STS and a gallery in one process
  s3redirect presign [--config f] s3://b/k    print the URL that a viewer would get
  s3redirect link    --config f s3://b/k      print a signed link
  s3redirect integrate [--config f]           add an integration, in conversation
  s3redirect policy  access|trust|cors|…      print the documents that an integration needs
  s3redirect check   [--sample s3://b/k]      try the integrations, and explain
  s3redirect check   --as u s3://b/k          say whether a viewer may read it, and by which rule
  s3redirect version                          print the version

s3redirect COMMAND --help says more.
`

// command is a subcommand. It reads its own flags.
type command func(ctx context.Context, args []string, stdout, stderr io.Writer) error

var commands = map[string]command{"serve": serve, "demo": runDemo, "presign": presignLocator, "link": makeLink, "policy": writePolicy, "integrate": integrate, "check": checkAll,
	"version": printVersion}

// usageError is a mistake in the command line or the configuration. Its text is complete: nothing is to be put before it.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Once the first signal is in, the next one does what it does by default.
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
		fmt.Fprintf(stderr, "s3redirect: there is no command %q\n\n%s", name, usage)
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

// parse reads a command's flags; it takes as many other arguments as it has names for.
func parse(flags *flag.FlagSet, args []string, stderr io.Writer, names ...string) error {
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "Usage: s3redirect %s [flags] %s\n", flags.Name(), strings.Join(names, " "))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return usageError{fmt.Errorf("s3redirect %s: the command line is wrong", flags.Name())} // flag has said what and how
	}
	if flags.NArg() != len(names) {
		flags.Usage()
		return usageError{fmt.Errorf("s3redirect %s: %d arguments given, %d wanted", flags.Name(), flags.NArg(), len(names))}
	}
	return nil
}

// version is set at release by the linker.
var version = ""

// programVersion is the version the program was built as.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func printVersion(_ context.Context, args []string, stdout, stderr io.Writer) error {
	if err := parse(flag.NewFlagSet("version", flag.ContinueOnError), args, stderr); err != nil {
		return err
	}
	_, err := fmt.Fprintln(stdout, "s3redirect", programVersion())
	return err
}
