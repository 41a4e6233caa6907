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
	salt     [32]byte      // so that what is remembered is no hash that could be looked up
	checking chan struct{} // as many as may run at once: wrong passwords must not take every core
}

// htpasswd is one version of the file.
type htpasswd struct {
	hashes map[string][]byte
	nobody []byte // compared with where there is no such user, so that both take as long
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
	p := &passwords{checking: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
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
	cost := bcrypt.MinCost
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
		cost = max(cost, own)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(h.hashes) == 0 {
		return nil, fmt.Errorf("%s: it has no users; write it with htpasswd -B", name)
	}
	h.nobody, err = bcrypt.GenerateFromPassword([]byte("nobody"), cost)
	return h, err
}

// verify is whose user and password a credential is (RFC 7617, section 2).
func (p *passwords) verify(ctx context.Context, credential string, now time.Time) (Viewer, error) {
	file := p.file.Get()
	salted := sha256.New()
	salted.Write(p.salt[:])
	salted.Write([]byte(credential))
	id := passwordID(salted.Sum(nil))
	if known, ok := p.right.Get(id, now); ok && known.file == file {
		return Viewer{ID: known.user}, nil
	}
	plain, err := base64.StdEncoding.DecodeString(credential)
	if err != nil {
		return Viewer{}, ErrUnknown
	}
	user, password, ok := strings.Cut(string(plain), ":")
	if !ok || len(password) > 72 { // bcrypt would not look at the rest
		return Viewer{}, ErrUnknown
	}
	hash, known := file.hashes[user]
	if !known {
		hash = file.nobody
	}
	select {
	case p.checking <- struct{}{}:
	case <-ctx.Done():
		return Viewer{}, context.Cause(ctx)
	}
	err = bcrypt.CompareHashAndPassword(hash, []byte(password))
	<-p.checking
	if err != nil || !known {
		return Viewer{}, ErrUnknown
	}
	p.right.Add(id, &rightPassword{user: user, file: file, until: now.Add(passwordMemory)})
	return Viewer{ID: user}, nil
}
