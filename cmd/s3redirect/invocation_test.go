package main

import (
	"os/exec"
	"testing"
)

func TestProgramName(t *testing.T) {
	for arg0, want := range map[string]string{
		"s3redirect":                                   "s3redirect", // from a folder of PATH
		"./bin/s3redirect":                             "./bin/s3redirect",
		"/s3redirect":                                  "/s3redirect", // in the image
		"/opt/my tools/s3redirect":                     "'/opt/my tools/s3redirect'",
		"/tmp/go-build1234/b001/exe/s3redirect":        "go run ./cmd/s3redirect",
		"/home/u/.cache/go-build/ab/cd-d/s3redirect":   "go run ./cmd/s3redirect",
		`C:\Temp\go-build1234\b001\exe\s3redirect.exe`: "go run ./cmd/s3redirect",
	} {
		if got := programName(arg0); got != want {
			t.Errorf("programName(%q) = %q, want %q", arg0, got, want)
		}
	}
}

// The shell reads a quoted text as it was.
func TestShellQuote(t *testing.T) {
	for _, text := range []string{
		"s3://photos/a.jpg", "", "two words", "it's", "''", "${SECRET}", "$(id)", "`id`", `back\slash`,
		"team-*", "a&b", "a;b", "#a", "~", "!1", "line\nbreak", "ü",
	} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+shellQuote(text)).Output()
		if err != nil || string(out) != text {
			t.Errorf("the shell reads %s as %q, %v, want %q", shellQuote(text), out, err, text)
		}
	}
}
