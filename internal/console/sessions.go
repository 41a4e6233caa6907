package console

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"s3redirect/internal/config"
)

const (
	// sessionLifetime bounds how long a sign-in is valid.
	sessionLifetime = 12 * time.Hour
	// maxSessions bounds the sign-ins that are valid at once. One more ends the oldest.
	maxSessions = 256
)

// userSession is a sign-in.
type userSession struct {
	name string
	// csrf is what a change must carry beside the cookie: the console's page can read it, pages of
	// other origins cannot.
	csrf string
	// token is the one that the user signed in with. The session ends when the configuration has another.
	token config.Secret
	ends  time.Time
}

// sessions are the sign-ins, by the digests of their cookies: how long a lookup takes says nothing
// about a cookie. They are in memory only, so a restart ends them all.
type sessions struct {
	mu  sync.Mutex // guards all
	all map[[sha256.Size]byte]userSession
}

// add begins a session and returns its cookie.
func (s *sessions) add(name string, token config.Secret, now time.Time) (cookie string) {
	cookie = rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[[sha256.Size]byte]userSession{}
	}
	for len(s.all) >= maxSessions {
		s.removeOldestLocked()
	}
	s.all[sha256.Sum256([]byte(cookie))] = userSession{
		name: name, csrf: rand.Text(), token: token, ends: now.Add(sessionLifetime),
	}
	return cookie
}

// removeOldestLocked ends the session that would end first. The caller holds s.mu.
func (s *sessions) removeOldestLocked() {
	var oldest [sha256.Size]byte
	var ends time.Time
	for key, u := range s.all {
		if ends.IsZero() || u.ends.Before(ends) {
			oldest, ends = key, u.ends
		}
	}
	delete(s.all, oldest)
}

// find returns the session of a cookie, if it is valid with the token that the configuration has now.
func (s *sessions) find(cookie string, token config.Secret, now time.Time) (userSession, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.all[sha256.Sum256([]byte(cookie))]
	return u, ok && u.token == token && now.Before(u.ends)
}

// remove ends the session of a cookie.
func (s *sessions) remove(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(cookie)))
}
