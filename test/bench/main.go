// Command bench compares s3redirect with what else could answer the same requests, side by side on this machine: a bare
// net/http handler that writes the same bytes, nginx with a warm cache, a handler that calls the SDK's presigner, and a
// container registry that redirects to presigned URLs.
//
// The server has one core and the load generator another. What is compared takes turns, round by round, and a ratio is
// always one of the same round: machines are noisy, and the noise hits all alike.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

type options struct {
	rounds   int
	duration time.Duration
	only     *regexp.Regexp
	sections *regexp.Regexp
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "serve" {
		exit(serve(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 2 && os.Args[1] == "fleet" { // go run ./test/bench fleet: the simulation of docs/deployment.md
		exit(fleet(os.Stdout))
	}
	o := options{}
	flag.IntVar(&o.rounds, "rounds", 5, "how often each is measured")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long each measurement takes")
	only := flag.String("only", "", "measure only what matches this `regexp` (and the bare handler)")
	section := flag.String("section", "", "run only the sections that match this `regexp`: redirects, turn, fill, start, http2")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		o.sections, err = regexp.Compile(*section)
	}
	if err == nil {
		err = run(o)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(o options) error {
	dir, err := os.MkdirTemp("", "s3redirect-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, dir: dir, proxy: filepath.Join(dir, "s3redirect")}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	defer b.stopAll()
	if err := b.build(); err != nil {
		return err
	}
	if err := b.startSTS(); err != nil {
		return err
	}
	for _, section := range []struct {
		name string
		run  func() error
	}{{"redirects", b.redirects}, {"turn", b.turn}, {"fill", b.fill}, {"start", b.start}, {"http2", b.http2}} {
		if !o.sections.MatchString(section.name) {
			continue
		}
		if err := section.run(); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
		b.stopAll()
	}
	return nil
}
