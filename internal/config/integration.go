package config

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"s3redirect/internal/locator"
	"s3redirect/internal/partition"
)

const (
	// AWS's bounds of DurationSeconds, and its limit for role chaining.
	// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
	minSession        = 15 * time.Minute
	maxSession        = 12 * time.Hour
	maxChainedSession = time.Hour
	// Other stores have other bounds; MinIO's is a year.
	maxForeignSession = 365 * 24 * time.Hour

	maxSessionName = 64
	maxExternalID  = 1224

	maxTags     = 50
	maxTagName  = 128 // characters
	maxTagValue = 256
)

// IAM's grammar of what AssumeRole takes (same page). Other stores leave the account out.
var (
	roleARN        = regexp.MustCompile(`^arn:(aws(?:-[a-z]+)*):iam::[0-9]{12}:role/([!-~]+/)?[\w+=,.@-]{1,64}$`)
	foreignRoleARN = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::[\w-]*:role/([!-~]+/)?[\w+=,.@-]{1,64}$`)
	sessionName    = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	tagText        = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+@-]*$`)
	externalID     = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
	region         = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)
	foreignRegion  = regexp.MustCompile(`^[A-Za-z0-9]+([_-][A-Za-z0-9]+)*$`)
)

func (k *checker) checkIntegration(at string, i *Integration) {
	k.checkScope(at, i)
	switch {
	case i.RoleARN != "":
		before := len(k.problems)
		k.checkRole(at, i)
		for n := before; n < len(k.problems); n++ { // AWS's grammar differs from that of other stores
			k.problems[n].Needs = append(k.problems[n].Needs, at+".endpoint", at+".sts_endpoint")
		}
	case i.AccessKeyID == "" && !i.OwnCredentials:
		k.wrong(at, "a role_arn is needed, or, for a store without roles, access_key_id and secret_access_key").
			Needs = []string{at + ".role_arn", at + ".access_key_id", at + ".own_credentials"}
	default:
		k.checkKeys(at, i)
	}
	if (i.AccessKeyID == "") != (i.SecretAccessKey == "") {
		k.wrong(at, "access_key_id and secret_access_key go together; set both or neither").
			Needs = []string{at + ".access_key_id", at + ".secret_access_key"}
	}
	if i.OwnCredentials && (i.RoleARN != "" || i.AccessKeyID != "") {
		k.wrong(at+".own_credentials",
			"the proxy's own credentials sign the URLs without a role_arn or an access_key_id; "+
				"remove those, or this key")
	}
	k.checkEndpoint(at, "endpoint", i.Endpoint, i.Insecure, i.PathStyle)
	k.checkEndpoint(at, "sts_endpoint", i.STSEndpoint, i.Insecure, true)
	k.checkAccessPoint(at, i)
	k.checkHost(at, i)
	k.checkBucketInHost(at, i)
	k.checkRegion(at, i)
	k.checkDurations(at, i)
	k.checkCacheControl(at+".", i)
	k.checkOverrides(at+".overrides", i.Overrides)
	k.checkInPlace(at+".in_place", i.InPlace)
	k.checkContentTypes(at+".content_types", i.ContentTypes)
	k.checkKMSKeys(at, i)
	k.checkSessionPolicy(at, i)
}

func (k *checker) checkOverrides(key, overrides string) {
	switch overrides {
	case "", OverridesNone, OverridesSafe, OverridesAll:
	default:
		k.wrong(key, "%s is not one of none, safe and all", value(key))
	}
}

// cacheDirective is one of RFC 9111, section 5.2.2, without arguments that are lists.
var cacheDirective = regexp.MustCompile(`^[a-z-]+(=[0-9]+)?$`)

