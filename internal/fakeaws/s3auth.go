package fakeaws

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxExpires is the largest X-Amz-Expires that S3 accepts: seven days, in seconds.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
const maxExpires = 604800

var authParameters = []string{
	"X-Amz-Algorithm",
	"X-Amz-Credential",
	"X-Amz-Signature",
	"X-Amz-Date",
	"X-Amz-SignedHeaders",
	"X-Amz-Expires",
}

var (
	errAccessDenied = forbidden("AccessDenied", "Access Denied")
	// errUnsigned means that the request carries no signature. Clients see errAccessDenied's text.
	errUnsigned = forbidden("AccessDenied", "Access Denied")
)

func badParameter(format string, args ...any) *Fault {
	return badRequest("AuthorizationQueryParametersError", format, args...)
}

// authenticateS3 checks, in S3's order, the authentication parameters of a presigned URL, its
// lifetime, its access key and token, and its signature. region is the bucket's, or "" if the
// bucket does not exist.
func (c *Cloud) authenticateS3(r *http.Request, q url.Values, region string) (*principal, *Fault) {
	if fault := checkMechanism(r, q); fault != nil {
		return nil, fault
	}
	s, at, fault := parseQueryAuth(q, region)
	if fault != nil {
		return nil, fault
	}
	if fault := checkTime(q, at, c.clock()); fault != nil {
		return nil, fault
	}
	caller, err := c.principal(s.accessKeyID, q.Get("X-Amz-Security-Token"))
	switch {
	case errors.Is(err, errUnknownKey):
		return nil, forbidden("InvalidAccessKeyId",
			"The AWS Access Key Id you provided does not exist in our records.")
	case errors.Is(err, errWrongToken):
		return nil, badRequest("InvalidToken",
			"The provided token is malformed or otherwise invalid.")
	case errors.Is(err, errExpiredToken):
		return nil, badRequest("ExpiredToken", "The provided token has expired.")
	}
	signed := strings.Split(q.Get("X-Amz-SignedHeaders"), ";")
	for name := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			return nil, forbidden("AccessDenied",
				"There were headers present in the request which were not signed")
		}
	}
	if !verifyQuery(r, q, s, caller.credentials, at) {
		return nil, forbidden("SignatureDoesNotMatch", "The request signature we calculated "+
			"does not match the signature you provided. Check your key and signing method.")
	}
	if c.maxAge > 0 && c.clock().Sub(at) > c.maxAge {
		return nil, errAccessDenied // S3 does not name the condition
	}
	return caller, nil
}

// checkMechanism checks that the request is authenticated by query parameters only, and that none
// of them is missing.
func checkMechanism(r *http.Request, q url.Values) *Fault {
	header := r.Header.Get("Authorization")
	inQuery := slices.ContainsFunc(authParameters, q.Has)
	switch {
	case inQuery && header != "":
		return badRequest("InvalidArgument", "Only one auth mechanism allowed; "+
			"only the X-Amz-Algorithm query parameter, Signature query string parameter "+
			"or the Authorization header should be specified")
	case strings.HasPrefix(header, algorithm):
		return &Fault{http.StatusNotImplemented, "NotImplemented",
			"This stand-in accepts signatures only in the query"}
	case header != "":
		return badRequest("InvalidArgument", "Unsupported Authorization Type")
	case !inQuery:
		return errUnsigned
	}
	for _, p := range authParameters {
		if q.Get(p) == "" {
			return badParameter("Query-string authentication version 4 requires the " +
				"X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, " +
				"and X-Amz-Expires parameters.")
		}
	}
	return nil
}

// parseQueryAuth parses the credential and the date of a presigned URL, and checks its other
// authentication parameters.
func parseQueryAuth(q url.Values, region string) (s scope, at time.Time, fault *Fault) {
	s, ok := parseCredential(q.Get("X-Amz-Credential"))
	at, err := time.Parse(timeFormat, q.Get("X-Amz-Date"))
	expires, notNumber := strconv.Atoi(q.Get("X-Amz-Expires"))
	switch {
	case q.Get("X-Amz-Algorithm") != algorithm:
		fault = badParameter("X-Amz-Algorithm only supports \"%s\"", algorithm)
	case !ok:
		fault = badParameter("Error parsing the X-Amz-Credential parameter; " +
			"the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
	case err != nil:
		fault = badParameter("X-Amz-Date must be in the ISO8601 Long Format " +
			"\"yyyyMMdd'T'HHmmss'Z'\"")
	case notNumber != nil:
		fault = badParameter("X-Amz-Expires should be a number")
	case expires < 0:
		fault = badParameter("X-Amz-Expires must be non-negative")
	case expires > maxExpires:
		fault = badParameter("X-Amz-Expires must be less than a week (in seconds); "+
			"that is, the given X-Amz-Expires must be less than %d seconds", maxExpires)
	case s.date != at.Format("20060102"):
		fault = badParameter("Error parsing the X-Amz-Credential parameter; incorrect date. " +
			"This date is not the same as X-Amz-Date.")
	case s.service != "s3":
		fault = badParameter("Error parsing the X-Amz-Credential parameter; incorrect service. " +
			"This endpoint belongs to \"s3\".")
	case region != "" && s.region != region:
		fault = badParameter("Error parsing the X-Amz-Credential parameter; "+
			"the region '%s' is wrong; expecting '%s'", s.region, region)
	case !slices.Contains(strings.Split(q.Get("X-Amz-SignedHeaders"), ";"), "host"):
		fault = badParameter("Signature must include host in X-Amz-SignedHeaders")
	}
	return s, at, fault
}

// checkTime checks that a presigned URL is valid at the time now.
func checkTime(q url.Values, at, now time.Time) *Fault {
	expires, _ := strconv.Atoi(q.Get("X-Amz-Expires")) // parseQueryAuth has checked it
	switch {
	case at.After(now.Add(maxSkew)):
		return forbidden("AccessDenied", "Request is not valid yet")
	case !now.Before(at.Add(time.Duration(expires) * time.Second)):
		return forbidden("AccessDenied", "Request has expired")
	}
	return nil
}
