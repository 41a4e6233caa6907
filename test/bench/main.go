// Bench measures the performance of s3redirect against programs that answer similar requests.
//
// Usage, from the root of the repository:
//
//	go run ./test/bench [flags]
//	go run ./test/bench fleet
//
// Without arguments, bench builds s3redirect, starts it with a fake STS, and runs these sections:
//
//	redirects  requests per second of cache hits, misses, rules and tokens, compared with
//	             - a bare net/http handler that writes the same response,
//	             - a socket without HTTP that writes it,
//	             - nginx with a warm proxy_cache and with a constant redirect,
//	             - HAProxy with a constant redirect, and a Varnish hit,
//	             - a handler that calls the SDK's presigner for each request, and
//	             - a container registry that redirects to presigned URLs
//	turn       the second in which a window ends and every URL changes
//	fill       a URL cache that grows to a million entries
//	start      start-up time, binary size and resident memory
//	http2      redirects over TLS with HTTP/2
//	counts     instructions per request, by valgrind
//	cores      hits per second on two cores, compared with one
//
// The results are Markdown tables, written to standard output; docs/measurements has those of one
// run. The server is pinned to CPU 0 and the load generator to CPU 1. The servers take turns, round
// by round, and a ratio always compares two measurements of one round, so that noise from other
// programs affects both. When bench ends, by a signal or otherwise, its servers end too; on systems
// other than Linux, SIGKILL leaves them running.
//
// With fleet, bench prints the simulation of docs/deployment/replicas.md.
//
// The flags are:
//
//	-rounds n
//		The number of rounds. The default is 5.
//	-duration d
//		The duration of each measurement. The default is 2s.
//	-section regexp
//		Run only the sections whose names match.
//	-only regexp
//		In comparisons, measure only the servers and loads whose names match, and the first
//		server, which the others are compared with.
//	-against files
//		Instead of the sections, compare this build of s3redirect with other builds: a list
//		of binaries, separated by commas. Use it to measure what an optimization gains.
//
// Bench needs two CPUs and, in PATH, taskset, wrk, for http2 h2load, and for counts valgrind.
// Comparisons with programs that are missing are skipped: nginx, haproxy, varnishd, and minio and
// registry (also looked for in .tools/bin). On Debian, "make tools-bench" installs everything.
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
	against  string // other builds of s3redirect, separated by commas
	only     *regexp.Regexp
	sections *regexp.Regexp
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "serve" { // run by startSelf
		exit(serve(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 2 && os.Args[1] == "fleet" {
		exit(fleet(os.Stdout))
	}
	o := options{}
	flag.IntVar(&o.rounds, "rounds", 5, "the number of rounds")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "the duration of each measurement")
	only := flag.String("only", "", "measure only servers that match `regexp`, and the first one")
	section := flag.String("section", "",
		"run only sections that match `regexp`: redirects, turn, fill, start, http2, counts, cores")
	flag.StringVar(&o.against, "against", "",
		"compare with other builds of s3redirect only: `files`, separated by commas")
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
	b.stopOnSignal()
	if err := b.build(); err != nil {
		return err
	}
	b.startSTS()
	defer b.sts.Close()
	if o.against != "" {
		return b.compareBuilds()
	}
	for _, section := range []struct {
		name string
		run  func() error
	}{
		{"redirects", b.redirects},
		{"turn", b.turn},
		{"fill", b.fill},
		{"start", b.start},
		{"http2", b.http2},
		{"counts", b.instructions},
		{"cores", b.cores},
	} {
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
