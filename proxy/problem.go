package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"s3redirect/internal/integration"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

// problem is an answer that is no redirect (RFC 9457). Its code is stable, for programs; its detail is for people. Neither
// holds anything that STS or a store said: that is for the operator's log.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`

	retryAfter time.Duration
	challenge  []string
}

func (p *problem) Error() string { return p.Code + ": " + p.Detail }

func newProblem(status int, code, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

func badQuery(detail string) *problem {
	return newProblem(http.StatusBadRequest, "bad_query", detail)
}

var (
	errNotFound = newProblem(http.StatusNotFound, "not_found", "Objects are at "+locator.PathPrefix+"{bucket}/{key}.")
	errMethod   = newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "The method is not one that is answered here; Allow has those that are.")
	errDenied   = newProblem(http.StatusForbidden, "viewer_denied", "This is not for you to read.")
	errLink     = newProblem(http.StatusUnauthorized, "viewer_unknown", "The link has ended, or is none for this object.")
	errBucket   = newProblem(http.StatusNotFound, "bucket_not_permitted", "No integration serves this bucket.")
	// nginx's code for who hung up: nobody reads the answer, and the metrics must not call it a failure.
	errGone     = &problem{Type: "about:blank", Title: "Client Closed Request", Status: 499, Code: "client_gone", Detail: "The client hung up."}
	errInternal = newProblem(http.StatusInternalServerError, "internal_error", "Something went wrong here; the log has it.")
)

// problemOf is the one table from errors to answers.
func (h *Handler) problemOf(err error) *problem {
	var p *problem
	var assume *integration.AssumeRoleError
	var exceeded *viewer.LimitError
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, viewer.ErrUnknown):
		p = newProblem(http.StatusUnauthorized, "viewer_unknown", "Say who you are: there is no proof of it that is good here.")
		p.challenge = h.gate.Challenge()
	case errors.As(err, &exceeded):
		p = newProblem(http.StatusTooManyRequests, "rate_limited", "Rate limit exceeded. Try again later.")
		p.retryAfter = exceeded.RetryAfter
	case errors.Is(err, viewer.ErrUnavailable):
		p = newProblem(http.StatusServiceUnavailable, "identity_unavailable", "Who you are cannot be verified at present. Try again later.")
		p.retryAfter = viewer.RetryAfter
	case errors.As(err, &assume) && assume.Result == integration.Denied:
		return newProblem(http.StatusBadGateway, "assume_role_denied",
			"The role that serves this bucket could not be assumed. It is for its operator to mend; the log has the reason.")
	case errors.As(err, &assume):
		p = newProblem(http.StatusServiceUnavailable, "sts_unavailable", "AWS STS does not answer at present. Try again later.")
		p.retryAfter = assume.RetryAfter
	case errors.Is(err, context.Canceled):
		return errGone
	case errors.Is(err, integration.ErrNoSuchBucket):
		return newProblem(http.StatusNotFound, "bucket_not_found", "There is no such bucket.")
	case errors.Is(err, integration.ErrRegionNotTold):
		return newProblem(http.StatusBadGateway, "bucket_region_unknown", "The bucket's region could not be found out. It is for its operator to set it.")
	case errors.Is(err, integration.ErrRegionUnavailable):
		p = newProblem(http.StatusServiceUnavailable, "s3_unavailable", "S3 does not tell the bucket's region at present. Try again later.")
		p.retryAfter = integration.RegionPause
	case isLocatorError(err):
		return newProblem(http.StatusBadRequest, "bad_locator", "This is no object's path: "+err.Error()+".")
	default:
		return errInternal
	}
	return p
}

func isLocatorError(err error) bool {
	for _, known := range []error{locator.ErrNotLocator, locator.ErrBucket, locator.ErrEmptyKey, locator.ErrLongKey, locator.ErrDotSegment, locator.ErrControl,
		locator.ErrInvalidUTF8, locator.ErrBadEscape, locator.ErrFragment} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and a number always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(p.retryAfter.Seconds())))))
	}
	if len(p.challenge) > 0 {
		h["Www-Authenticate"] = p.challenge
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // whoever hung up does not want it
}