// checkCacheControl checks the Cache-Control of objects. A browser must not keep an object for
// longer than its URL stays the same.
func (k *checker) checkCacheControl(prefix string, i *Integration) {
	key := prefix + "response_cache_control"
	if i.ResponseCacheControl == "" {
		return
	}
	window := i.URLLifetime - i.MinRemaining
	for part := range strings.SplitSeq(i.ResponseCacheControl, ",") {
		directive := strings.TrimSpace(part)
		name, argument, _ := strings.Cut(directive, "=")
		age, err := strconv.ParseInt(argument, 10, 32)
		ages := name == "max-age" || name == "s-maxage"
		switch {
		case !cacheDirective.MatchString(directive), ages && err != nil:
			k.wrong(key, "%s is not a Cache-Control value; write it as private, max-age=%d",
				value(key), int(window.Seconds()))
		case ages && time.Duration(age)*time.Second > window:
			k.wrong(key,
				"%s is longer than a URL stays the same; use %d seconds (url_lifetime less min_remaining) at most",
				directive, int(window.Seconds())).Needs = lifetimeKeys(prefix)
		default:
			continue
		}
		return
	}
}

func (k *checker) checkScope(at string, i *Integration) {
	switch {
	case i.Bucket != "" && len(i.PermittedBuckets) > 0:
		k.wrong(at+".bucket",
			"bucket and permitted_buckets exclude each other: the first is for a role of one "+
				"bucket, the second for a role of several")
	case i.Bucket == "" && len(i.PermittedBuckets) == 0:
		k.wrong(at, "a bucket is needed, or a list of permitted_buckets").
			Needs = []string{at + ".bucket", at + ".permitted_buckets"}
	case i.Bucket != "" && locator.IsPattern(i.Bucket):
		k.wrong(at+".bucket", "a pattern belongs into permitted_buckets; bucket is one bucket's name")
	case i.Bucket != "":
		k.checkBucketName(at+".bucket", i, i.Bucket)
	}
	for n, b := range i.PermittedBuckets {
		key := at + ".permitted_buckets[" + strconv.Itoa(n) + "]"
		k.checkBucketName(key, i, b)
	}
	k.checkPrefixes(at, i)
}

func (k *checker) checkRole(at string, i *Integration) {
	key := at + ".role_arn"
	m, known := roleARN.FindStringSubmatch(i.RoleARN), false
	if m != nil {
		_, known = partition.Named(m[1])
	}
	switch {
	case !i.IsAWSSTS() && !foreignRoleARN.MatchString(i.RoleARN):
		k.wrong(key, "%s is not the ARN of a role; write it as arn:aws:iam:::role/name", value(key))
	case i.IsAWSSTS() && m == nil:
		k.wrong(key, "%s is not the ARN of a role; write it as arn:aws:iam::123456789012:role/name", value(key))
	case i.IsAWSSTS() && !known:
		k.wrong(key, "there is no partition %s; write aws, aws-cn or aws-us-gov", m[1])
	case i.IsAWSSTS() && region.MatchString(i.Region) && m[1] != partition.Of(i.Region).Name:
		k.wrong(key,
			"the role is of the partition %s, and the region %s of %s; a role serves its own partition only", m[1],
			i.Region, partition.Of(i.Region).Name)
	}
	if !i.IsAWS() && i.IsAWSSTS() {
		k.wrong(key,
			"sessions of AWS STS do not work "+
				"with another store; set its sts_endpoint, or use access_key_id and "+
				"secret_access_key instead of the role")
	}
	if i.ExternalID != "" && (!externalID.MatchString(i.ExternalID) || len(i.ExternalID) > maxExternalID) {
		k.wrong(at+".external_id", "use 2 to 1,224 letters, digits and _+=,.@:/-")
	}
	if !sessionName.MatchString(i.SessionName) && i.SessionName != defaultSessionName(i.Name) {
		k.wrong(at+".session_name", "use 2 to 64 letters, digits and _+=,.@-")
	}
	k.checkTags(at, i)
	k.checkSTSRegion(at+".sts_region", i)
	switch {
	case i.WebIdentityTokenFile == "":
	case i.AccessKeyID != "":
		k.wrong(at+".web_identity_token_file",
			"the role is assumed either with a web identity or with access_key_id; remove one of them")
	case i.ExternalID != "":
		k.wrong(at+".external_id",
			"a role is assumed with a web identity without an external ID; remove it, and restrict "+
				"the subject and the audience in the role's trust policy")
	case len(i.SessionTags) > 0 || i.SourceIdentity != "":
		k.wrong(at+".web_identity_token_file",
			"the web identity's token decides the session's tags and source identity; "+
				"remove session_tags and source_identity").
			Instead = []string{at + ".session_tags", at + ".source_identity"}
	}
}

