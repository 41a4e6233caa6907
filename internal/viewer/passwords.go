package viewer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"s3redirect/cache"
	"s3redirect/internal/reread"
)

const (
	// passwordTTL is how long a verified password is cached: bcrypt takes tens of milliseconds.
	passwordTTL = 5 * time.Minute
	// maxPasswords is how many verified passwords are cached.
	maxPasswords = 16_384
	// maxCost bounds the cost of a hash: bcrypt allows costs whose check takes more than a day.
	maxCost = 14
	// maxPassword is how many bytes of a password bcrypt uses.
	maxPassword = 72
	// HtpasswdKey is the configuration key of the file. Messages have it in place of the path,
	// which may come from a variable that holds a secret.
	HtpasswdKey = "viewers.basic.htpasswd_file"
)

// passwordVerifier verifies users by a file of bcrypt hashes and caches the valid credentials.
type passwordVerifier struct {
	file     *reread.Value[*htpasswd]
	verified *cache.LRU[credentialHash, *verifiedPassword]
	salt     [32]byte      // of the credential hashes, against precomputed tables
	slots    chan struct{} // bounds the checks in progress, so that they leave cores for others
	queue    *fairQueue    // for the slots, so that one address cannot take all of them
	compare  func(hash, password []byte) error
}

// htpasswd is a version of the file.
type htpasswd struct {
	hashes map[string][]byte // by user
	cost   int               // the highest cost of the hashes
}

// credentialHash identifies a verified credential in the cache, which does not hold passwords.
type credentialHash [sha256.Size]byte

// verifiedPassword is a user whose password has been verified.
type verifiedPassword struct {
	user  string
	file  *htpasswd // the version that the password was verified with
	until time.Time
}

// Deadline implements [cache.Perishable].
func (v *verifiedPassword) Deadline() time.Time { return v.until }

func newPasswordVerifier(name string, o Options) (*passwordVerifier, error) {
	cores := runtime.GOMAXPROCS(0)
	p := &passwordVerifier{
		slots:   make(chan struct{}, max(1, cores/2)),
		queue:   newFairQueue(max(1, cores/4)),
		compare: bcrypt.CompareHashAndPassword,
	}
	if _, err := rand.Read(p.salt[:]); err != nil {
		return nil, err
	}
	var err error
	p.verified, err = cache.New[credentialHash, *verifiedPassword](maxPasswords, nil)
	if err != nil {
		return nil, err
	}
	log := o.Log.With("key", HtpasswdKey)
	p.file, err = reread.New(func() (*htpasswd, error) { return readHtpasswd(name) },
		o.Clock, log, name)
	if err != nil {
		return nil, passwordsError(err)
	}
	return p, nil
}

// passwordsError returns an error about the file with its key in place of its path.
func passwordsError(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w; create the file with htpasswd -B", HtpasswdKey, err)
	}
	return fmt.Errorf("%s: %w", HtpasswdKey, err)
}

// Passwords describes a file with the hashes of passwords.
type Passwords struct {
	// Users is how many users the file has, and Fastest and Slowest are the lowest and the highest
	// bcrypt cost of their hashes.
	Users, Fastest, Slowest int
}

// ReadPasswords reads the file with a name as the proxy does. Its errors have the file's key in place
// of its name.
func ReadPasswords(name string) (Passwords, error) {
	h, err := readHtpasswd(name)
	if err != nil {
		return Passwords{}, passwordsError(err)
	}
	p := Passwords{Users: len(h.hashes), Fastest: h.cost, Slowest: h.cost}
	for _, hash := range h.hashes {
		if cost, err := bcrypt.Cost(hash); err == nil {
			p.Fastest = min(p.Fastest, cost)
		}
	}
	return p, nil
}

// readHtpasswd reads a file with lines of user:hash, as Apache's htpasswd -B writes it. Errors
// contain nothing of a line: its user field may be a hash or a password.
func readHtpasswd(name string) (*htpasswd, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, errors.New("the file is in UTF-16; save it in UTF-8")
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // Windows editors write a byte order mark
	h := &htpasswd{hashes: map[string][]byte{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		user, hash, _ := strings.Cut(line, ":")
		cost, err := bcrypt.Cost([]byte(hash))
		_, twice := h.hashes[user]
		switch {
		case !validName(user):
			return nil, fmt.Errorf("line %d: the line is not user:hash; "+
				"create the file with htpasswd -B", n)
		case err != nil:
			return nil, fmt.Errorf("line %d: the hash is not a bcrypt hash; "+
				"create the file with htpasswd -B", n)
		case cost > maxCost:
			return nil, fmt.Errorf("line %d: the hash has cost %d, which is too slow; "+
				"use at most %d", n, cost, maxCost)
		case twice:
			return nil, fmt.Errorf("line %d: the user has an earlier line; keep one of them", n)
		}
		h.hashes[user] = []byte(hash)
		h.cost = max(h.cost, cost)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(h.hashes) == 0 {
		return nil, errors.New("the file has no users; add one with htpasswd -B")
	}
	return h, nil
}

// cached returns the viewer of a credential that has been verified with the current file.
func (p *passwordVerifier) cached(credential string, now time.Time) (Viewer, bool) {
	v, ok := p.verified.Get(p.hash(credential), now)
	if !ok || v.file != p.file.Get() {
		return Viewer{}, false
	}
	return Viewer{ID: v.user}, true
}

func (p *passwordVerifier) hash(credential string) credentialHash {
	salted := sha256.New()
	salted.Write(p.salt[:])
	salted.Write([]byte(credential))
	return credentialHash(salted.Sum(nil))
}

// verify verifies a credential, the base64 of user:password (RFC 7617, section 2), and caches it
// if it is valid.
func (p *passwordVerifier) verify(
	ctx context.Context, credential string, now time.Time,
) (Viewer, error) {
	file := p.file.Get()
	plain, err := base64.StdEncoding.DecodeString(credential)
	if err != nil {
		return Viewer{}, refuse(MethodBasic, ReasonMalformed)
	}
	user, password, ok := strings.Cut(string(plain), ":")
	switch {
	case !ok:
		return Viewer{}, refuse(MethodBasic, ReasonMalformed)
	case len(password) > maxPassword:
		return Viewer{}, refuse(MethodBasic, ReasonTooLarge)
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return Viewer{}, context.Cause(ctx)
	}
	defer func() { <-p.slots }()
	if !p.check(file, user, password) {
		return Viewer{}, refuse(MethodBasic, ReasonPassword)
	}
	p.verified.Add(p.hash(credential), &verifiedPassword{
		user:  user,
		file:  file,
		until: now.Add(passwordTTL),
	})
	return Viewer{ID: user}, nil
}

// check reports whether password is the user's. It takes 2^file.cost rounds of bcrypt for every
// user, known or not, so its duration does not reveal which users exist. Comparisons with decoys
// make up for the rounds that a cheaper hash saves.
func (p *passwordVerifier) check(file *htpasswd, user, password string) bool {
	hash, known := file.hashes[user]
	if !known {
		hash = decoy(file.cost)
	}
	matches := p.compare(hash, []byte(password)) == nil && known
	cost, err := bcrypt.Cost(hash)
	if err != nil {
		return false // cannot happen: readHtpasswd has checked the hash
	}
	for ; cost < file.cost; cost++ { // 2^cost rounds so far; the comparison doubles them
		_ = p.compare(decoy(cost), []byte(password))
	}
	return matches
}

// decoy returns a bcrypt hash with a cost that matches no password.
func decoy(cost int) []byte {
	const saltAndHash = 53 // their length in a bcrypt hash
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", saltAndHash))
}
