package fakeaws

import (
	"context"
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

// AssumeRoleCall is an AssumeRole call that passed all checks, as passed to [Cloud.Intercept].
type AssumeRoleCall struct {
	Context     context.Context // of the request
	CallerARN   string
	RoleARN     string
	SessionName string
	ExternalID  string
	Policy      string
	// Tags and SourceIdentity are the session's. TransitiveTags are names of Tags.
	Tags           map[string]string
	TransitiveTags []string
	SourceIdentity string
	Duration       time.Duration
	Expires        time.Time // expiry of the session; zero, the default, means Duration from its issue
}

// The syntax of AssumeRole's parameters.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
var (
	roleARNSyntax     = regexp.MustCompile(`^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[!-~]{1,576}$`)
	sessionNameSyntax = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalIDSyntax  = regexp.MustCompile(`^[\w+=,.@:/-]*$`) // regexp cannot check {2,1224}
)

const (
	stsVersion     = "2011-06-15"
	maxPolicyChars = 2048
	maxChained     = time.Hour // longest session of a role assumed by role chaining
	maxSTSBody     = 64 << 10
)

// STS returns the STS endpoint. It answers AssumeRole and GetCallerIdentity by POST, signed in the
// Authorization header.
// https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
func (c *Cloud) STS() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", c.clock().UTC().Format(http.TimeFormat))
		result, fault := c.serveSTS(w, r)
		if fault != nil {
			writeSTSFault(w, fault)
			return
		}
		writeXML(w, "text/xml", http.StatusOK, result)
	})
}

// serveSTS returns the response to a request, or the fault to answer with.
func (c *Cloud) serveSTS(w http.ResponseWriter, r *http.Request) (any, *Fault) {
	if r.Method != http.MethodPost {
		return nil, &Fault{http.StatusMethodNotAllowed, "InvalidAction",
			"This stand-in accepts only POST"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSTSBody))
	if err != nil {
		return nil, badRequest("ValidationError", "The request could not be read")
	}
	form, err := url.ParseQuery(string(body))
	contentType := r.Header.Get("Content-Type")
	if err != nil || !strings.HasPrefix(contentType, "application/x-www-form-urlencoded") {
		return nil, badRequest("ValidationError", "The request is not a form")
	}
	action := form.Get("Action")
	if action == "AssumeRole" {
		c.countAssumeRole(form.Get("RoleArn"))
	}
	caller, fault := c.authenticateSTS(r, body)
	switch {
	case fault != nil:
		return nil, fault
	case form.Get("Version") != stsVersion:
		return nil, badRequest("InvalidAction", "The version must be %s", stsVersion)
	case action == "AssumeRole":
		return c.assumeRole(r.Context(), caller, form)
	case action == "GetCallerIdentity":
		return newCallerIdentityResponse(caller), nil
	}
	return nil, badRequest("InvalidAction",
		"Could not find that operation for version %s", stsVersion)
}

// countAssumeRole counts a call before it is checked, so that a test sees calls that Intercept
// blocks.
func (c *Cloud) countAssumeRole(roleARN string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.AssumeRole++
	if _, ok := c.roles[roleARN]; ok {
		c.calls.AssumeRoleByRole[roleARN]++
	}
}

