package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings is the configuration of a replica as the model knows it. It is immutable.
type settings struct {
	integrations []role
	rules        []rule
	anonymous    bool
	urls         int // cache.urls
	credentials  int // cache.credentials
}

// role is an integration. A changed role is another role with the same number.
type role struct {
	number   int // of its bucket, its ARN and its STS
	name     string
	buckets  []string // the first is its own; patterns end in *
	scope    scope    // if it is on, the role serves that instead of buckets
	lifetime time.Duration
	remains  time.Duration // min_remaining
	session  time.Duration
	region   string
	key      int  // the generation of its access keys
	static   bool // it has keys that sign, and no role
	absent   bool // it is not in the configuration
}

// period, lead and floor are W, the prefetch lead, and the least that a URL has left. See
// docs/windows.md.
func (r *role) period() time.Duration { return r.lifetime - r.remains }
func (r *role) lead() time.Duration   { return min(5*time.Minute, r.period()/4) }
func (r *role) floor() time.Duration  { return min(time.Minute, r.remains/4) }

// identity distinguishes the sessions and URLs of a role. The buckets are part of it, because they
// are part of the session policy.
func (r *role) identity() string { return fmt.Sprintf("%+v", *r) }

// arnPrefix precedes the number of a role in its ARN.
const arnPrefix = "arn:aws:iam::123456789012:role/role-"

func (r *role) arn() string         { return arnPrefix + strconv.Itoa(r.number) }
func (r *role) accessKeyID() string { return accessKeyID(r.number, r.key) }
func (r *role) secretKey() string   { return secretKey(r.number, r.key) }

// accessKeyID and secretKey return the keys of a generation that call STS for a role.
func accessKeyID(number, key int) string {
	return fmt.Sprintf("AKIASIM%dKEY%dXXXXXXXX", number, key)
}

func secretKey(number, key int) string {
	return fmt.Sprintf("canary-user/secret+%d/%d", number, key)
}

// serves reports whether the role serves what is under no prefix of a bucket, and whether it names the
// bucket.
func (r *role) serves(bucket string) (served, named bool) {
	if r.absent || r.scope.on {
		named = !r.absent && r.scope.prefix == "" && bucket == scopedBucket
		return named, named
	}
	for _, b := range r.buckets {
		prefix, pattern := strings.CutSuffix(b, "*")
		switch {
		case !pattern && b == bucket:
			return true, true
		case pattern && strings.HasPrefix(bucket, prefix):
			served = true
		}
	}
	return served, false
}

// lifetime is a choice of url_lifetime, min_remaining and session_duration.
type lifetime struct{ lifetime, remains, session time.Duration }

var lifetimes = []lifetime{
	{45 * time.Minute, 15 * time.Minute, time.Hour},
	{20 * time.Minute, 5 * time.Minute, 40 * time.Minute},
	{10 * time.Minute, 3 * time.Minute, 15 * time.Minute},
	{2 * time.Hour, 20 * time.Minute, 4 * time.Hour},
	{5 * time.Minute, 2 * time.Minute, time.Hour},
}

const (
	maxReplicas     = 6
	maxIntegrations = 4
	linkSecret      = "canary-link-secret-of-32-bytes-or-more"
	storeHost       = "s3.localhost"
)

// newSettings returns the first configuration of a world.
func newSettings(r *rand.Rand, shared bool) *settings {
	s := &settings{anonymous: r.IntN(3) > 0, urls: 1 + r.IntN(60), credentials: 100}
	if shared && r.IntN(3) == 0 {
		s.credentials = 1 + r.IntN(2) // evicted sessions come back from the store
	}
	for n := range 1 + r.IntN(maxIntegrations) {
		one := role{number: n, name: fmt.Sprintf("i%d", n), buckets: []string{bucketOf(n)}}
		if n == 0 {
			one.buckets = append(one.buckets, "team-*")
		}
		l := lifetimes[r.IntN(len(lifetimes))]
		one.lifetime, one.remains, one.session = l.lifetime, l.remains, l.session
		one.region = []string{"us-east-1", "auto"}[r.IntN(2)]
		one.static = n > 0 && r.IntN(6) == 0
		s.integrations = append(s.integrations, one)
	}
	s.rules = randomRules(r, s.anonymous)
	return s
}

// addScopes gives some integrations a scope.
func (s *settings) addScopes(r *rand.Rand) {
	for n := range s.integrations {
		if n > 0 && r.IntN(3) == 0 {
			s.integrations[n].scope = s.freeScope(r)
		}
	}
}

