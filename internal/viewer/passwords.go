package viewer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"s3redirect/cache"
	"s3redirect/internal/reread"
)

const (
	// passwordMemory is for how long a password that was right need not be looked at again: bcrypt takes tens of milliseconds.
	passwordMemory = 5 * time.Minute
	// maxPasswords is how many are remembered.
	maxPasswords = 16_384
	// maxCost bounds bcrypt's, or one line could take a minute of each request.
	maxCost = 14
)

// passwords verifies users by a file of bcrypt hashes.
type passwords struct {
	file     *reread.Value[*htpasswd]
	right    *cache.LRU[passwordID, *rightPassword]
	salt     [32]byte                          // so that what is remembered is no hash that could be looked up
	checking chan struct{}                     // as many as may run at once: wrong passwords must not take every core
	turns    *turns                            // at checking: those of one address must not take every place
	compare  func(hash, password []byte) error // bcrypt's, which tests count
}

// htpasswd is one version of the file.
type htpasswd struct {
	hashes map[string][]byte
	cost   int // the highest of the hashes
}

// passwordID stands for a credential, which is not kept.
type passwordID [sha256.Size]byte

type rightPassword struct {
	user  string
	file  *htpasswd
	until time.Time
}

// Deadline implements [cache.Perishable].
func (r *rightPassword) Deadline() time.Time { return r.until }

func newPasswords(name string, o Options) (*passwords, error) {
	cores := runtime.GOMAXPROCS(0)
	p := &passwords{
		checking: make(chan struct{}, max(1, cores/2)), turns: newTurns(max(1, cores/4)),
		compare: bcrypt.CompareHashAndPassword,
	}
	if _, err := rand.Read(p.salt[:]); err != nil {
		return nil, err
	}
	var err error
	if p.right, err = cache.New[passwordID, *rightPassword](maxPasswords, nil); err != nil {
		return nil, err
	}
	p.file, err = reread.New(func() (*htpasswd, error) { return readHtpasswd(name) }, o.Clock, o.Log, name)
	return p, err
}

// readHtpasswd reads lines of user:hash, as Apache's htpasswd -B writes them.
func readHtpasswd(name string) (*htpasswd, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	h := &htpasswd{hashes: map[string][]byte{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		user, hash, _ := strings.Cut(line, ":")
		own, err := bcrypt.Cost([]byte(hash))
		_, twice := h.hashes[user]
		switch {
		case !plausibleName(user):
			return nil, fmt.Errorf("%s:%d: a line is user:hash; write it with htpasswd -B", name, n)
		case err != nil:
			return nil, fmt.Errorf("%s:%d: the hash of %s is not bcrypt's; write it with htpasswd -B", name, n, user)
		case own > maxCost:
			return nil, fmt.Errorf("%s:%d: the hash of %s has cost %d, which takes seconds; use %d at most", name, n, user, own, maxCost)
		case twice:
			return nil, fmt.Errorf("%s:%d: %s is there already", name, n, user)
		}
		h.hashes[user] = []byte(hash)
		h.cost = max(h.cost, own)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(h.hashes) == 0 {
		return nil, fmt.Errorf("%s: it has no users; write it with htpasswd -B", name)
	}
	return h, nil
}

// remembered returns the viewer of a credential that was verified a short time ago, against the file as it is now.
func (p *passwords) remembered(credential string, now time.Time) (Viewer, bool) {
	known, ok := p.right.Get(p.id(credential), now)
	if !ok || known.file != p.file.Get() {
		return Viewer{}, false
	}
	return Viewer{ID: known.user}, true
}

func (p *passwords) id(credential string) passwordID {
	salted := sha256.New()
	salted.Write(p.salt[:])
	salted.Write([]byte(credential))
	return passwordID(salted.Sum(nil))
}

// verify verifies a user and a password (RFC 7617, section 2), and remembers them if they are good.
func (p *passwords) verify(ctx context.Context, credential string, now time.Time) (Viewer, error) {
	file := p.file.Get()
	plain, err := base64.StdEncoding.DecodeString(credential)
	if err != nil {
		return Viewer{}, ErrUnknown
	}
	user, password, ok := strings.Cut(string(plain), ":")
	if !ok || len(password) > 72 { // bcrypt would not look at the rest
		return Viewer{}, ErrUnknown
	}
	select {
	case p.checking <- struct{}{}:
	case <-ctx.Done():
		return Viewer{}, context.Cause(ctx)
	}
	defer func() { <-p.checking }()
	if !p.check(file, user, password) {
		return Viewer{}, ErrUnknown
	}
	p.right.Add(p.id(credential), &rightPassword{user: user, file: file, until: now.Add(passwordMemory)})
	return Viewer{ID: user}, nil
}

// check reports whether a password is the user's. It takes 2^file.cost rounds of bcrypt for every user, known or not, so
// that the time reveals nothing: comparisons with decoys make up for the rounds that a cheaper hash saves.
func (p *passwords) check(file *htpasswd, user, password string) bool {
	hash, known := file.hashes[user]
	if !known {
		hash = decoy(file.cost)
	}
	matches := p.compare(hash, []byte(password)) == nil && known
	cost, err := bcrypt.Cost(hash)
	if err != nil {
		return false // readHtpasswd checked it
	}
	for ; cost < file.cost; cost++ { // 2^cost rounds so far, which each comparison doubles
		_ = p.compare(decoy(cost), []byte(password))
	}
	return matches
}

// decoy returns a hash of a cost that belongs to no password.
func decoy(cost int) []byte {
	const saltAndHash = 53 // letters
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", saltAndHash))
}
