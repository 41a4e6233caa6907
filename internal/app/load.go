package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/sessionstore"
	"s3redirect/internal/viewer"
	"s3redirect/proxy"
)

// Load reads a configuration file and everything that it names, and reports every reason why [New]
// would refuse it. It makes no connection and resolves no name. The source is nil if the file cannot
// be read. The error is a [config.Errors].
func Load(path string) (*config.Source, *config.Config, error) {
	source, err := config.Read(path)
	if err != nil {
		return nil, nil, err
	}
	c, err := parse(source)
	return source, c, err
}

// parse parses and verifies a configuration. Its error is a [config.Errors].
func parse(source *config.Source) (*config.Config, error) {
	return source.ParseAnd(os.LookupEnv, verify)
}

// verify returns the mistakes that only the users of a configuration's parts notice.
func verify(c *config.Config) (problems []config.Problem) {
	if b := c.Viewers.Basic; b != nil && b.HtpasswdFile != "" {
		if _, err := viewer.ReadPasswords(b.HtpasswdFile); err != nil {
			problems = append(problems, problem(viewer.HtpasswdKey, err))
		}
	}
	if a := c.Log.Audit; a != config.AuditStdout && filepath.IsAbs(a) {
		if err := proxy.CheckAuditFile(a); err != nil {
			problems = append(problems, problem("log.audit", auditError(err)))
		}
	}
	if r := c.Cache.Redis; r != nil && r.URL != "" {
		store, err := sessionstore.NewRedis(sessionstore.FromConfig(r, &integration.AWSSTS{}))
		if err != nil {
			problems = append(problems, problem("cache.redis.url", err))
		} else {
			store.Close()
		}
	}
	return problems
}

// auditError describes why the audit log cannot be opened.
func auditError(err error) error {
	return fmt.Errorf("log.audit: the file cannot be opened for appending: %w", err)
}

// problem returns an error about a key, whose text may begin with the key.
func problem(key string, err error) config.Problem {
	return config.NewProblem(key, strings.TrimPrefix(err.Error(), key+": "))
}
