package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// stdin is the input of conversations. Tests replace it.
var stdin io.Reader = os.Stdin

// errNothingWritten means the user ended the conversation early.
var errNothingWritten = errors.New("nothing was written")

// conversation asks questions and reads an answer per line.
type conversation struct {
	ctx   context.Context
	w     io.Writer
	lines chan string // closed at the end of the input
	yes   bool        // ask nothing: take the flags and the defaults
}

// converse starts a conversation. Its reader lives until the input ends, because a read from a
// terminal cannot be cancelled.
func converse(ctx context.Context, w io.Writer, yes bool) *conversation {
	c := &conversation{ctx: ctx, w: w, lines: make(chan string), yes: yes}
	if yes {
		return c
	}
	in := bufio.NewScanner(stdin)
	go func() {
		defer close(c.lines)
		for in.Scan() {
			select {
			case c.lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

func (c *conversation) say(format string, args ...any) { fmt.Fprintf(c.w, format+"\n", args...) }

// question is a question of a conversation.
type question struct {
	text      string
	hint      string             // a line before the question
	otherwise string             // the answer to an empty line
	optional  bool               // an empty line is an answer
	flag      string             // the flag that answers it
	given     string             // the value of that flag
	accept    func(string) error // nil accepts everything
}

// ask repeats a question until the answer is accepted.
func (c *conversation) ask(q question) (string, error) {
	accept := q.accept
	if accept == nil {
		accept = func(string) error { return nil }
	}
	if q.given != "" || c.yes {
		answer := q.given
		if answer == "" {
			answer = q.otherwise
		}
		if answer == "" && !q.optional {
			return "", usageError{fmt.Errorf("s3redirect integrate: %s is missing: %s", q.flag,
				strings.TrimSuffix(q.text, "?"))}
		}
		if err := accept(answer); err != nil {
			return "", usageError{fmt.Errorf("s3redirect integrate: %s: %w", q.flag, err)}
		}
		return answer, nil
	}
	if q.hint != "" {
		c.say("  %s", q.hint)
	}
	for {
		prompt := q.text
		switch {
		case q.otherwise != "":
			prompt += " [" + q.otherwise + "]"
		case q.optional:
			prompt += " [none]"
		}
		fmt.Fprint(c.w, prompt+": ")
		answer, err := c.line()
		if err != nil {
			return "", err
		}
		if answer == "" {
			answer = q.otherwise
		}
		if answer == "" && !q.optional {
			c.say("  An answer is needed; Ctrl-C ends this, and nothing is written.")
			continue
		}
		if err := accept(answer); err != nil {
			c.say("  That will not do: %v.", strings.TrimSuffix(err.Error(), "."))
			continue
		}
		return answer, nil
	}
}

// line returns the next line, without control characters that a terminal may have added.
func (c *conversation) line() (string, error) {
	select {
	case <-c.ctx.Done():
		c.say("")
		return "", fmt.Errorf("interrupted: %w", errNothingWritten)
	case line, open := <-c.lines:
		if c.ctx.Err() != nil || !open {
			c.say("")
			return "", fmt.Errorf("the input ended before the last question was answered: %w", errNothingWritten)
		}
		line = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, line)
		return strings.TrimSpace(line), nil
	}
}

// confirm asks a yes-or-no question.
func (c *conversation) confirm(text, flagName string, otherwise bool) (bool, error) {
	if c.yes {
		return otherwise, nil
	}
	words := map[bool]string{true: "yes", false: "no"}
	answer, err := c.ask(question{text: text, otherwise: words[otherwise], flag: flagName,
		accept: func(s string) error {
			switch strings.ToLower(s) {
			case "yes", "y", "no", "n":
				return nil
			}
			return errors.New("answer yes or no")
		}})
	return strings.HasPrefix(strings.ToLower(answer), "y"), err
}
