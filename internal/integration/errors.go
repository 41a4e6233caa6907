package integration

import (
	"errors"
	"fmt"
	"time"
)

// Result is how an AssumeRole call ended; its text is the metric's label.
type Result string

// The results of an AssumeRole call.
const (
	OK          Result = "ok"
	Denied      Result = "denied"      // STS answered no: a configuration to mend
	Throttled   Result = "throttled"   // STS asks for patience
	Unavailable Result = "unavailable" // STS was not reached, timed out, or failed
	Malformed   Result = "malformed"   // something answered, and it made no sense: perhaps it is no STS
)

// AssumeRoleError says why an integration has no session. Its text is for the operator's log: it may hold what STS said.
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

// errMalformed begins what is wrong with an answer.
var errMalformed = errors.New("STS's answer makes no sense")

// errRemoved is for requests that began while the configuration still had the integration.
var errRemoved = errors.New("the integration is no longer in the configuration")

// The reasons why a bucket's region is not known.
var (
	ErrNoSuchBucket      = errors.New("there is no such bucket")
	ErrRegionNotTold     = errors.New("the store does not tell the bucket's region: set the integration's region")
	ErrRegionUnavailable = errors.New("the store could not be asked for the bucket's region")
)
