package fakeaws

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// AssumeRoleCall is a call of AssumeRole that passed all checks, as [Cloud.Intercept] shows it.
type AssumeRoleCall struct {
	Context     context.Context // ends when the caller gives up
	CallerARN   string
	RoleARN     string
	SessionName string
	ExternalID  string
	Policy      string
	Duration    time.Duration
	Expires     time.Time // When the session will end. Zero, as it comes: Duration from when it is made.
}

// The grammar of AssumeRole's parameters.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
var (
	roleARNGrammar     = regexp.MustCompile(`^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[!-~]{1,576}$`)
	sessionNameGrammar = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalIDGrammar  = regexp.MustCompile(`^[\w+=,.@:/-]*$`) // of 2 to 1,224 characters, more than a regexp may count
)

const (
	stsVersion     = "2011-06-15"
	maxPolicyChars = 2048
	maxChained     = time.Hour
	maxSTSBody     = 64 << 10
)

// STS is the endpoint of the security token service: AssumeRole and GetCallerIdentity, by POST, signed in the header.
// https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
func (c *Cloud) STS() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", c.clock().UTC().Format(http.TimeFormat))
		result, fault := c.stsResult(w, r)
		if fault != nil {
			writeSTSFault(w, fault)
			return
		}
		writeXML(w, "text/xml", http.StatusOK, result)
	})
}

func (c *Cloud) stsResult(w http.ResponseWriter, r *http.Request) (any, *Fault) {
	if r.Method != http.MethodPost {
		return nil, &Fault{http.StatusMethodNotAllowed, "InvalidAction", "This stand-in is asked by POST"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSTSBody))
	if err != nil {
		return nil, badRequest("ValidationError", "The request could not be read")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil, badRequest("ValidationError", "The request is not a form")
	}
	action := form.Get("Action")
	if action == "AssumeRole" {
		c.countAssumeRole(form.Get("RoleArn"))
	}
	who, fault := c.authenticateSTS(r, body)
	switch {
	case fault != nil:
		return nil, fault
	case form.Get("Version") != stsVersion:
		return nil, badRequest("InvalidAction", "The version must be %s", stsVersion)
	case action == "AssumeRole":
		return c.assumeRole(r.Context(), who, form)
	case action == "GetCallerIdentity":
		return callerIdentity(who), nil
	}
	return nil, badRequest("InvalidAction", "Could not find that operation for version %s", stsVersion)
}

// countAssumeRole counts a call as it comes in, so that a test can see one that Intercept holds up.
func (c *Cloud) countAssumeRole(roleARN string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.AssumeRole++
	if _, ok := c.roles[roleARN]; ok {
		c.calls.AssumeRoleByRole[roleARN]++
	}
}

