package sessionstore

import (
	"context"
	"crypto/rand"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// probeTTL is the TTL of the keys that Try writes.
const probeTTL = 10 * time.Second

// Try connects, authenticates, and uses every command that the proxy needs: it writes a value with a
// TTL, reads and deletes it, and takes and ends a lease. The names begin with the prefix, as those of
// sessions.
func (r *Redis) Try(ctx context.Context) error {
	name, value := "s3redirect:check:"+rand.Text(), "check"
	if stored, err := r.Add(ctx, name, []byte(value), probeTTL); err != nil {
		return err
	} else if !stored {
		return errors.New("a value was not stored")
	}
	got, err := r.Get(ctx, name)
	if err == nil && string(got) != value {
		err = errors.New("the server returned another value than the one that was written")
	}
	return errors.Join(err, r.Delete(ctx, name), r.tryLease(ctx, name+":lease"))
}

// tryLease takes a lease and ends it.
func (r *Redis) tryLease(ctx context.Context, name string) error {
	name = r.prefix + name
	token := rand.Text()
	if stored, err := r.set(ctx, name, token, probeTTL); err != nil {
		return err
	} else if !stored {
		return errors.New("a lease was not stored")
	}
	client, err := r.connected()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	ended, err := release.Exec(ctx, client, []string{name}, []string{token}).AsInt64()
	if err == nil && ended != 1 {
		err = errors.New("the server did not end a lease")
	}
	return replyError(err)
}

// ReplyError is an error that the server replied.
type ReplyError struct{ text string }

// replyError returns err without the arguments of a command, which a server quotes if it does not
// know the command. Those of AUTH are the user and the password.
func replyError(err error) error {
	reply, ok := rueidis.IsRedisErr(err)
	if !ok {
		return err
	}
	text, _, _ := strings.Cut(reply.Error(), ", with args")
	return &ReplyError{text}
}

func (e *ReplyError) Error() string { return e.text }

// Code returns the first word of the reply, such as WRONGPASS. The code ERR is left out.
func (e *ReplyError) Code() string {
	code, _, _ := strings.Cut(e.text, " ")
	return code
}

// Mentions reports whether the reply contains text, in any case.
func (e *ReplyError) Mentions(text string) bool {
	return strings.Contains(strings.ToLower(e.text), strings.ToLower(text))
}

var deniedCommand = regexp.MustCompile(`'([a-z|-]+)' command`)

// Command returns the command that an ACL denies, or "".
func (e *ReplyError) Command() string {
	if m := deniedCommand.FindStringSubmatch(e.text); m != nil {
		return m[1]
	}
	return ""
}
