// Command image writes the release's container image: an OCI image layout for several platforms, in
// one tar file. skopeo, podman and buildah read such a file as oci-archive:FILE.
//
//	image -version 0.1.0 -revision COMMIT -created SECONDS -output FILE linux/amd64=PROGRAM …
//
// The image has no base, so nothing is downloaded. Its bytes depend on the programs, on the flags,
// and on the versions of Go and of the certificate authorities in go.mod. The Dockerfile makes an
// image that runs alike.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// program is the binary of a platform.
type program struct {
	platform platform
	data     []byte
}

// run writes the image that a command line describes.
func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	version := flags.String("version", "", "the image's `version` and name")
	revision := flags.String("revision", "", "the `commit` that the programs were built from")
	created := flags.Int64("created", 0, "the time of all files, in `seconds` since 1970")
	output := flags.String("output", "", "the tar `file` to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version == "" || *revision == "" || *created <= 0 || *output == "" {
		return errors.New("-version, -revision, -created and -output are required")
	}
	var programs []program
	seen := map[platform]bool{}
	for _, arg := range flags.Args() {
		name, path, _ := strings.Cut(arg, "=")
		system, arch, ok := strings.Cut(name, "/")
		if !ok || path == "" {
			return fmt.Errorf("%s is not PLATFORM=PROGRAM, such as linux/amd64=s3redirect", arg)
		}
		p := platform{Architecture: arch, OS: system}
		if seen[p] {
			return fmt.Errorf("%s is there twice", name)
		}
		seen[p] = true
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		programs = append(programs, program{p, data})
	}
	if len(programs) == 0 {
		return errors.New("there are no programs")
	}
	r := release{version: *version, revision: *revision, created: time.Unix(*created, 0).UTC()}
	layout, err := r.layout(programs)
	if err != nil {
		return err
	}
	return os.WriteFile(*output, layout, 0o644)
}
