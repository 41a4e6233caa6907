package proxy

import (
	"log/slog"
	"net/http"
	"net/http/pprof"
)

// handleProfiles registers the profiles of package pprof on the administrators' listener. They do
// not exist without admin.token, because profiling slows the program down. The command line is not
// served.
func handleProfiles(mux *http.ServeMux, o Operator, log *slog.Logger) {
	for path, next := range map[string]http.HandlerFunc{
		"/debug/pprof/":        pprof.Index, // also serves heap, goroutine, allocs and others
		"/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/trace":   pprof.Trace,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			token := o.AdminToken()
			switch {
			case token == "":
				writeText(w, http.StatusNotFound, "Not found: profiles need admin.token.")
			case rejectPage(w, r), rejectStranger(w, r, token, log):
			default:
				next(w, r)
			}
		})
	}
}
