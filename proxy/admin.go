package proxy

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"s3redirect/internal/config"
)

// Operator performs the operations of the administrators' listener.
type Operator interface {
	// AdminToken returns the bearer token that requests must carry. If it is "", every client may
	// send them.
	AdminToken() config.Secret
	// Reload reads the configuration again. If it returns an error, the previous configuration
	// stays in use.
	Reload() error
	// Purge drops the sessions and the URLs of the named integration, or of the one that serves the
	// locator. If both are "", it drops those of all integrations.
	Purge(integration, locator string) (Purged, error)
}

// Purged describes what a purge dropped.
type Purged struct {
	Integrations []string `json:"integrations"`
	URLs         int      `json:"urls"`
}

// ErrNothingToPurge means that no integration has the name, or serves the bucket.
var ErrNothingToPurge = errors.New("no integration has that name, or serves that bucket")

// handleOperations registers the operations on the administrators' listener.
func handleOperations(mux *http.ServeMux, o Operator, log *slog.Logger) {
	handle := func(path string, next http.HandlerFunc) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if !rejectPage(w, r) && !rejectStranger(w, r, o.AdminToken(), log) {
				next(w, r)
			}
		})
	}
	handle("/-/reload", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Reload(); err != nil {
			writeText(w, http.StatusUnprocessableEntity,
				"reload failed; keeping the previous configuration:\n"+err.Error())
			return
		}
		writeText(w, http.StatusOK, "reloaded")
	})
	handle("/-/purge", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		purged, err := o.Purge(query.Get("integration"), query.Get("locator"))
		switch {
		case errors.Is(err, ErrNothingToPurge):
			writeText(w, http.StatusNotFound, err.Error())
		case err != nil:
			writeText(w, http.StatusBadRequest, err.Error())
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			_ = json.NewEncoder(w).Encode(purged) // fails only if the client has disconnected
		}
	})
}

// rejectPage rejects requests from web pages, and reports whether it did. Any page could make a
// browser in the administrators' network send requests to this listener.
func rejectPage(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return false
	}
	writeText(w, http.StatusForbidden, "Access denied: web pages cannot use this path.")
	return true
}

// rejectStranger rejects requests without the administrators' token (RFC 6750), and reports whether
// it did. It accepts every request if token is "". The token is too long to guess, so failures are
// logged but not limited.
func rejectStranger(
	w http.ResponseWriter, r *http.Request, token config.Secret, log *slog.Logger,
) bool {
	values := r.Header.Values("Authorization")
	if token == "" || len(values) == 1 && token.Matches(bearer(values[0])) {
		return false
	}
	log.Warn("administrators' request rejected: it lacks a valid admin.token",
		"path", r.URL.Path, "from", r.RemoteAddr)
	w.Header().Set("WWW-Authenticate", `Bearer realm="s3redirect administration"`)
	writeText(w, http.StatusUnauthorized, "Authentication required: send the header "+
		"Authorization: Bearer TOKEN with the configuration's admin.token")
	return true
}

// bearer returns the token of an Authorization header, or "" if its scheme is not Bearer.
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
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
