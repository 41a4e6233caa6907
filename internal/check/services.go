package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/viewer"
)

// The steps of what the whole configuration depends on.
const (
	stepRedis     = "redis"
	stepIdentity  = "identity"
	stepPasswords = "passwords"
)

// services tries what all integrations depend on: the store of shared sessions, the identity
// providers, and the file of passwords. Its steps belong to no integration.
func (o *Options) services(ctx context.Context) {
	if o.Config.Cache.Redis != nil {
		o.reportService(stepRedis, func() (Verdict, explanation) { return o.redis(ctx) })
	}
	for n := range o.Config.Viewers.JWT {
		o.reportService(stepIdentity, func() (Verdict, explanation) {
			return o.identity(ctx, &o.Config.Viewers.JWT[n])
		})
	}
	if b := o.Config.Viewers.Basic; b != nil {
		o.reportService(stepPasswords, func() (Verdict, explanation) {
			return passwords(b.HtpasswdFile)
		})
	}
}

// reportService makes a step and reports it.
func (o *Options) reportService(name string, try func() (Verdict, explanation)) {
	v, e := try()
	o.Report(Step{Name: name, Verdict: v, Reason: sanitize(e.reason), Remedy: sanitize(e.remedy)})
}

// identity fetches the keys of an issuer.
func (o *Options) identity(ctx context.Context, j *config.JWT) (Verdict, explanation) {
	transport := o.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	keys, err := viewer.FetchKeys(ctx, j, transport)
	if err != nil {
		return Failed, explainKeys(j, err)
	}
	reason := fmt.Sprintf("%s publishes %s: %s", j.Issuer, plural(keys.Count, "key"),
		strings.Join(keys.Types, ", "))
	if keys.Accepted == 0 {
		return Failed, explanation{
			fmt.Sprintf("%s; none of them is for the algorithms %s", reason,
				strings.Join(j.Algorithms, ", ")),
			"List the algorithm of the issuer's tokens in algorithms of viewers.jwt.",
		}
	}
	return OK, explanation{reason: reason}
}

// explainKeys explains why an issuer's keys could not be fetched.
func explainKeys(j *config.JWT, err error) explanation {
	e, ok := errors.AsType[*viewer.KeysError](err)
	if !ok {
		return explanation{"the keys of " + j.Issuer + " could not be fetched",
			"Open the issuer's URL from this machine with curl, and fix the error that curl prints."}
	}
	reason := "the issuer " + j.Issuer + ": " + e.Error()
	switch e.Problem {
	case viewer.KeysUnreachable:
		x := explainNetwork("the issuer "+j.Issuer, e.URL, viewer.KeysTimeout, e.Err)
		x.remedy = strings.NewReplacer("the endpoint (or region)", "issuer or jwks_url",
			"the endpoint", "issuer or jwks_url", "; in a private network, check the VPC endpoint", "",
		).Replace(x.remedy)
		return x
	case viewer.KeysRefused:
		return explanation{reason, "Correct issuer, whose discovery document must be at " +
			"/.well-known/openid-configuration below it, or set jwks_url to the URL of the keys. The " +
			"proxy follows no redirects and sends no credentials. After a status of 500 or more, try again " +
			"later."}
	case viewer.KeysMalformed:
		return explanation{"the issuer " + j.Issuer + ": the response of " + e.URL +
			" is not the JSON of a discovery document or a key set",
			"Correct issuer or jwks_url: it may be the URL of a page for people."}
	case viewer.KeysOfAnotherIssuer:
		return explanation{reason, "Set issuer to exactly the name in the discovery document, with or " +
			"without its final slash: the provider writes it into its tokens."}
	case viewer.KeysInsecure:
		return explanation{reason, "Have the provider publish a URL with https:// as jwks_uri, or " +
			"set jwks_url."}
	}
	return explanation{reason, "Have the provider publish a public RSA key of at least 2048 bits, an " +
		"EC key or an Ed25519 key that is for signatures. The proxy uses no private and no shared keys."}
}

// goodCost is the lowest bcrypt cost without a warning.
// https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#bcrypt
const goodCost = 10

// passwords reads the file of passwords.
func passwords(name string) (Verdict, explanation) {
	p, err := viewer.ReadPasswords(name)
	if err != nil {
		return Failed, explanation{err.Error(), "Make the file readable for the proxy's user, with " +
			"lines that htpasswd -B -C 10 wrote."}
	}
	costs := fmt.Sprintf("cost %d", p.Slowest)
	if p.Fastest != p.Slowest {
		costs = fmt.Sprintf("costs %d to %d", p.Fastest, p.Slowest)
	}
	reason := fmt.Sprintf("%s, bcrypt with %s", plural(p.Users, "user"), costs)
	if p.Fastest < goodCost {
		return Warning, explanation{
			fmt.Sprintf("%s: an attacker who has the file tries passwords of cost %d %d times as fast "+
				"as those of cost %d", reason, p.Fastest, 1<<(goodCost-p.Fastest), goodCost),
			fmt.Sprintf("Set the passwords of these users again with htpasswd -B -C %d.", goodCost),
		}
	}
	return OK, explanation{reason: reason}
}

// plural returns a count with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
