package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"s3redirect/internal/check"
	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/onboard"
)

// newIntegration is an integration that is being set up.
type newIntegration struct {
	*conversation
	draft
	path      string
	source    *config.Source // the configuration without the integration
	current   *config.Config // the same, parsed; nil if it has no integration yet
	isNew     bool           // the configuration file does not exist yet
	principal string
	withTags  bool // the proxy's own session has tags or a source identity
	kmsKeys   list
	sample    string
	listen    string
	admin     string
	try       bool
	passwords string         // the password file, if it does not exist yet
	setting   *check.Setting // that the last check recommends; nil if there is none
}

// integrate adds an integration to a configuration, interactively.
func integrate(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	n := newIntegration{}
	flags := flag.NewFlagSet("integrate", flag.ContinueOnError)
	flags.StringVar(&n.path, "config", config.DefaultPath, "the configuration `file`; it is made if it is not there")
	yes := flags.Bool("yes", false, "ask nothing: take the flags, and the defaults")
	noTry := flags.Bool("no-try", false, "do not try it before it is written")
	flags.StringVar(&n.principal, "principal", "", "who we are, an `ARN`; default: STS is asked")
	flags.BoolVar(&n.withTags, "with-tags", false,
		"the proxy's own session has tags or a source identity, as with EKS Pod Identity; the "+
			"trust policy then allows sts:TagSession and sts:SetSourceIdentity, too")
	flags.Var(&n.kmsKeys, "kms-key", "the `ARN` of a KMS key that objects are encrypted with, which "+
		"sessions are limited to; may be repeated")
	flags.StringVar(&n.sample, "sample", "", "an object to try it with, `s3://bucket/key`")
	flags.StringVar(&n.listen, "listen", "127.0.0.1:8080", "viewers' `address`, in a new file")
	flags.StringVar(&n.admin, "admin-listen", "127.0.0.1:9090", "administrators' `address`, in a new file")
	n.register(flags)
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if err := rejectEmpty(flags); err != nil {
		return err
	}
	n.try = !*noTry
	n.conversation = converse(ctx, stdout, *yes)
	if err := n.readFiles(); err != nil {
		return err
	}
	n.announce()
	for _, step := range []func() error{
		n.scope, n.viewers, n.store, n.rights, n.showDocuments, n.role, n.tryIt,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return n.write()
}

// readFiles reads the configuration and checks that integrations can be written.
func (n *newIntegration) readFiles() error {
	var err error
	if _, statErr := os.Stat(n.path); errors.Is(statErr, fs.ErrNotExist) {
		n.isNew = true
		n.source = config.New(n.path, config.NewFile(n.listen, n.admin, nil))
	} else if n.source, err = config.Read(n.path); err != nil {
		return usageError{err}
	}
	if n.current, err = n.source.Parse(os.LookupEnv); err != nil && !config.LacksIntegrations(err) {
		return usageError{fmt.Errorf("%w\ns3redirect integrate: the configuration does not load; fix it first", err)}
	}
	if err := n.source.Writable(); err != nil {
		return usageError{fmt.Errorf("s3redirect integrate: %w", err)}
	}
	return nil
}

// announce names the file that the integration is for.
func (n *newIntegration) announce() {
	if !n.isNew {
		n.say("An integration for %s. Ctrl-C ends this at any time, and nothing is written.\n", n.path)
		return
	}
	n.say("There is no %s yet: it will be "+
		"made, with a directory of integrations beside it. Ctrl-C ends this at any time, and nothing is written.",
		n.path)
	if config.HasOnlyExample(n.path) {
		n.say("config.yaml stays unchanged. To add to that file instead, use --config config.yaml.")
	}
	n.say("")
}

// change returns the change of the configuration, and the configuration after it.
func (n *newIntegration) change() (*config.Change, *config.Config, error) {
	ch, err := n.source.Add(n.Draft())
	var c *config.Config
	if err == nil {
		c, err = ch.Parse(os.LookupEnv)
	}
	if err != nil {
		return nil, nil,
			usageError{fmt.Errorf("%w\ns3redirect integrate: with the new integration the "+
				"configuration would not load; nothing was written", err)}
	}
	return ch, c, nil
}

// tryIt checks the integration as `check` does. If a step fails, it asks what to do.
func (n *newIntegration) tryIt() error {
	if !n.try {
		return nil
	}
	var err error
	q := n.optional(onboard.Sample, n.sample)
	q.accept = func(s string) error {
		if s == "" {
			return nil
		}
		_, err := locator.Parse(s)
		return err
	}
	n.sample, err = n.ask(q)
	for err == nil {
		var sound bool
		if sound, err = n.checked(); err != nil || sound {
			break
		}
		if n.yes {
			return fmt.Errorf("the integration does not work: %w (--no-try writes it all the same)", errNothingWritten)
		}
		var answer byte
		answer, err = n.askWhatToDo()
		if err != nil {
			break
		}
		switch answer {
		case 'a':
			n.RoleARN = ""
			err = n.role()
		case 's':
			err = n.set(n.setting)
		case 'w':
			return nil
		case 'q':
			return errNothingWritten
		}
	}
	return err
}

// askWhatToDo asks what to do after a failed check, and returns the letter of the answer.
func (n *newIntegration) askWhatToDo() (letter byte, err error) {
	letters, names, offer := "rawq", "r, a, w or q", ""
	if n.setting != nil {
		letters, names = "rsawq", "r, s, a, w or q"
		offer = "[s]et " + n.setting.String() + ", "
	}
	answer, err := n.ask(question{text: "It does not work yet. [r]etry, " + offer +
		"another role [a]RN, [w]rite it all the same, or [q]uit", otherwise: "retry",
		accept: func(s string) error {
			if strings.IndexByte(letters, strings.ToLower(s)[0]) >= 0 {
				return nil
			}
			return errors.New("answer " + names)
		}})
	if err != nil {
		return 0, err
	}
	return strings.ToLower(answer)[0], nil
}

// set changes the integration as a check recommends.
func (n *newIntegration) set(s *check.Setting) error {
	draft := n.Draft()
	draft[s.Key] = s.Value
	i, err := draft.Integration()
	if err != nil {
		return err
	}
	n.Integration = *i
	return nil
}

// checked tries the integration. It sets n.setting to what the check recommends.
func (n *newIntegration) checked() (sound bool, err error) {
	_, c, err := n.change()
	if err != nil {
		return false, err
	}
	o := check.Options{Config: c, Program: program, PolicyCommand: n.command,
		Integrations: []string{n.Name}, Clock: time.Now}
	if n.sample != "" {
		l, err := locator.Parse(n.sample)
		if err != nil {
			return false, err
		}
		o.Sample = &l
	}
	table := newTable(n.w)
	n.setting = nil
	o.Report = func(s check.Step) {
		table.Add(s)
		if s.Setting != nil {
			n.setting = s.Setting
		}
	}
	sound, err = check.Run(n.ctx, o)
	n.say("")
	if err != nil && n.ctx.Err() != nil {
		return false, fmt.Errorf("interrupted: %w", errNothingWritten)
	} else if err != nil { // the sample belongs to another integration
		n.sample = ""
		n.say("%v; continuing without it.", err)
		return n.checked()
	}
	return sound, nil
}

// write writes the integration's file, and the configuration file if it does not exist yet.
func (n *newIntegration) write() error {
	ch, c, err := n.change()
	if err != nil {
		return err
	}
	if n.ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", errNothingWritten)
	}
	if err := ch.Save(n.ctx, os.LookupEnv); err != nil {
		return err
	}
	if n.isNew {
		n.say("%s is the configuration. All users of this machine may read it, so that the service's "+
			"user can; secrets stay in environment variables.", n.path)
	}
	n.say("%s has the integration %s:\n\n%s", ch.NewPath, n.Name, ch.New)
	return n.sayNext(c)
}
