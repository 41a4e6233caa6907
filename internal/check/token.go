package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

// The steps of a token's check, in the order in which the proxy makes them.
const (
	stepFormat    = "format"
	stepIssuer    = "issuer"
	stepKeys      = "keys"
	stepSignature = "signature"
	stepLifetime  = "lifetime"
	stepAudience  = "audience"
	stepClaims    = "claims"
	stepGroups    = "groups"
)

var tokenSteps = []string{
	stepFormat, stepIssuer, stepKeys, stepSignature, stepLifetime, stepAudience, stepClaims,
	stepGroups,
}

// TokenOptions are the options of [Token].
type TokenOptions struct {
	// Config is the configuration. It must have viewers.jwt.
	Config *config.Config
	// Token is the token, or the text that a client sends as one.
	Token string
	Clock func() time.Time
	// Transport fetches the issuers' keys. The default is [http.DefaultTransport].
	Transport http.RoundTripper
	// Report receives each step.
	Report func(Step)
}

// Token verifies a token in the same way as the proxy, and explains the result step by step. It
// returns the viewer, and whether the proxy would accept the token. No step contains the token or a
// part of it, except for what it states in claims and in its header. The error is the context's.
func Token(ctx context.Context, o TokenOptions) (v viewer.Viewer, ok bool, err error) {
	var fetch error
	viewers := config.Viewers{JWT: o.Config.Viewers.JWT, Rules: o.Config.Viewers.Rules}
	gate, err := viewer.New(&viewers, viewer.Options{
		Clock:       o.Clock,
		Transport:   o.Transport,
		Log:         slog.New(slog.DiscardHandler),
		KeysFetched: func(_ string, err error) { fetch = err },
	})
	if err != nil {
		return v, false, err
	}
	v, stated, err := gate.VerifyToken(ctx, o.Token, o.Clock())
	gate.Close()
	failed, e := "", explanation{}
	if refused, isRefusal := errors.AsType[*viewer.Refusal](err); isRefusal {
		stated = refused.Stated
		failed, e = stepOf(refused), explanation{refused.Cause(), refused.Remedy()}
	} else if errors.Is(err, viewer.ErrUnavailable) {
		failed, e = stepKeys, explanation{
			fmt.Sprintf("the keys of %s cannot be fetched: %v", stated.Issuer, fetch),
			"Correct issuer or jwks_url. If they are right, open the URL from this machine with " +
				"curl, and fix the error that curl prints.",
		}
	} else if err != nil {
		return v, false, err
	}
	reportToken(o.Report, passedSteps(&v, stated, o.Clock()), failed, e)
	return v, failed == "", nil
}

// reportToken reports all steps. Failed is the step that failed, or "".
func reportToken(report func(Step), passed map[string]string, failed string, e explanation) {
	verdict := OK
	for _, name := range tokenSteps {
		s := Step{Integration: "token", Name: name, Verdict: verdict, Reason: passed[name]}
		switch {
		case name == failed:
			s.Verdict, s.Reason, s.Remedy = Failed, e.reason, e.remedy
			verdict = Skipped
		case verdict == Skipped:
			s.Reason = "an earlier step failed"
		}
		s.Reason = sanitize(s.Reason)
		report(s)
	}
}

// passedSteps returns the reasons of the steps if they succeed. If the token is not valid, v is
// zero.
func passedSteps(v *viewer.Viewer, stated viewer.Stated, now time.Time) map[string]string {
	reasons := map[string]string{
		stepFormat:    "a signed JWT with an accepted algorithm",
		stepIssuer:    fmt.Sprintf("viewers.jwt has the issuer %q", stated.Issuer),
		stepKeys:      fmt.Sprintf("the issuer publishes the key %q", stated.KeyID),
		stepSignature: "one of the issuer's keys made it",
		stepLifetime:  "the token is valid now",
		stepAudience:  "the token is for an accepted audience",
		stepClaims:    fmt.Sprintf("the user is %q", v.ID),
		stepGroups:    strings.Join(v.Groups(), ", "),
	}
	if stated.KeyID == "" {
		reasons[stepKeys] = "the token names no key, so the proxy tries all keys of the issuer"
	}
	if !v.Until.IsZero() {
		left := v.Until.Sub(now).Round(time.Second)
		reasons[stepLifetime] = fmt.Sprintf("the token expires in %s", left)
	}
	if v.ID == "" {
		reasons[stepClaims] = "the user and all required claims are present"
	}
	if len(v.Groups()) == 0 {
		reasons[stepGroups] = "none that the proxy can read; no rule needs them"
	}
	return reasons
}

// stepOf returns the step in which a token was refused.
func stepOf(r *viewer.Refusal) string {
	switch r.Reason {
	case viewer.ReasonIssuer:
		return stepIssuer
	case viewer.ReasonKeyUnknown:
		return stepKeys
	case viewer.ReasonSignature:
		return stepSignature
	case viewer.ReasonExpired, viewer.ReasonNotYetValid:
		return stepLifetime
	case viewer.ReasonAudience:
		return stepAudience
	case viewer.ReasonClaimMissing, viewer.ReasonClaimWrong:
		if r.Claim == "exp" {
			return stepLifetime
		}
		return stepClaims
	case viewer.ReasonGroups:
		return stepGroups
	}
	return stepFormat
}
