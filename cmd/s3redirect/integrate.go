package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"s3redirect/internal/check"
	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// newIntegration is an integration on its way into a file.
type newIntegration struct {
	*conversation
	draft
	path      string
	old       []byte // nil: there is no file yet
	principal string
	sample    string
	listen    string
	admin     string
	try       bool
}

// integrate adds an integration to a configuration, in conversation.
func integrate(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	n := newIntegration{}
	flags := flag.NewFlagSet("integrate", flag.ContinueOnError)
	flags.StringVar(&n.path, "config", "config.yaml", "the configuration `file`; it is made if it is not there")
	yes := flags.Bool("yes", false, "ask nothing: take the flags, and the defaults")
	noTry := flags.Bool("no-try", false, "do not try it before it is written")
	flags.StringVar(&n.principal, "principal", "", "who we are, an `ARN`; default: STS is asked")
	flags.StringVar(&n.sample, "sample", "", "an object to try it with, `s3://bucket/key`")
	flags.StringVar(&n.listen, "listen", "127.0.0.1:8080", "viewers' `address`, in a new file")
	flags.StringVar(&n.admin, "admin-listen", "127.0.0.1:9090", "administrators' `address`, in a new file")
	n.register(flags)
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	n.try = !*noTry
	n.conversation = converse(ctx, stdout, *yes)
	if err := n.readFile(); err != nil {
		return err
	}
	for _, step := range []func() error{n.beginFile, n.scope, n.store, n.rights, n.showDocuments, n.role, n.tryIt} {
		if err := step(); err != nil {
			return err
		}
	}
	return n.write()
}

// readFile reads the configuration, and sees whether it can be written.
func (n *newIntegration) readFile() error {
	if _, err := os.Stat(n.path); !errors.Is(err, fs.ErrNotExist) {
		text, err := config.ReadFile(n.path)
		if err != nil {
			return usageError{err}
		}
		n.old = text
		if _, err := config.Parse(n.path, text, os.LookupEnv); err != nil && !config.LacksIntegrations(err) {
			return usageError{fmt.Errorf("%w\ns3redirect integrate: the configuration does not load; mend it first", err)}
		}
	}
	if err := config.Writable(n.path); err != nil {
		return usageError{fmt.Errorf("s3redirect integrate: %w", err)}
	}
	return nil
}

// beginFile agrees on a file that there is not yet.
func (n *newIntegration) beginFile() error {
	if n.old != nil {
		n.say("An integration for %s. Ctrl-C ends this at any time, and nothing is written.\n", n.path)
		return nil
	}
	n.say("There is no %s yet: it will be made, with one integration in it. Ctrl-C ends this at any time, and nothing is written.\n", n.path)
	if n.yes {
		return nil
	}
	everyone, err := n.confirm(fmt.Sprintf("May everyone who can reach %s read what the integration reads", n.listen), "--yes", true)
	if err == nil && !everyone {
		err = usageError{errors.New("s3redirect integrate: then begin with a copy of the example config.yaml, and say under viewers who may ask; nothing was written")}
	}
	return err
}

// beginning is the file as it is, or as it begins.
func (n *newIntegration) beginning() []byte {
	if n.old != nil {
		return n.old
	}
	return []byte(strings.NewReplacer("listen: 127.0.0.1:8080", "listen: "+n.listen, "admin_listen: 127.0.0.1:9090", "admin_listen: "+n.admin).Replace(config.NewFile))
}

// text is the file's new text, and the configuration that it is.
func (n *newIntegration) text() ([]byte, *config.Config, error) {
	text, err := config.Append(n.path, n.beginning(), &n.Integration, os.LookupEnv)
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("%w\ns3redirect integrate: with the new integration the configuration would not load; nothing was written", err)}
	}
	c, err := config.Parse(n.path, text, os.LookupEnv)
	return text, c, err
}

// tryIt checks the integration as `check` does, and asks what to do where it does not work.
func (n *newIntegration) tryIt() error {
	if !n.try {
		return nil
	}
	var err error
	n.sample, err = n.ask(question{text: "An object to try it with, as s3://" + n.Buckets()[0] + "/key", optional: true, flag: "--sample", given: n.sample, accept: func(s string) error {
		if s == "" {
			return nil
		}
		_, err := locator.Parse(s)
		return err
	}})
	for err == nil {
		var sound bool
		if sound, err = n.checked(); err != nil || sound {
			break
		}
		if n.yes {
			return fmt.Errorf("the integration does not work: %w (--no-try writes it all the same)", errNothingWritten)
		}
		var answer string
		answer, err = n.ask(question{text: "It does not work yet. [r]etry, another role [a]RN, [w]rite it all the same, or [q]uit", otherwise: "retry", accept: func(s string) error {
			if strings.ContainsRune("rawq", rune(strings.ToLower(s)[0])) {
				return nil
			}
			return errors.New("answer r, a, w or q")
		}})
		if err != nil {
			break
		}
		switch strings.ToLower(answer)[0] {
		case 'a':
			n.RoleARN = ""
			err = n.role()
		case 'w':
			return nil
		case 'q':
			return errNothingWritten
		}
	}
	return err
}

func (n *newIntegration) checked() (sound bool, err error) {
	_, c, err := n.text()
	if err != nil {
		return false, err
	}
	o := check.Options{Config: c, PolicyCommand: n.command, Integrations: []string{n.Name}, Clock: time.Now}
	if n.sample != "" {
		l, err := locator.Parse(n.sample)
		if err != nil {
			return false, err
		}
		o.Sample = &l
	}
	table := newTable(n.w)
	o.Report = table.Add
	sound, err = check.Run(n.ctx, o)
	n.say("")
	if err != nil && n.ctx.Err() != nil {
		return false, fmt.Errorf("interrupted: %w", errNothingWritten)
	} else if err != nil { // the sample is of another integration
		n.sample = ""
		n.say("%v; going on without it.", err)
		return n.checked()
	}
	return sound, nil
}

// write puts the integration into the file.
func (n *newIntegration) write() error {
	text, _, err := n.text()
	if err != nil {
		return err
	}
	if n.ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", errNothingWritten)
	}
	if err := config.Save(n.ctx, n.path, n.old, text); err != nil {
		return err
	}
	n.say("%s has the integration %s:\n\n%s", n.path, n.Name, n.Text())
	n.say("Next: s3redirect serve --config %s (or restart it), and ask for http://…%s%s/KEY", filepath.Clean(n.path), locator.PathPrefix, n.Buckets()[0])
	return nil
}
