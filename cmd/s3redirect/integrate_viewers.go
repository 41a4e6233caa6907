package main

import (
	"fmt"
	"os"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/onboard"
)

// viewers asks who may read, if the configuration is new. With --yes, everyone may.
func (n *newIntegration) viewers() error {
	if !n.isNew || n.yes {
		return nil
	}
	everyone, err := n.confirm(fmt.Sprintf("May everyone who can reach %s read %s", n.listen,
		strings.Join(n.Buckets(), ", ")), "--yes", true)
	if err != nil || everyone {
		return err
	}
	s, err := n.askForSignIn()
	if err != nil {
		return err
	}
	answers, err := n.askAboutSignIn(s)
	if err != nil {
		return err
	}
	n.source = config.New(n.path, config.NewFile(n.listen, n.admin, s.Viewers(answers)))
	if n.current, err = n.source.Parse(os.LookupEnv); err != nil && !config.LacksIntegrations(err) {
		return usageError{fmt.Errorf("%w\ns3redirect integrate: with these answers the configuration "+
			"would not load; nothing was written", err)}
	}
	n.say("  Every client that signs in may then read what the integrations read; rules limit that " +
		"(docs/viewers.md).\n")
	return nil
}

// askForSignIn asks how clients sign in.
func (n *newIntegration) askForSignIn() (*onboard.SignIn, error) {
	var kinds []string
	n.say("  How do clients sign in?")
	for _, s := range onboard.SignIns() {
		n.say("    %-10s %s (%s)", s.Kind, s.About, s.Page)
		kinds = append(kinds, s.Kind)
	}
	find := func(answer string) *onboard.SignIn {
		for _, s := range onboard.SignIns() {
			if s.Kind == strings.ToLower(answer) {
				return &s
			}
		}
		return nil
	}
	names := strings.Join(kinds[:len(kinds)-1], ", ") + " or " + kinds[len(kinds)-1]
	answer, err := n.ask(question{text: "Sign-in: " + names, accept: func(answer string) error {
		if find(answer) == nil {
			return fmt.Errorf("answer %s", names)
		}
		return nil
	}})
	return find(answer), err
}

// askAboutSignIn asks for the keys of a way to sign in. The answers are texts by key.
func (n *newIntegration) askAboutSignIn(s *onboard.SignIn) (map[string]string, error) {
	answers := map[string]string{}
	for _, about := range s.Questions {
		complete := func(answer string) string { return answer }
		if about.Secret {
			complete = func(answer string) string { return "${" + variableName(answer) + "}" }
		}
		q := question{text: about.Label, hint: about.Hint, otherwise: about.Default,
			optional: about.Optional}
		q.accept = func(answer string) error {
			if about.Secret {
				if err := secretVariable(answer); err != nil {
					return err
				}
			}
			return s.Check(answers, about.Key, complete(answer), os.LookupEnv)
		}
		answer, err := n.ask(q)
		if err != nil {
			return nil, err
		}
		answers[about.Key] = answer
		if answer != "" {
			answers[about.Key] = complete(answer)
		}
	}
	if path := answers["htpasswd_file"]; path != "" {
		if _, err := os.Stat(path); err != nil {
			n.passwords = path
		}
	}
	return answers, nil
}