// checkTags checks the session tags and the source identity.
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html
func (k *checker) checkTags(at string, i *Integration) {
	key := at + ".session_tags"
	if len(i.SessionTags) > maxTags {
		k.wrong(key, "a session has at most %d tags", maxTags)
	}
	lower := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(i.SessionTags)) {
		text := i.SessionTags[name]
		switch folded := strings.ToLower(name); {
		case utf8.RuneCountInString(name) > maxTagName || utf8.RuneCountInString(text) > maxTagValue ||
			name == "" || !tagText.MatchString(name) || !tagText.MatchString(text):
			k.wrong(key, "use names of 1 to 128 and values of up to 256 letters, digits, spaces and _.:/=+@-")
		case strings.HasPrefix(folded, "aws:"):
			k.wrong(key, "names that start with aws: belong to AWS; choose another")
		case lower[folded]:
			k.wrong(key, "two names differ only in case, which IAM ignores; keep one of them")
		default:
			lower[folded] = true
		}
	}
	for n, name := range i.TransitiveTags {
		if _, ok := i.SessionTags[name]; !ok {
			k.wrong(at+".transitive_tags["+strconv.Itoa(n)+"]",
				"session_tags does not have the name; list names of session_tags").
				Needs = []string{key}
		}
	}
	if i.SourceIdentity != "" && (!sessionName.MatchString(i.SourceIdentity) ||
		strings.HasPrefix(strings.ToLower(i.SourceIdentity), "aws:")) {
		k.wrong(at+".source_identity", "use 2 to 64 letters, digits and _+=,.@-")
	}
}

// checkSTSRegion checks that the STS is in the role's partition: sessions are valid only there.
func (k *checker) checkSTSRegion(key string, i *Integration) {
	if i.STSRegion == "" {
		return
	}
	grammar := region
	if !i.IsAWSSTS() {
		grammar = foreignRegion
	}
	m := roleARN.FindStringSubmatch(i.RoleARN)
	switch {
	case i.STSRegion == RegionAuto || !grammar.MatchString(i.STSRegion):
		k.wrong(key, "%s is not a region; write it as us-east-1", value(key))
	case i.IsAWSSTS() && m != nil && m[1] != partition.Of(i.STSRegion).Name:
		k.wrong(key,
			"the role is of the partition %s, and the region %s of %s; "+
				"a role is assumed in its own partition only", m[1],
			i.STSRegion, partition.Of(i.STSRegion).Name)
	}
}

// checkKeys checks an integration that has keys and no role.
func (k *checker) checkKeys(at string, i *Integration) {
	for _, key := range []struct {
		name  string
		given bool
	}{
		{"external_id", i.ExternalID != ""}, {"session_name", i.SessionName != ""},
		{"session_duration", i.SessionDuration != 0},
		{"session_tags", len(i.SessionTags) > 0}, {"transitive_tags", len(i.TransitiveTags) > 0},
		{"source_identity", i.SourceIdentity != ""},
		{"session_policy", !i.SessionPolicy}, {"sts_endpoint", i.STSEndpoint != ""},
		{"sts_region", i.STSRegion != ""},
		{"web_identity_token_file", i.WebIdentityTokenFile != ""},
	} {
		if key.given {
			k.wrong(at+"."+key.name, "it applies only to a role, and there is no role_arn; remove it, or add the role").
				Needs = []string{at + ".role_arn"}
		}
	}
}

