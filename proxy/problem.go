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

// problem is an error response (RFC 9457). Its code is stable, for programs. Its detail is for
// people. Neither contains any text from STS or a store, which goes to the operator's log only.
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
	return &problem{
		Type:   "about:blank",
		Title:  http.StatusText(status),
		Status: status,
		Code:   code,
		Detail: detail,
	}
}

func badQuery(detail string) *problem {
	return newProblem(http.StatusBadRequest, "bad_query", detail)
}

var (
	errNotFound = newProblem(http.StatusNotFound, "not_found",
		"Not found. The path of an object is "+locator.PathPrefix+"{bucket}/{key}.")
	errMethod = newProblem(http.StatusMethodNotAllowed, "method_not_allowed",
		"Method not allowed; see the Allow header.")
	errDenied = newProblem(http.StatusForbidden, "viewer_denied", "Access denied.")
	errLink   = newProblem(http.StatusUnauthorized, "viewer_unknown",
		"The link has expired, or is not valid for this object.")
	errCrossOrigin = newProblem(http.StatusBadRequest, "cross_origin_required",
		"The page requests this object from its own origin only (Sec-Fetch-Mode: same-origin), so the "+
			"browser would not follow the redirect to the store. For captions, add the crossorigin "+
			"attribute to the video or audio element that the track belongs to, and allow CORS on the "+
			"bucket. Read a Worker's script with fetch() and start it from a blob URL, or serve it from "+
			"the page's origin.")
	errBucket = newProblem(http.StatusNotFound, "bucket_not_permitted",
		"No integration serves this object's bucket, or this part of it.")
	errInternal = newProblem(http.StatusInternalServerError, "internal_error",
		"Internal error; see the proxy's log.")

	// errGone has nginx's status for a client that has disconnected. No client reads the response,
	// and metrics must not count it as a failure.
	errGone = &problem{
		Type:   "about:blank",
		Title:  "Client Closed Request",
		Status: 499,
		Code:   "client_gone",
		Detail: "The client has disconnected.",
	}
)

// problemOf maps errors to problems.
func (h *Handler) problemOf(err error) *problem {
	var p *problem
	var assume *integration.AssumeRoleError
	var exceeded *viewer.LimitError
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, viewer.ErrUnknown):
		p = newProblem(http.StatusUnauthorized, "viewer_unknown", "Authentication required.")
		p.challenge = h.gate.Challenge(err)
	case errors.As(err, &exceeded):
		p = newProblem(http.StatusTooManyRequests, "rate_limited",
			"Rate limit exceeded. Try again later.")
		p.retryAfter = exceeded.RetryAfter
	case errors.Is(err, viewer.ErrUnavailable):
		p = newProblem(http.StatusServiceUnavailable, "identity_unavailable",
			"Your credentials cannot be verified at the moment. Try again later.")
		p.retryAfter = viewer.RetryAfter
	case errors.As(err, &assume) && assume.Result == integration.Denied:
		return newProblem(http.StatusBadGateway, "assume_role_denied",
			"STS denied the role that serves this bucket. The operator must fix the role or the "+
				"configuration; the proxy's log has the reason.")
	case errors.As(err, &assume) && assume.Result == integration.OwnCredentials:
		return newProblem(http.StatusBadGateway, "own_credentials",
			"The proxy's own credentials cannot be loaded. The operator must fix the proxy's own "+
				"credentials; the proxy's log has the reason.")
	case errors.As(err, &assume):
		p = newProblem(http.StatusServiceUnavailable, "sts_unavailable",
			"AWS STS is unavailable. Try again later.")
		p.retryAfter = assume.RetryAfter
	case errors.Is(err, context.Canceled):
		return errGone
	case errors.Is(err, integration.ErrNoSuchBucket):
		return newProblem(http.StatusNotFound, "bucket_not_found", "The bucket does not exist.")
	case errors.Is(err, integration.ErrRegionNotTold):
		return newProblem(http.StatusBadGateway, "bucket_region_unknown",
			"The store does not report the bucket's region. The operator must set it in the "+
				"configuration.")
	case errors.Is(err, integration.ErrRegionUnavailable):
		p = newProblem(http.StatusServiceUnavailable, "s3_unavailable",
			"The store is unavailable, so the bucket's region is unknown. Try again later.")
		p.retryAfter = integration.RegionPause
	case isLocatorError(err):
		return newProblem(http.StatusBadRequest, "bad_locator", "Invalid path: "+err.Error()+".")
	default:
		return errInternal
	}
	return p
}

func isLocatorError(err error) bool {
	for _, known := range []error{
		locator.ErrNotLocator,
		locator.ErrBucket,
		locator.ErrEmptyKey,
		locator.ErrLongKey,
		locator.ErrDotSegment,
		locator.ErrNUL,
		locator.ErrControl,
		locator.ErrInvalidUTF8,
		locator.ErrBadEscape,
		locator.ErrFragment,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// set sets the header fields of the problem's response, and returns its body.
func (p *problem) set(h http.Header) (body []byte) {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
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
	return body
}
