package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"s3redirect/internal/locator"
	"s3redirect/internal/presign"
)

// checkBucket returns an error if a bucket or a pattern is not valid in the integration's store.
func (i *Integration) checkBucket(bucket string) error {
	isPattern := locator.IsPattern(bucket)
	switch {
	case i.IsAWS() && isPattern:
		return locator.CheckPattern(bucket)
	case i.IsAWS():
		return locator.CheckBucket(bucket)
	case isPattern:
		return locator.CheckStorePattern(bucket)
	}
	return locator.CheckStoreBucket(bucket)
}

// checkBucketName checks a bucket or a pattern of an integration.
func (k *checker) checkBucketName(key string, i *Integration, bucket string) {
	if i.Endpoint == "" {
		if err := presign.CheckSupported(bucket); err != nil {
			k.wrong(key, "%s: %v", value(key), err)
			return
		}
	}
	if err := i.checkBucket(bucket); err != nil {
		k.wrong(key, "%s is %v", value(key), err)
	}
}

// MatchBucket reports whether one of the integration's patterns matches a bucket. It matches only
// names that are valid in the integration's store.
//
// A * matches a capital letter only in a pattern that has one itself: a store whose file system
// ignores case would serve the bucket secret as SECRET, which no rule about secret matches. For the
// same reason patterns do not match aliases of access points, which are other names of buckets.
func (i *Integration) MatchBucket(pattern, bucket string) bool {
	return locator.MatchBucket(pattern, bucket) &&
		(!locator.HasCapital(bucket) || locator.HasCapital(pattern)) &&
		!locator.IsReserved(bucket) && i.checkBucket(bucket) == nil
}

// checkRuleBucket returns an error if no integration can serve the bucket or the pattern of a rule.
// Names that AWS does not allow are typing errors unless a store has them.
func (k *checker) checkRuleBucket(bucket string) error {
	err := (&Integration{}).checkBucket(bucket)
	if err == nil || (&Integration{Endpoint: "store"}).checkBucket(bucket) != nil {
		return err
	}
	for _, i := range k.Integrations {
		if !i.IsAWS() && slices.ContainsFunc(i.Buckets(), func(served string) bool {
			return locator.Overlap(served, bucket) &&
				(!locator.HasCapital(bucket) || locator.HasCapital(served))
		}) {
			return nil
		}
	}
	return fmt.Errorf("no integration with an endpoint serves this bucket, "+
		"and at AWS it is %w", err)
}

// baseGrammar is the path of an endpoint. URLs contain these characters without escapes.
var baseGrammar = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/?$`)

// checkBase checks the path of an endpoint, and reports whether it is valid. It returns the
// endpoint without the path.
func (k *checker) checkBase(key, endpoint string) (origin string, ok bool) {
	scheme, rest, ok := strings.Cut(endpoint, "://")
	slash := strings.IndexByte(rest, '/')
	if !ok || slash < 0 || strings.ContainsAny(endpoint, "@?#") {
		return endpoint, true // checkOrigin rejects what is wrong
	}
	base := rest[slash:]
	if !baseGrammar.MatchString(base) || locator.HasDotSegment(base) {
		k.wrong(key, "%s has a path that browsers or stores would rewrite; use letters, digits, "+
			"'.', '_', '~' and '-', without dot segments and without repeated slashes", value(key))
		return "", false
	}
	return scheme + "://" + rest[:slash], true
}

// checkBucketInHost warns about an endpoint whose host begins with a bucket, as stores show it for
// one bucket.
func (k *checker) checkBucketInHost(at string, i *Integration) {
	_, host, _ := strings.Cut(strings.ToLower(i.Endpoint), "://")
	for n, bucket := range i.Buckets() {
		if !locator.IsPattern(bucket) && strings.HasPrefix(host, strings.ToLower(bucket)+".") {
			k.warn(at+".endpoint", "the host begins with the bucket %s, which URLs then contain "+
				"twice; remove it from the endpoint, unless the name of the store begins with it",
				value(bucketKey(at, i, n)))
		}
	}
}
