package integration

import (
	"errors"
	"fmt"
	"time"
)

// Result classifies the result of an AssumeRole call. Its text is the value of a metric's label.
type Result string

// The results of an AssumeRole call.
const (
	OK          Result = "ok"
	Denied      Result = "denied"      // STS refused: the configuration must be fixed
	Throttled   Result = "throttled"   // STS limits the rate of calls
	Unavailable Result = "unavailable" // STS was not reached, timed out, or failed
	Malformed   Result = "malformed"   // the response is not one of STS: the endpoint may be wrong
	// OwnCredentials means that STS was not called, for want of credentials that the operator must
	// provide.
	OwnCredentials Result = "own_credentials"
)

// AssumeRoleError is returned when an integration has no session. Its text is for the operator's
// log: it may quote STS.
type AssumeRoleError struct {
	Integration string
	Result      Result        // not OK
	RetryAfter  time.Duration // until the next attempt
	Err         error
}

func (e *AssumeRoleError) Error() string {
	return fmt.Sprintf("integration %s: AssumeRole %s: %v", e.Integration, e.Result, e.Err)
}

func (e *AssumeRoleError) Unwrap() error { return e.Err }

// ErrOwnCredentials means that the process's own credentials cannot be loaded.
var ErrOwnCredentials = errors.New("the proxy's own credentials cannot be loaded")

// errMalformed means that a response of STS lacks something or contradicts itself.
var errMalformed = errors.New("malformed response from STS")

// errRemoved is returned to requests that began before the integration left the configuration.
var errRemoved = errors.New("the integration is no longer in the configuration")

// The reasons why a bucket's region is not known.
var (
	ErrNoSuchBucket      = errors.New("the bucket does not exist")
	ErrRegionNotTold     = errors.New("the store does not report the bucket's region; configure it")
	ErrRegionUnavailable = errors.New("the bucket's region is unavailable")
)