func (k *checker) checkRegion(at string, i *Integration) {
	key := at + ".region"
	grammar, like := region, "us-east-1"
	if !i.IsAWS() {
		grammar, like = foreignRegion, "us-east-1, or what the store calls it"
	}
	switch {
	case i.Region == "" && i.AccessPoint != "": // see checkAccessPoint
	case i.Region == "":
		k.wrong(key, "a region is needed: that of the buckets, such as us-east-1, or auto to look it up").
			Needs = []string{at + ".access_point", at + ".endpoint"}
	case i.Region != "auto" && !grammar.MatchString(i.Region):
		k.wrong(key, "%s is not a region; write it as %s", value(key), like).
			Needs = []string{at + ".endpoint"}
	case !i.IsAWS() && i.FixedRegion() == "":
		k.warn(key, "few stores report a bucket's region: if yours does not, URLs are signed for "+
			"us-east-1; set the region that the store's documentation names")
	}
}

func (k *checker) checkEndpoint(at, name, endpoint string, insecure, pathStyle bool) {
	if endpoint == "" {
		return
	}
	key := at + "." + name
	origin, sound := k.checkBase(key, endpoint)
	if !sound {
		return
	}
	u := k.checkOrigin(key, origin, "https://minio.internal:9000")
	if u == nil {
		return
	}
	_, err := netip.ParseAddr(u.Hostname())
	switch {
	case u.Scheme == "http" && !insecure && !IsLoopback(u.Hostname()):
		k.wrong(key, "over http:// anyone on the network path can read the URLs; use https://, or set insecure: true").
			Needs = []string{at + ".insecure"}
	case err == nil && !pathStyle:
		k.wrong(key, "an IP address cannot be prefixed with a bucket; set path_style: true, or use a host name").
			Needs = []string{at + ".path_style"}
	}
}

// IsLoopback reports whether a URL's host is this machine. Browsers treat it like https://.
func IsLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// checkDurations checks the lifetimes of URLs and sessions, and that there is time to assume a new
// session before the previous one is too short.
func (k *checker) checkDurations(at string, i *Integration) {
	prefix := at + "."
	if i.URLLifetime != k.URLLifetime || i.MaxSignatureAge != k.MaxSignatureAge {
		k.checkSignatureAge(prefix, i.URLLifetime, i.MaxSignatureAge)
	}
	own := i.URLLifetime != k.URLLifetime || i.MinRemaining != k.MinRemaining
	if own && !k.checkLifetimes(prefix, i.URLLifetime, i.MinRemaining) || i.RoleARN == "" {
		return
	}
	key := prefix + "session_duration"
	shortest, longest := minSession, maxSession
	if !i.IsAWSSTS() {
		shortest, longest = time.Second, maxForeignSession
	}
	switch {
	case i.SessionDuration%time.Second != 0:
		k.wrong(key, "it must be in whole seconds: STS counts in them")
		return
	case i.SessionDuration < shortest || i.SessionDuration > longest:
		k.wrong(key, "%s is out of AssumeRole's bounds; use %s to %s", Short(i.SessionDuration),
			Short(shortest), Short(longest))
		return
	case i.IsAWSSTS() && i.SessionDuration > maxChainedSession && i.AccessKeyID == "" &&
		i.WebIdentityTokenFile == "":
		k.warn(key, "AWS refuses sessions longer than 1h if the proxy itself runs as a role (role chaining)")
	}
	period := i.URLLifetime - i.MinRemaining
	lead := min(5*time.Minute, period/4)
	if i.URLLifetime+lead > i.SessionDuration && period > 0 {
		p := k.wrong(key,
			"a URL lives no longer than the session that signed "+
				"it, which is fetched up to %s ahead: url_lifetime (%s) + %s must not be more than "+
				"session_duration (%s)",
			Short(lead), Short(i.URLLifetime), Short(lead), Short(i.SessionDuration))
		p.Instead, p.Needs = []string{prefix + "url_lifetime", "url_lifetime"}, lifetimeKeys(prefix)
	}
}

// defaultSessionName returns the session name of an integration that configures none.
func defaultSessionName(integration string) string {
	name := "s3redirect-" + integration
	return name[:min(len(name), maxSessionName)]
}
