package check

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"s3redirect/internal/config"
)

// maxAges bounds the signatures of different ages that are tried.
const maxAges = 6

// signatureAge tries the oldest signature that the proxy hands out. If the store rejects it, and
// the one of the step get was accepted, signatureAge looks for the limit. AWS's guidance for data
// perimeters has a policy that denies signatures above an age.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/bucket-policy-s3-sigv4-conditions.html
func (p *probe) signatureAge(ctx context.Context, params string) {
	const step = "signature_age"
	// The URL must not expire while it is tried.
	oldest := p.i.URLLifetime - min(30*time.Second, p.i.URLLifetime/10)
	accepted, rejected := time.Duration(0), oldest
	for n, age := 0, oldest; n < maxAges && rejected-accepted > time.Second; n++ {
		status, err := p.tryAge(ctx, age, params)
		switch {
		case err != nil || status >= 500 || status == http.StatusTooManyRequests:
			p.skip(step, "the store did not answer a request with a signature of %s", short(age))
			return
		case status >= 400:
			rejected = age
		case age == oldest:
			p.ok(step, "the store accepts signatures that are %s old; none gets older than %s",
				short(age), short(p.i.URLLifetime))
			return
		default:
			accepted = age
		}
		age = (accepted + rejected) / 2
	}
	s := Step{
		Integration: p.i.Name,
		Name:        step,
		Verdict:     Failed,
		Reason: fmt.Sprintf("the store rejects signatures that are %s old, and accepts younger ones, "+
			"so URLs stop working before they expire; a policy may deny s3:signatureAge above a limit",
			short(rejected)),
		Remedy: "Allow older signatures in the policy, or in the store: URLs that live for less than " +
			"a few minutes are of little use.",
	}
	if accepted > 0 {
		s.Setting = &Setting{"max_signature_age", config.Short(roundDown(accepted))}
		s.Remedy = fmt.Sprintf("Set %s. If you know the limit, which is between %s and %s, set it "+
			"instead.", s.Setting, short(accepted), short(rejected))
	}
	p.Report(s)
}

// tryAge requests the sample's first byte with a signature of an age.
func (p *probe) tryAge(ctx context.Context, age time.Duration, params string) (int, error) {
	target, err := p.signAt(p.Clock().Add(-age), http.MethodGet, params)
	if err != nil {
		return 0, err
	}
	r, err := p.send(ctx, http.MethodGet, target, "Range: bytes=0-0")
	switch {
	case err != nil:
		return 0, err
	case r.status == http.StatusRequestedRangeNotSatisfiable: // the sample is empty
		return http.StatusOK, nil
	}
	return r.status, nil
}

// roundDown rounds a limit down to minutes or, if it is short, to seconds.
func roundDown(limit time.Duration) time.Duration {
	if limit >= 2*time.Minute {
		return limit.Truncate(time.Minute)
	}
	return limit.Truncate(time.Second)
}

func short(d time.Duration) string { return config.Short(d.Truncate(time.Second)) }
