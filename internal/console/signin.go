package console

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	cookieName = "s3redirect_console"
	csrfHeader = "X-CSRF-Token"
	// signedIn is for how long a sign-in is good.
	signedIn = 12 * time.Hour
	// maxName bounds the name that somebody signs in with, in bytes.
	maxName = 64
)

// key is derived from the token for one purpose. Another token makes other keys, so that all who signed in with the old one have to
// again.
func (c *Console) key(purpose string) []byte { return mac([]byte(c.token()), purpose) }

func (c *Console) token() string { return string(c.Proxy.State().Config.Admin.Token) }

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// newCookie is what a browser is given whose user knows the token: until when, who, and a random part, signed.
func (c *Console) newCookie(name string) string {
	signed := strings.Join([]string{strconv.FormatInt(c.Clock().Add(signedIn).Unix(), 10), encode([]byte(name)), rand.Text()}, ".")
	return signed + "." + encode(mac(c.key("cookie"), signed))
}

// signer is who sent a request, and whether they are signed in.
func (c *Console) signer(r *http.Request) (name, cookie string, ok bool) {
	got, err := r.Cookie(cookieName)
	if err != nil || c.token() == "" {
		return "", "", false
	}
	at := strings.LastIndexByte(got.Value, '.')
	if at < 0 || !hmac.Equal([]byte(got.Value[at+1:]), []byte(encode(mac(c.key("cookie"), got.Value[:at])))) {
		return "", "", false
	}
	until, rest, _ := strings.Cut(got.Value[:at], ".")
	encodedName, _, _ := strings.Cut(rest, ".")
	seconds, err := strconv.ParseInt(until, 10, 64)
	if err != nil || !c.Clock().Before(time.Unix(seconds, 0)) {
		return "", "", false
	}
	b, err := base64.RawURLEncoding.DecodeString(encodedName)
	return string(b), got.Value, err == nil
}

// csrf is what a change must carry beside the cookie: the page can read it, other origins' pages cannot.
func (c *Console) csrf(cookie string) string { return encode(mac(c.key("csrf"), cookie)) }

// mustBeSignedIn refuses whoever is not.
func (c *Console) mustBeSignedIn(r *http.Request) error {
	if _, _, ok := c.signer(r); !ok {
		return errSignIn
	}
	return nil
}

var errSignIn = &refusal{status: http.StatusUnauthorized, text: "sign in first: the last sign-in has ended, or the token has changed"}

// mayChange is who sent a request that changes something, or why it may not.
func (c *Console) mayChange(r *http.Request) (name string, err error) {
	switch state := c.Proxy.State(); {
	case state.File == "":
		return "", &refusal{status: http.StatusForbidden, text: "nothing can be changed here: the configuration is no file's"}
	case state.Config.Admin.Token == "":
		return "", &refusal{status: http.StatusForbidden, text: "nothing can be changed here: the configuration has no admin.token"}
	}
	name, cookie, ok := c.signer(r)
	if !ok {
		return "", errSignIn
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(c.csrf(cookie))) != 1 {
		return "", &refusal{status: http.StatusForbidden, text: "the page is older than the sign-in: load it again"}
	}
	return name, nil
}

// sessionAnswer is who looks at the page, and what they may do.
type sessionAnswer struct {
	Version string `json:"version"`
	// Changeable tells whether the configuration can be changed by whoever signs in; if not, Why says why.
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
		a.Why = "the configuration is no file's"
	case state.Config.Admin.Token == "":
		a.Why = "the configuration has no admin.token"
	default:
		a.Changeable = true
	}
	if name, cookie, ok := c.signer(r); ok && a.Changeable {
		a.SignedIn, a.Name, a.CSRF = true, name, c.csrf(cookie)
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
		c.refuse(w, &refusal{status: http.StatusForbidden, text: "there is nothing to sign in with: the configuration has no admin.token"})
	case name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		c.refuse(w, &refusal{status: http.StatusBadRequest, text: "give a name of 1 to 64 characters: the log says who changed what"})
	// Digests of one length, so that the time that it takes tells nothing of the token's.
	case subtle.ConstantTimeCompare(mac(nil, in.Token), mac(nil, token)) != 1:
		c.Log.Warn("console: sign-in refused", "name", name, "from", r.RemoteAddr)
		c.refuse(w, &refusal{status: http.StatusForbidden, text: "that is not the token"})
	default:
		c.Log.Info("console: signed in", "name", name, "from", r.RemoteAddr)
		c.setCookie(w, r, c.newCookie(name), int(signedIn/time.Second))
		w.WriteHeader(http.StatusNoContent)
	}
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	if name, _, ok := c.signer(r); ok {
		c.Log.Info("console: signed out", "name", name, "from", r.RemoteAddr)
	}
	c.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"})
}
