package check

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
)

// checkSample returns an error that explains why none of the chosen integrations serves the sample.
func (o *Options) checkSample(chosen []*config.Integration) error {
	sample := locator.Printable(o.Sample.String())
	if by, ok := o.Config.Blocked(*o.Sample); ok {
		return fmt.Errorf("integration %s blocks the sample, %s: it is under one of its "+
			"blocked_prefixes", by.Name, sample)
	}
	server, ok := o.Config.ServedBy(*o.Sample)
	if ok && slices.Contains(chosen, server) {
		return nil
	}
	if ok {
		return fmt.Errorf("integration %s serves the sample, %s, and is not checked", server.Name,
			sample)
	}
	normalized := *o.Sample
	normalized.Key = locator.NormalizeKey(normalized.Key)
	if _, ok := o.Config.ServedBy(normalized); ok {
		return fmt.Errorf("a store may serve the sample, %s, for another key, which another "+
			"integration serves; name the object without leading and repeated slashes and "+
			"backslashes", sample)
	}
	var prefixes []string
	for _, i := range o.Config.Integrations {
		if i.Bucket == o.Sample.Bucket && i.Prefix != "" {
			prefixes = append(prefixes, locator.Printable(i.Prefix)+" of "+i.Name)
		}
	}
	if prefixes == nil {
		return fmt.Errorf("none of these integrations serves the sample, %s", sample)
	}
	const most = 10
	if len(prefixes) > most {
		prefixes = append(prefixes[:most], "…")
	}
	return fmt.Errorf("the sample, %s, is under none of the prefixes of bucket %s: %s", sample,
		o.Sample.Bucket, strings.Join(prefixes, ", "))
}

// scope checks that the store limits what is signed with the integration's credentials to its
// prefix. Without that, only the proxy itself does.
func (p *probe) scope(ctx context.Context) {
	switch text, _ := p.i.SessionDocument(); {
	case p.i.Prefix == "":
	case text == "":
		p.readOutside(ctx)
	default:
		p.readFromOutside(ctx)
	}
}

// readFromOutside reads the sample with a session for another prefix. Unlike a key outside the
// prefix, the sample is known to exist.
func (p *probe) readFromOutside(ctx context.Context) {
	other := *p.i
	other.Prefix, other.BlockedPrefixes = checkFolder, nil
	if strings.HasPrefix(p.sample.Key, checkFolder) {
		other.Prefix = "not-" + checkFolder
	}
	session, expires, err := p.assumeRole(ctx, &other)
	if err != nil {
		p.skip("scope", "STS did not answer the request for a session for another prefix")
		return
	}
	outsider := *p
	outsider.session, outsider.expires = session, expires
	switch status, err := outsider.tryAge(ctx, 0, p.params("")); {
	case status == http.StatusForbidden:
		p.ok("scope", "a session for another prefix cannot read the sample")
	case err != nil || status != http.StatusOK && status != http.StatusPartialContent:
		p.skip("scope", "the store did not answer a request with a session for another prefix")
	default:
		p.warn("scope", explanation{
			fmt.Sprintf("a session for another prefix can read the sample (status %d): the store does "+
				"not limit sessions to their session policies, so only the proxy limits what is read",
				status),
			"Use a role for each prefix, whose policy allows no more: " + p.policyCommand("access"),
		})
	}
}

// readOutside reads a key outside the prefix. The object need not exist: the store denies missing keys
// only to clients that may not read or may not list them.
func (p *probe) readOutside(ctx context.Context) {
	outside := checkFolder + "outside"
	if strings.HasPrefix(outside, p.i.Prefix) {
		outside = "not-" + outside
	}
	remedy := "Limit the policy of the user that owns the credentials: " + p.policyCommand("access")
	if p.i.RoleARN != "" {
		remedy = "Set session_policy: true, or limit the role's policy: " + p.policyCommand("access")
	}
	switch status, err := p.tryKey(ctx, outside); {
	case status == http.StatusForbidden && p.deniesMissing(ctx):
		p.skip("scope", "the store denies requests for missing keys under the prefix, too, because the "+
			"credentials lack s3:ListBucket, so this does not show what they can read outside it")
	case status == http.StatusForbidden:
		p.ok("scope", "a request for a key outside the prefix is denied")
	case err != nil || status != http.StatusOK && status != http.StatusPartialContent &&
		status != http.StatusNotFound:
		p.skip("scope", "the store did not answer a request for a key outside the prefix")
	default:
		p.warn("scope", explanation{
			fmt.Sprintf("a request for a key outside the prefix is not denied (status %d): the "+
				"credentials can read there, and only the proxy limits what is read", status),
			remedy,
		})
	}
}

// deniesMissing reports whether the store denies a key under the prefix that does not exist, or does
// not answer.
func (p *probe) deniesMissing(ctx context.Context) bool {
	status, _ := p.tryKey(ctx, p.i.Prefix+checkFolder+"missing")
	return status != http.StatusOK && status != http.StatusPartialContent &&
		status != http.StatusNotFound
}

// tryKey requests the first byte of an object in the sample's bucket.
func (p *probe) tryKey(ctx context.Context, key string) (int, error) {
	other := *p
	other.sample = &locator.Locator{Bucket: p.sample.Bucket, Key: key}
	return other.tryAge(ctx, 0, other.params(""))
}