// authenticateSTS checks the signature in the Authorization header.
func (c *Cloud) authenticateSTS(r *http.Request, body []byte) (*caller, *Fault) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, forbidden("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	a, ok := parseAuthorization(header)
	at, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	if !ok || err != nil {
		return nil, badRequest("IncompleteSignature", "The request signature does not conform to AWS standards")
	}
	region := hostRegion("sts", r.Host)
	now := c.clock()
	switch {
	case a.service != "sts":
		return nil, forbidden("SignatureDoesNotMatch", "Credential should be scoped to correct service: 'sts'.")
	case a.region == "" || region != "" && a.region != region:
		return nil, forbidden("SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
	case !strings.HasPrefix(r.Header.Get("X-Amz-Date"), a.date):
		return nil, forbidden("SignatureDoesNotMatch", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
	case at.Before(now.Add(-maxSkew)):
		return nil, forbidden("SignatureDoesNotMatch", "Signature expired: %s is now earlier than %s", at.Format(timeFormat), now.Add(-maxSkew).UTC().Format(timeFormat))
	case at.After(now.Add(maxSkew)):
		return nil, forbidden("SignatureDoesNotMatch", "Signature not yet current: %s is still later than %s", at.Format(timeFormat), now.Add(maxSkew).UTC().Format(timeFormat))
	}
	who, err := c.caller(a.accessKeyID, r.Header.Get("X-Amz-Security-Token"))
	if errors.Is(err, errExpiredToken) {
		return nil, forbidden("ExpiredToken", "The security token included in the request is expired")
	} else if err != nil {
		return nil, forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	hash := sha256.Sum256(body)
	if !verifyHeader(r, a, who.credentials, hex.EncodeToString(hash[:]), at) {
		return nil, forbidden("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return who, nil
}

func (c *Cloud) assumeRole(ctx context.Context, who *caller, form url.Values) (any, *Fault) {
	call := &AssumeRoleCall{
		Context:     ctx,
		CallerARN:   who.arn,
		RoleARN:     form.Get("RoleArn"),
		SessionName: form.Get("RoleSessionName"),
		ExternalID:  form.Get("ExternalId"),
		Policy:      form.Get("Policy"),
	}
	if fault := checkGrammar(call); fault != nil {
		return nil, fault
	}
	var policy *policyDocument
	if form.Has("Policy") {
		var fault *Fault
		if policy, fault = parsePolicy(call.Policy); fault != nil {
			return nil, fault
		}
	}
	c.mu.Lock()
	role, exists := c.roles[call.RoleARN]
	intercept := c.intercept
	c.mu.Unlock()
	// A role that is not there, one that does not trust the caller and a wrong external ID look the same from outside.
	if !exists || !role.trusts(who) || role.ExternalID != "" && role.ExternalID != call.ExternalID {
		return nil, forbidden("AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", who.arn, call.RoleARN)
	}
	if who.user.MayNotAssume {
		return nil, forbidden("AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s because no identity-based policy allows the sts:AssumeRole action", who.arn, call.RoleARN)
	}
	var fault *Fault
	if call.Duration, fault = role.duration(form.Get("DurationSeconds"), who.session != nil); fault != nil {
		return nil, fault
	}
	if intercept != nil {
		if err := intercept(call); errors.As(err, &fault) {
			return nil, fault
		} else if err != nil {
			return nil, &Fault{http.StatusInternalServerError, "InternalFailure", "The request processing has failed because of an unknown error"}
		}
	}
	return assumed(c.issue(call, policy), len(call.Policy)), nil
}

// checkGrammar checks what AWS checks before it looks anything up. Values are not repeated.
func checkGrammar(call *AssumeRoleCall) *Fault {
	invalid := func(parameter, constraint string) *Fault {
		return badRequest("ValidationError", "1 validation error detected: Value at '%s' failed to satisfy constraint: %s", parameter, constraint)
	}
	switch {
	case !roleARNGrammar.MatchString(call.RoleARN):
		return badRequest("ValidationError", "roleArn is invalid")
	case !sessionNameGrammar.MatchString(call.SessionName):
		return invalid("roleSessionName", `Member must satisfy regular expression pattern: [\w+=,.@-]{2,64}`)
	case call.ExternalID != "" && (len(call.ExternalID) < 2 || len(call.ExternalID) > 1224 || !externalIDGrammar.MatchString(call.ExternalID)):
		return invalid("externalId", `Member must satisfy regular expression pattern: [\w+=,.@:\/-]{2,1224}`)
	case utf8.RuneCountInString(call.Policy) > maxPolicyChars:
		return invalid("policy", fmt.Sprintf("Member must have length less than or equal to %d", maxPolicyChars))
	}
	return nil
}

func (r *Role) trusts(who *caller) bool {
	if who.session != nil {
		return slices.Contains(r.Trusts, who.session.roleARN)
	}
	return slices.Contains(r.Trusts, who.credentials.AccessKeyID)
}

// duration reads DurationSeconds: an hour unless said otherwise, within the role's bounds, an hour at most for a role's session.
func (r *Role) duration(seconds string, chained bool) (time.Duration, *Fault) {
	if seconds == "" {
		return min(time.Hour, r.MaxDuration), nil
	}
	n, err := strconv.ParseInt(seconds, 10, 32)
	d := time.Duration(n) * time.Second
	switch {
	case err != nil:
		return 0, badRequest("ValidationError", "DurationSeconds is not a number")
	case d < r.MinDuration:
		return 0, badRequest("ValidationError", "1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to %d", n, int(r.MinDuration.Seconds()))
	case d > r.MaxDuration:
		return 0, badRequest("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	case chained && d > maxChained:
		return 0, badRequest("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	return d, nil
}

// issue makes a session. It ends on a whole second, because that is all that its caller is told.
func (c *Cloud) issue(call *AssumeRoleCall, policy *policyDocument) *session {
	expires := call.Expires
	if expires.IsZero() {
		expires = c.clock().Add(call.Duration)
	}
	s := &session{
		accessKeyID: "ASIA" + rand.Text()[:16],
		secret:      randomBase64(30),
		token:       randomBase64(899), // 1,200 characters that end in =, about as long as AWS's
		roleARN:     call.RoleARN,
		name:        call.SessionName,
		policy:      policy,
		expires:     expires.UTC().Truncate(time.Second),
	}
	c.remember(s)
	return s
}

func randomBase64(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}
