package proxy

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"s3redirect/internal/config"
)

// Operator does what administrators ask for.
type Operator interface {
	// AdminToken is what a request must carry as its bearer token. With "" every client may ask.
	AdminToken() config.Secret
	// Reload reads the configuration again. Its error is about the new one, and the old one stays in use.
	Reload() error
	// Purge drops the sessions and the URLs of an integration, of the one that serves a locator,
	// or of all if both are "".
	Purge(integration, locator string) (Purged, error)
}

// Purged is what a purge dropped.
type Purged struct {
	Integrations []string `json:"integrations"`
	URLs         int      `json:"urls"`
}

// ErrNothingToPurge means that no integration has the name, or serves the bucket.
var ErrNothingToPurge = errors.New("no integration has that name, or serves that bucket")

// operate adds the requests that change something to the administrators' listener.
func operate(mux *http.ServeMux, o Operator, log *slog.Logger) {
	handle := func(path string, answer http.HandlerFunc) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if !refusePage(w, r) && !refuseStranger(w, r, o.AdminToken(), log) {
				answer(w, r)
			}
		})
	}
	handle("/-/reload", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Reload(); err != nil {
			writeText(w, http.StatusUnprocessableEntity, "the old configuration goes on:\n"+err.Error())
			return
		}
		writeText(w, http.StatusOK, "reloaded")
	})
	handle("/-/purge", func(w http.ResponseWriter, r *http.Request) {
		purged, err := o.Purge(r.URL.Query().Get("integration"), r.URL.Query().Get("locator"))
		switch {
		case errors.Is(err, ErrNothingToPurge):
			writeText(w, http.StatusNotFound, err.Error())
		case err != nil:
			writeText(w, http.StatusBadRequest, err.Error())
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(purged) // a client that hung up does not read it
		}
	})
}

// refusePage rejects a request that a web page sent. Any page can have a browser on the
// administrators' network send requests here.
func refusePage(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return false
	}
	writeText(w, http.StatusForbidden, "this is not for pages in browsers")
	return true
}

// refuseStranger rejects a request without the administrators' token (RFC 6750), if one is
// configured. The token is too long to guess, so failures are logged and not counted.
func refuseStranger(w http.ResponseWriter, r *http.Request, token config.Secret, log *slog.Logger) bool {
	values := r.Header.Values("Authorization")
	if token == "" || len(values) == 1 && token.Matches(bearer(values[0])) {
		return false
	}
	log.Warn("administrators' request refused: it does not carry admin.token",
		"path", r.URL.Path, "from", r.RemoteAddr)
	w.Header().Set("WWW-Authenticate", `Bearer realm="s3redirect administration"`)
	writeText(w, http.StatusUnauthorized, "Authentication required: "+
		"send the header Authorization: Bearer TOKEN with the configuration's admin.token")
	return true
}

// bearer returns the token of an Authorization header of the Bearer scheme, "" for other schemes.
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
