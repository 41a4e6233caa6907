package console

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/onboard"
	"s3redirect/internal/policy/document"
)

// documentsRequest names the integration whose documents are wanted: a configured one or, with a
// change, the one that the change results in.
type documentsRequest struct {
	Name      string          `json:"name"`
	Change    *changeRequest  `json:"change"`
	RoleLater bool            `json:"role_later"` // the role does not exist yet
	Format    document.Format `json:"format"`
	// Kinds selects documents. null selects all that the integration needs; an empty list only
	// validates the integration.
	Kinds []document.Kind `json:"kinds"`
	// Principal is the ARN of the principal that assumes the role. If it is "", STS is called.
	Principal string `json:"principal"`
	// WithTags adds the actions that AssumeRole requires if the caller's own session has tags.
	WithTags bool `json:"with_tags"`
}

type documentAnswer struct {
	onboard.Document
	Text  string   `json:"text"`
	Notes []string `json:"notes"`
	Error string   `json:"error,omitempty"`
}

// documents answers with the documents that an integration needs, ready to apply.
func (c *Console) documents(r *http.Request) (any, error) {
	var in documentsRequest
	if err := readJSON(r, &in); err != nil {
		return nil, err
	}
	if !slices.Contains(document.Formats(), in.Format) {
		return nil, &refusal{status: http.StatusBadRequest, text: "unknown format"}
	}
	state := c.Proxy.State().Config
	i, err := c.describedBy(r, &in)
	if err != nil {
		return nil, err
	}
	who := sync.OnceValue(func() string { return c.principal(r, i, in.Principal) })
	answers := []documentAnswer{}
	for _, kind := range kindsFor(i, in.Format) {
		if in.Kinds != nil && !slices.Contains(in.Kinds, kind) {
			continue
		}
		a := documentAnswer{Document: onboard.Describe(kind)}
		req := document.Request{Kind: kind, Format: in.Format, Integration: i, Config: state,
			WithTags: in.WithTags}
		if req.NeedsPrincipal() {
			req.Principal = who()
		}
		if req.NeedsPrincipal() && req.Principal == "" {
			a.Error = "STS does not report the proxy's principal (there are no credentials, or the " +
				"store has no GetCallerIdentity); enter above"
			if c.mayCheck(r) != nil {
				a.Error = "sign in to look up the proxy's principal, or enter above"
			}
			a.Error += " who assumes the role, the ARN of the user or role that the proxy runs as"
		} else if a.Text, a.Notes, err = req.Write(); err != nil {
			a.Error = err.Error()
		}
		answers = append(answers, a)
	}
	return map[string]any{
		"name": i.Name, "documents": answers, "keys_only": i.RoleARN == "",
	}, nil
}

// describedBy returns the integration that a request is about.
func (c *Console) describedBy(r *http.Request, in *documentsRequest) (*config.Integration, error) {
	if in.Change == nil {
		return named(c.Proxy.State().Config, in.Name)
	}
	// A draft chooses the STS endpoint that is called, so it needs a signed-in user.
	if _, err := c.mayChange(r); err != nil {
		return nil, err
	}
	if in.Change.Action == "add" {
		in.Change.Draft = withName(in.Change.Draft)
	}
	if d := maps.Clone(in.Change.Draft); d != nil && in.RoleLater {
		i := config.Integration{Region: d["region"], Name: d["name"], Endpoint: d["endpoint"],
			STSEndpoint: d["sts_endpoint"]}
		switch {
		case i.LacksSTS():
			delete(d, "role_arn")
			delete(d, "external_id")
		case d["role_arn"] == "":
			d["role_arn"] = i.PlaceholderRoleARN(strings.TrimSpace(in.Principal))
		}
		in.Change.Draft = d
	}
	done, err := c.changed(in.Change)
	if err != nil {
		return nil, err
	}
	if done.integration == nil {
		return nil, &refusal{status: http.StatusBadRequest,
			text: "an integration that is removed needs no documents"}
	}
	return done.integration, nil
}

// principal returns the ARN of the principal that assumes a role: the named one, or else the one
// that STS reports. It returns "" if the request must not call STS, or the call fails.
func (c *Console) principal(r *http.Request, i *config.Integration, named string) string {
	if named = strings.TrimSpace(named); named != "" {
		return named
	}
	if c.mayCheck(r) != nil || !c.enter() {
		return ""
	}
	defer c.leave()
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	arn, err := c.Proxy.CallerIdentity(ctx, i)
	if err != nil {
		return ""
	}
	return arn
}

// kindsFor returns the documents that an integration needs. In JSON a role is two documents; in
// other formats there is also one that creates the role.
func kindsFor(i *config.Integration, f document.Format) []document.Kind {
	switch {
	case i.RoleARN == "":
		return []document.Kind{document.KindAccess, document.KindCORS}
	case f == document.JSON:
		return []document.Kind{
			document.KindAccess, document.KindTrust, document.KindCORS, document.KindAssume,
		}
	}
	return []document.Kind{document.KindRole, document.KindAccess, document.KindTrust,
		document.KindCORS, document.KindAssume}
}
