package console

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"s3redirect/internal/config"
)

const (
	// sessionLifetime is how long a session is valid.
	sessionLifetime = 12 * time.Hour
	// maxSessions bounds the number of valid sessions. One more ends the oldest.
	maxSessions = 256
)

// userSession is the session of a signed-in user.
type userSession struct {
	name string
	// csrf is the CSRF token that a change must carry in addition to the cookie. Pages of other
	// origins cannot read it.
	csrf string
	// token is the admin.token that the user signed in with. The session ends when admin.token
	// changes.
	token config.Secret
	ends  time.Time
}

// sessions holds the sessions by the digests of their cookies, so that the time of a lookup reveals
// nothing about a cookie. It is in memory only, so a restart ends all sessions.
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

// removeOldestLocked removes the session that expires first. The caller holds s.mu.
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

// find returns the session of a cookie, and reports whether it is valid with the current
// admin.token.
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
