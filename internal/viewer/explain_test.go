package viewer

import (
	"strings"
	"testing"
)

// A claim that is missing is not one with a wrong value.
func TestExplainMissingVerification(t *testing.T) {
	r := Refusal{Method: MethodJWT, Reason: ReasonClaimMissing, Claim: "email_verified"}
	if got, want := r.Cause(), "the token has no claim email_verified"; got != want {
		t.Errorf("missing: Cause = %q, want %q", got, want)
	}
	if got := r.Remedy(); !strings.Contains(got, "required_claims") {
		t.Errorf("missing: Remedy = %q, want required_claims in it", got)
	}
	r.Reason = ReasonClaimWrong
	if got, want := r.Cause(), "the e-mail address in the token is not verified"; got != want {
		t.Errorf("wrong: Cause = %q, want %q", got, want)
	}
	r.Claim = "exp" // in required_claims
	if got := r.Remedy(); !strings.Contains(got, "required_claims") {
		t.Errorf("a wrong exp: Remedy = %q, want required_claims in it", got)
	}
}
