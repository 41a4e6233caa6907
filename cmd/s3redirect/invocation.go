package main

import (
	"flag"
	"os"
	"regexp"
	"strings"

	"s3redirect/internal/config"
)

// program is how the user runs the program, as a word of a shell. Commands that are printed begin
// with it, so that they can be pasted.
var program = programName(os.Args[0])

// goBuild matches programs that go run and go test have built, which do not outlive them.
var goBuild = regexp.MustCompile(`[/\\]go-build[0-9]*[/\\]`)

// programName returns how to run the program whose first argument is arg0.
func programName(arg0 string) string {
	if goBuild.MatchString(arg0) {
		return "go run ./cmd/s3redirect"
	}
	return shellQuote(arg0)
}

// plainWord matches texts that every POSIX shell takes as one word with that text.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellQuote returns a text as one word of a POSIX shell.
func shellQuote(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// commandLine returns a command line of this program. The words are quoted where it is necessary.
func commandLine(words ...string) string {
	line := program
	for _, w := range words {
		line += " " + shellQuote(w)
	}
	return line
}

// configFlag defines the flag --config.
func configFlag(flags *flag.FlagSet) *string {
	return flags.String("config", config.DefaultPath, "the configuration `file`")
}