// authenticateSTS verifies the signature in the Authorization header.
func (c *Cloud) authenticateSTS(r *http.Request, body []byte) (*principal, *Fault) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, forbidden("MissingAuthenticationToken",
			"Request is missing Authentication Token")
	}
	a, ok := parseAuthorization(header)
	at, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	if !ok || err != nil {
		return nil, badRequest("IncompleteSignature",
			"The request signature does not conform to AWS standards")
	}
	region := hostRegion("sts", r.Host)
	now := c.clock()
	switch {
	case a.service != "sts":
		return nil, signatureMismatch("Credential should be scoped to correct service: 'sts'.")
	case a.region == "" || region != "" && a.region != region:
		return nil, signatureMismatch("Credential should be scoped to a valid region.")
	case !strings.HasPrefix(r.Header.Get("X-Amz-Date"), a.date):
		return nil, signatureMismatch("Date in Credential scope does not match YYYYMMDD " +
			"from ISO-8601 version of date from HTTP")
	case at.Before(now.Add(-maxSkew)):
		return nil, signatureMismatch("Signature expired: %s is now earlier than %s",
			at.Format(timeFormat), now.Add(-maxSkew).UTC().Format(timeFormat))
	case at.After(now.Add(maxSkew)):
		return nil, signatureMismatch("Signature not yet current: %s is still later than %s",
			at.Format(timeFormat), now.Add(maxSkew).UTC().Format(timeFormat))
	}
	caller, err := c.principal(a.accessKeyID, r.Header.Get("X-Amz-Security-Token"))
	if errors.Is(err, errExpiredToken) {
		return nil, forbidden("ExpiredToken",
			"The security token included in the request is expired")
	} else if err != nil {
		return nil, forbidden("InvalidClientTokenId",
			"The security token included in the request is invalid.")
	}
	hash := sha256.Sum256(body)
	if !verifyHeader(r, a, caller.credentials, hex.EncodeToString(hash[:]), at) {
		return nil, signatureMismatch("The request signature we calculated does not match " +
			"the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return caller, nil
}

func signatureMismatch(format string, args ...any) *Fault {
	return forbidden("SignatureDoesNotMatch", format, args...)
}

// assumeRole returns the response to an AssumeRole call, or the fault to answer with.
func (c *Cloud) assumeRole(ctx context.Context, caller *principal, form url.Values) (any, *Fault) {
	call := &AssumeRoleCall{
		Context:     ctx,
		CallerARN:   caller.arn,
		RoleARN:     form.Get("RoleArn"),
		SessionName: form.Get("RoleSessionName"),
		ExternalID:  form.Get("ExternalId"),
		Policy:      form.Get("Policy"),

		SourceIdentity: form.Get("SourceIdentity"),
		Tags:           map[string]string{},
	}
	for n := 1; form.Has(fmt.Sprintf("Tags.member.%d.Key", n)); n++ {
		member := fmt.Sprintf("Tags.member.%d.", n)
		call.Tags[form.Get(member+"Key")] = form.Get(member + "Value")
	}
	for n := 1; form.Has(fmt.Sprintf("TransitiveTagKeys.member.%d", n)); n++ {
		call.TransitiveTags = append(call.TransitiveTags,
			form.Get(fmt.Sprintf("TransitiveTagKeys.member.%d", n)))
	}
	if fault := checkSyntax(call); fault != nil {
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
	// Like AWS, answer alike for a missing role, an untrusted caller and a wrong external ID.
	const denied = "User: %s is not authorized to perform: sts:AssumeRole on resource: %s"
	if !exists || !role.trusts(caller) ||
		role.ExternalID != "" && role.ExternalID != call.ExternalID {
		return nil, forbidden("AccessDenied", denied, caller.arn, call.RoleARN)
	}
	if caller.user.MayNotAssume {
		return nil, forbidden("AccessDenied",
			denied+" because no identity-based policy allows the sts:AssumeRole action",
			caller.arn, call.RoleARN)
	}
	for action, denies := range map[string]bool{
		"sts:TagSession":        len(call.Tags) > 0 && !role.TagSession,
		"sts:SetSourceIdentity": call.SourceIdentity != "" && !role.SetSourceIdentity,
	} {
		if denies {
			return nil, forbidden("AccessDenied", "User: %s is not authorized to perform: %s on "+
				"resource: %s", caller.arn, action, call.RoleARN)
		}
	}
	var fault *Fault
	call.Duration, fault = role.duration(form.Get("DurationSeconds"), caller.session != nil)
	if fault != nil {
		return nil, fault
	}
	if intercept != nil {
		if err := intercept(call); errors.As(err, &fault) {
			return nil, fault
		} else if err != nil {
			return nil, &Fault{http.StatusInternalServerError, "InternalFailure",
				"The request processing has failed because of an unknown error"}
		}
	}
	return newAssumeRoleResponse(c.issue(call, policy), len(call.Policy)), nil
}

// checkSyntax checks the parameters that AWS checks before any look-up. Faults do not repeat their
// values.
func checkSyntax(call *AssumeRoleCall) *Fault {
	invalid := func(parameter, constraint string) *Fault {
		return badRequest("ValidationError",
			"1 validation error detected: Value at '%s' failed to satisfy constraint: %s",
			parameter, constraint)
	}
	id := call.ExternalID
	switch {
	case !roleARNSyntax.MatchString(call.RoleARN):
		return badRequest("ValidationError", "roleArn is invalid")
	case !sessionNameSyntax.MatchString(call.SessionName):
		return invalid("roleSessionName",
			`Member must satisfy regular expression pattern: [\w+=,.@-]{2,64}`)
	case id != "" && (len(id) < 2 || len(id) > 1224 || !externalIDSyntax.MatchString(id)):
		return invalid("externalId",
			`Member must satisfy regular expression pattern: [\w+=,.@:\/-]{2,1224}`)
	case call.SourceIdentity != "" && !sessionNameSyntax.MatchString(call.SourceIdentity):
		return invalid("sourceIdentity",
			`Member must satisfy regular expression pattern: [\w+=,.@-]*`)
	case len(call.Tags) > 50:
		return invalid("tags", "Member must have length less than or equal to 50")
	case slices.ContainsFunc(call.TransitiveTags, func(name string) bool {
		_, ok := call.Tags[name]
		return !ok
	}):
		return badRequest("ValidationError",
			"The specified transitive tag key must be included in the requested tags.")
	case utf8.RuneCountInString(call.Policy) > maxPolicyChars:
		return invalid("policy",
			fmt.Sprintf("Member must have length less than or equal to %d", maxPolicyChars))
	case strings.ContainsFunc(call.Policy, func(r rune) bool { return r > '\u00ff' }):
		return invalid("policy", "Member must satisfy regular expression pattern: "+
			`[\u0009\u000A\u000D\u0020-\u00FF]+`)
	}
	return nil
}

// trusts reports whether the role's trust policy names the caller.
func (r *Role) trusts(caller *principal) bool {
	if caller.session != nil {
		return slices.Contains(r.Trusts, caller.session.roleARN)
	}
	return slices.Contains(r.Trusts, caller.credentials.AccessKeyID)
}

// duration parses DurationSeconds and checks it against the role's limits and the limit of role
// chaining. The default is one hour.
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
		return 0, badRequest("ValidationError",
			"1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy "+
				"constraint: Member must have value greater than or equal to %d",
			n, int(r.MinDuration.Seconds()))
	case d > r.MaxDuration:
		return 0, badRequest("ValidationError",
			"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	case chained && d > maxChained:
		return 0, badRequest("ValidationError",
			"The requested DurationSeconds exceeds the 1 hour session limit "+
				"for roles assumed by role chaining.")
	}
	return d, nil
}

// issue issues a session. It expires on a whole second, the resolution of the response.
func (c *Cloud) issue(call *AssumeRoleCall, policy *policyDocument) *session {
	expires := call.Expires
	if expires.IsZero() {
		expires = c.clock().Add(call.Duration)
	}
	s := &session{
		accessKeyID: "ASIA" + c.text(16),
		secret:      c.base64(30),
		token:       c.base64(899), // 1,200 characters ending in =, as AWS's
		roleARN:     call.RoleARN,
		name:        call.SessionName,
		policy:      policy,
		expires:     expires.UTC().Truncate(time.Second),
	}
	c.addSession(s)
	return s
}

// base64 returns n random bytes in base64.
func (c *Cloud) base64(n int) string {
	return base64.StdEncoding.EncodeToString(c.read(make([]byte, n)))
}