func bucketOf(n int) string { return fmt.Sprintf("bucket-%d", n) }

// The changes of the configuration.
const (
	changePresence  = "presence" // removes an integration, or brings it back
	changeName      = "name"
	changeKeys      = "keys" // rotates the access keys
	changeLifetimes = "lifetimes"
	changeRules     = "rules"
	changeSizes     = "sizes" // of the caches
	changeBuckets   = "buckets"
	changeScope     = "scope" // gives an integration another prefix, or blocks others
	changeNothing   = "nothing"
)

var changeKinds = []string{
	changePresence, changeName, changeKeys, changeLifetimes, changeRules, changeRules, changeSizes,
	changeBuckets, changeScope, changeScope, changeNothing,
}

// change returns changed settings.
func (s *settings) change(kind string, integration int, r *rand.Rand) *settings {
	next := *s
	next.integrations = slices.Clone(s.integrations)
	one := &next.integrations[integration]
	switch kind {
	case changePresence:
		one.absent = !one.absent
	case changeName:
		one.name = fmt.Sprintf("i%d-%d", one.number, r.IntN(1000))
	case changeKeys:
		one.key++
	case changeLifetimes:
		l := lifetimes[r.IntN(len(lifetimes))]
		one.lifetime, one.remains, one.session = l.lifetime, l.remains, l.session
	case changeRules:
		next.anonymous = r.IntN(3) > 0
		next.rules = randomRules(r, next.anonymous)
	case changeSizes:
		next.urls = 1 + r.IntN(100)
	case changeScope:
		next.changeScope(one, r)
	case changeBuckets:
		// The pattern moves to one of the first two integrations, or away.
		for n := range next.integrations {
			next.integrations[n].buckets = []string{bucketOf(n)}
			if n == integration%2 && r.IntN(3) > 0 {
				next.integrations[n].buckets = append(next.integrations[n].buckets, "team-*")
			}
		}
	}
	return &next
}

// text returns the configuration file.
func (s *settings) text() string {
	var b strings.Builder
	b.WriteString("listen: 127.0.0.1:1\nadmin: {token: canary-admin-token-of-32-bytes-or-more}\n")
	b.WriteString("log: {level: info, format: json}\n")
	fmt.Fprintf(&b, "cache: {urls: %d, credentials: %d}\n", s.urls, s.credentials)
	b.WriteString("integrations:\n")
	for n := range s.integrations {
		if r := &s.integrations[n]; !r.absent {
			b.WriteString(r.text())
		}
	}
	fmt.Fprintf(&b, "viewers:\n  anonymous: %v\n", s.anonymous)
	b.WriteString("  forwarded: {user_header: X-User, groups_header: X-Groups, " +
		"trusted_proxies: [10.0.0.0/8]}\n")
	b.WriteString("  jwt: {issuer: " + issuer + ", jwks_url: " + issuer + "/keys, audience: media, " +
		"algorithms: [EdDSA], user_claim: sub}\n")
	b.WriteString("  links: {keys: [{id: k1, secret: \"" + linkSecret + "\"}]}\n")
	if len(s.rules) > 0 {
		b.WriteString("  rules:\n")
		for _, r := range s.rules {
			b.WriteString("    - " + r.text() + "\n")
		}
	}
	return b.String()
}

func (r *role) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - name: %s\n", r.name)
	if r.scope.on {
		b.WriteString(r.scope.text())
	} else {
		fmt.Fprintf(&b, "    permitted_buckets: [\"%s\"]\n", strings.Join(r.buckets, `", "`))
	}
	if !r.static {
		fmt.Fprintf(&b, "    role_arn: %s\n    external_id: external-%d\n", r.arn(), r.number)
		fmt.Fprintf(&b, "    session_duration: %s\n    sts_endpoint: http://sts-%d.localhost\n",
			r.session, r.number%2) // two share an STS
	}
	fmt.Fprintf(&b, "    endpoint: http://%s\n    path_style: true\n    region: %s\n",
		storeHost, r.region)
	fmt.Fprintf(&b, "    access_key_id: %s\n    secret_access_key: %q\n", r.accessKeyID(), r.secretKey())
	fmt.Fprintf(&b, "    url_lifetime: %s\n    min_remaining: %s\n", r.lifetime, r.remains)
	return b.String()
}
