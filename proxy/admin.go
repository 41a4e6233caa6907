package proxy

import (
	"encoding/json"
	"errors"
	"net/http"
)

// Operator does what administrators ask for.
type Operator interface {
	// Reload reads the configuration again. Its error is about the new one, and the old one goes on.
	Reload() error
	// Purge drops the sessions and the URLs of an integration, of the one that serves a locator, or of all where both are "".
	Purge(integration, locator string) (Purged, error)
}

// Purged is what a purge dropped.
type Purged struct {
	Integrations []string `json:"integrations"`
	URLs         int      `json:"urls"`
}

// ErrNothingToPurge says that no integration has the name, or serves the bucket.
var ErrNothingToPurge = errors.New("no integration has that name, or serves that bucket")

// operate adds what changes something to the administrators' side.
func operate(mux *http.ServeMux, o Operator) {
	mux.HandleFunc("POST /-/reload", func(w http.ResponseWriter, r *http.Request) {
		if refusePage(w, r) {
			return
		}
		if err := o.Reload(); err != nil {
			writeText(w, http.StatusUnprocessableEntity, "the old configuration goes on:\n"+err.Error())
			return
		}
		writeText(w, http.StatusOK, "reloaded")
	})
	mux.HandleFunc("POST /-/purge", func(w http.ResponseWriter, r *http.Request) {
		if refusePage(w, r) {
			return
		}
		purged, err := o.Purge(r.URL.Query().Get("integration"), r.URL.Query().Get("locator"))
		switch {
		case errors.Is(err, ErrNothingToPurge):
			writeText(w, http.StatusNotFound, err.Error())
		case err != nil:
			writeText(w, http.StatusBadRequest, err.Error())
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(purged) // whoever hung up does not want it
		}
	})
}

// refusePage refuses what a page sends: the administrators' listener has no password, and a browser on its machine would
// send there whatever any page tells it to.
func refusePage(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return false
	}
	writeText(w, http.StatusForbidden, "this is not for pages in browsers")
	return true
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
