package console

import (
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
	"unicode"

	"s3redirect/internal/config"
)

const (
	cookieName = "s3redirect_console"
	csrfHeader = "X-CSRF-Token"
	// maxName bounds the name that a user signs in with, in bytes.
	maxName = 64
)

func (c *Console) token() config.Secret { return c.Proxy.State().Config.Admin.Token }

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// currentUser returns the session that a request belongs to.
func (c *Console) currentUser(r *http.Request) (userSession, bool) {
	cookie, err := r.Cookie(cookieName)
	token := c.token()
	if err != nil || token == "" {
		return userSession{}, false
	}
	return c.users.find(cookie.Value, token, c.Clock())
}

// mustBeSignedIn returns an error unless the request belongs to a session.
func (c *Console) mustBeSignedIn(r *http.Request) error {
	if _, ok := c.currentUser(r); !ok {
		return errSignIn
	}
	return nil
}

var errSignIn = &refusal{status: http.StatusUnauthorized,
	text: "sign in: the session has ended, or the token has changed"}

// fromOwnPage returns the session that a request belongs to, or an error unless it was also sent by
// the console's own page.
func (c *Console) fromOwnPage(r *http.Request) (userSession, error) {
	user, ok := c.currentUser(r)
	if !ok {
		return userSession{}, errSignIn
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(user.csrf)) != 1 {
		return userSession{}, &refusal{status: http.StatusForbidden,
			text: "the page is older than the session; reload it"}
	}
	return user, nil
}

// mayCheck returns an error if the request must not cause calls of STS or a store. Without
// admin.token every client may.
func (c *Console) mayCheck(r *http.Request) error {
	if c.token() == "" {
		return nil
	}
	_, err := c.fromOwnPage(r)
	return err
}

// mayChange returns the name of the user who sent a request, or an error if the request must not
// change anything.
func (c *Console) mayChange(r *http.Request) (name string, err error) {
	switch state := c.Proxy.State(); {
	case state.File == "":
		return "", &refusal{status: http.StatusForbidden,
			text: "nothing can be changed here: the configuration does not come from a file"}
	case state.Config.Admin.Token == "":
		return "", &refusal{status: http.StatusForbidden,
			text: "nothing can be changed here: the configuration has no admin.token"}
	}
	user, err := c.fromOwnPage(r)
	return user.name, err
}

// sessionAnswer states who the user is and what the user may do.
type sessionAnswer struct {
	Version string `json:"version"`
	// Changeable reports whether users who sign in can change the configuration. If not, Why is the
	// reason.
	Changeable bool   `json:"changeable"`
	Why        string `json:"why,omitempty"`
	SignedIn   bool   `json:"signed_in"`
	Name       string `json:"name,omitempty"`
	CSRF       string `json:"csrf,omitempty"`
}

func (c *Console) session(r *http.Request) (any, error) {
	state := c.Proxy.State()
	a := sessionAnswer{Version: c.Version}
	switch {
	case state.File == "":
		a.Why = "the configuration does not come from a file"
	case state.Config.Admin.Token == "":
		a.Why = "the configuration has no admin.token"
	default:
		a.Changeable = true
	}
	if user, ok := c.currentUser(r); ok && a.Changeable {
		a.SignedIn, a.Name, a.CSRF = true, user.name, user.csrf
	}
	return a, nil
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var in struct{ Token, Name string }
	if err := readJSON(r, &in); err != nil {
		c.refuse(w, err)
		return
	}
	name := strings.TrimSpace(in.Name)
	switch token := c.token(); {
	case token == "":
		c.refuse(w, &refusal{status: http.StatusForbidden,
			text: "signing in is not possible: the configuration has no admin.token"})
	case name == "" || len(name) > maxName ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		c.refuse(w, &refusal{status: http.StatusBadRequest,
			text: "enter a name of 1 to 64 characters; the log records who changed what"})
	case !token.Matches(in.Token):
		// The name is not logged, because users may enter the token in the wrong field.
		c.Log.Warn("console: sign-in refused", "from", r.RemoteAddr)
		c.refuse(w, &refusal{status: http.StatusForbidden, text: "wrong token"})
	default:
		c.Log.Info("console: signed in", "name", name, "from", r.RemoteAddr)
		c.setCookie(w, r, c.users.add(name, token, c.Clock()), int(sessionLifetime/time.Second))
		w.WriteHeader(http.StatusNoContent)
	}
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	if user, ok := c.currentUser(r); ok {
		c.Log.Info("console: signed out", "name", user.name, "from", r.RemoteAddr)
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		c.users.remove(cookie.Value)
	}
	c.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"})
}
