package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWebIdentityFaults checks the steps of an integration with a web identity whose token is
// missing, or rejected by STS.
func TestWebIdentityFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	check := func(step, reason, remedy string) {
		t.Helper()
		w := newWorld()
		w.replace("    access_key_id: "+key+"\n    secret_access_key: "+secret+"\n",
			"    web_identity_token_file: "+file+"\n")
		w.replace("    external_id: "+externalID+"\n", "")
		steps, ok := w.check(t)
		found := false
		for _, s := range steps {
			checkText(t, s)
			found = found || s.Name == step && s.Verdict == Failed &&
				strings.Contains(s.Reason, reason) && strings.Contains(s.Remedy, remedy)
			if strings.Contains(s.Reason, "canary") {
				t.Errorf("step with the token: %+v", s)
			}
		}
		if ok || !found {
			t.Errorf("Run = %v with %+v, want a failed %s with %q, %q", ok, steps, step, reason, remedy)
		}
	}
	check("credentials", "token cannot be read", "web_identity_token_file")
	if err := os.WriteFile(file, []byte("canary-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The stand-in has no AssumeRoleWithWebIdentity.
	check("assume_role", "does not offer AssumeRoleWithWebIdentity", "access_key_id")
}

func TestExplainWebIdentity(t *testing.T) {
	w := newWorld()
	w.check(t)
	p := newProbe(&w.Options, w.Config.Integrations[0])
	if _, ok := p.explainWebIdentity(errorResponse{code: "AccessDenied"}); ok {
		t.Error("explained an error of AssumeRole, want none explained")
	}
	p.i.WebIdentityTokenFile = "token"
	for code, want := range map[string]string{
		"ExpiredTokenException": "has expired",
		"InvalidIdentityToken":  "rejects the web identity's token",
		"IDPRejectedClaim":      "rejects the web identity's token",
		"IDPCommunicationError": "cannot reach",
		"AccessDenied":          "trust policy",
	} {
		e, ok := p.explainWebIdentity(errorResponse{code: code, message: "canary"})
		if !ok || !strings.Contains(e.reason, want) || strings.Contains(e.reason, "canary") {
			t.Errorf("explainWebIdentity(%s) = %+v, %v, want %q", code, e, ok, want)
		}
	}
}
