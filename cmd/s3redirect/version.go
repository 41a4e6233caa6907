package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// version is set by the linker when a release is built.
var version = ""

// build describes how the program was built, as JSON.
type build struct {
	Version string `json:"version"`
	Go      string `json:"go_version"`
	// Revision is the commit, and RevisionTime its time. Both are empty if the program was not
	// built in a repository.
	Revision     string `json:"revision"`
	RevisionTime string `json:"revision_time"`
	// Modified reports whether the tree had changes that were not committed.
	Modified     bool         `json:"modified"`
	OS           string       `json:"os"`
	Arch         string       `json:"arch"`
	Dependencies []dependency `json:"dependencies"`
}

// dependency is a module in the program.
type dependency struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	// ReplacedBy is what a replace directive put in its place.
	ReplacedBy *dependency `json:"replaced_by,omitempty"`
}

// describeBuild returns the build that info describes. The linked version takes precedence over the
// version of the main module, which Go derives from the repository's tags. info may be nil.
func describeBuild(linked string, info *debug.BuildInfo) build {
	if info == nil {
		info = &debug.BuildInfo{}
	}
	b := build{
		Version:      cmp.Or(linked, info.Main.Version, "(devel)"),
		Go:           cmp.Or(info.GoVersion, runtime.Version()),
		OS:           runtime.GOOS,
		Arch:         runtime.GOARCH,
		Dependencies: []dependency{},
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.RevisionTime = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	for _, m := range info.Deps {
		d := dependency{Module: m.Path, Version: m.Version}
		if m.Replace != nil {
			d.ReplacedBy = &dependency{Module: m.Replace.Path, Version: m.Replace.Version}
		}
		b.Dependencies = append(b.Dependencies, d)
	}
	return b
}

// thisBuild returns how the running program was built.
func thisBuild() build {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(version, info)
}

// programVersion returns the version that the program was built as.
func programVersion() string {
	return thisBuild().Version
}

func printVersion(_ context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("version", flag.ContinueOnError)
	asJSON := flags.Bool("json", false,
		"print JSON: the version, Go's version, the revision, the platform and the dependencies")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if *asJSON {
		return writeJSON(stdout, thisBuild())
	}
	_, err := fmt.Fprintln(stdout, "s3redirect", programVersion())
	return err
}

// writeJSON writes v as indented JSON.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
