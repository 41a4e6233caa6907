// Package config is the configuration file: its types, its defaults, and the checks that it must pass before anything starts.
//
// A file is read whole and judged whole: [Load] answers with every mistake at once, each with the line and the key it is
// about and what to do. Every value may hold ${NAME}, which stands for the environment variable NAME.
package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"s3redirect/internal/locator"
	"s3redirect/internal/partition"
	"s3redirect/internal/presign"
)

// Config is a file that has passed every check. Its fields are the file's keys.
type Config struct {
	// Listen is the viewers' address. Required.
	Listen string `yaml:"listen"`
	// AdminListen is the address of /metrics, the health checks and the console; it is never to be public. Default 127.0.0.1:9090.
	AdminListen string `yaml:"admin_listen"`
	// Admin is about the console at AdminListen. Optional.
	Admin Admin `yaml:"admin"`
	// PublicURL is how viewers reach Listen, for links. Optional.
	PublicURL string `yaml:"public_url"`
	// TrustedProxies are the addresses, or CIDR blocks, of the reverse proxies in front, from which X-Forwarded-For is believed: it
	// has the client's address, for rate limits and the access log. Default: viewers.forwarded.trusted_proxies.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// TLS is for Listen. Optional: without it a reverse proxy in front is to have it.
	TLS TLS `yaml:"tls"`
	// URLLifetime is X-Amz-Expires of a presigned URL: whole seconds, at most 7 days. Default 45m.
	URLLifetime time.Duration `yaml:"url_lifetime"`
	// MinRemaining is how long every URL that is handed out stays good at least. Default 15m.
	MinRemaining time.Duration `yaml:"min_remaining"`
	// ReferrerPolicy is the Referrer-Policy of every answer. Default no-referrer.
	ReferrerPolicy string `yaml:"referrer_policy"`
	// DrainDelay is how long the viewers' listener goes on after SIGTERM turned /readyz, for load balancers to notice. Default 0s.
	DrainDelay time.Duration `yaml:"drain_delay"`
	// Integrations are the roles and the buckets they serve, in the file's order. At least one, unless the console may add it.
	Integrations []Integration `yaml:"integrations"`
	// Include holds patterns of further files with integrations, such as integrations.d/*.yaml, relative to the directory of the
	// configuration file. Each file is one integration or a list of them. The files follow in the order of their paths.
	Include []string `yaml:"include"`
	// Viewers says who may ask. Required: a proxy that would serve everyone must say so.
	Viewers Viewers `yaml:"viewers"`
	// CORS lets pages of other origins read answers. Optional.
	CORS *CORS `yaml:"cors"`
	// Cache bounds the two caches. Optional.
	Cache Cache `yaml:"cache"`
	// Log says what is logged, and how. Optional.
	Log Log `yaml:"log"`

	// Proxies is TrustedProxies, parsed.
	Proxies []netip.Prefix `yaml:"-"`
	// Warnings are findings that do not stop the start, each in the form of an [Error]'s text.
	Warnings []string `yaml:"-"`
}

// Integration is a role (or keys), a region, and the buckets that it serves.
type Integration struct {
	// Name is unique; it labels metrics and logs. A letter or digit, then letters, digits, '.', '_' or '-', 64 at most.
	Name string `yaml:"name"`
	// Bucket makes the integration scoped: it serves this bucket and nothing else.
	Bucket string `yaml:"bucket"`
	// PermittedBuckets makes it a default one: names, or patterns in which * stands for any run of characters.
	PermittedBuckets []string `yaml:"permitted_buckets"`
	// RoleARN is the role to assume. Optional with AccessKeyID.
	RoleARN string `yaml:"role_arn"`
	// ExternalID is sent with AssumeRole, for the role's trust policy to demand. Optional, and wise.
	ExternalID string `yaml:"external_id"`
	// SessionName is the RoleSessionName, which the bucket owner's logs show. Default s3redirect-NAME.
	SessionName string `yaml:"session_name"`
	// SessionDuration is DurationSeconds of AssumeRole, 15m to 12h on AWS. Default 1h.
	SessionDuration time.Duration `yaml:"session_duration"`
	// SessionPolicy narrows the session to reading the integration's own buckets. Default true.
	SessionPolicy bool `yaml:"session_policy"`
	// ListBucket says that the role has s3:ListBucket, for which S3 answers 404 and not 403 to a key that is not there. Default false.
	ListBucket bool `yaml:"list_bucket"`
	// Region is the buckets' region, or [RegionAuto].
	Region string `yaml:"region"`
	// FileVersioning allows ?versionId=. Default false.
	FileVersioning bool `yaml:"file_versioning"`
	// RequesterPays signs x-amz-request-payer=requester into every URL. Default false.
	RequesterPays bool `yaml:"requester_pays"`
	// ResponseCacheControl is the Cache-Control with which S3 is to answer, signed into every URL. Its ages are bounded by the
	// window. Default: the object's own.
	ResponseCacheControl string `yaml:"response_cache_control"`
	// Overrides says which response-* parameters viewers may use: [OverridesNone], [OverridesSafe] or
	// [OverridesAll]. Default OverridesSafe; so is "".
	Overrides string `yaml:"overrides"`
	// Endpoint is an S3-compatible store's URL, as browsers reach it. Default: AWS's endpoint of the bucket's region.
	Endpoint string `yaml:"endpoint"`
	// PathStyle puts the bucket in the path instead of the host name. Default false.
	PathStyle bool `yaml:"path_style"`
	// Insecure allows http:// endpoints that are not loopback. Default false.
	Insecure bool `yaml:"insecure"`
	// STSEndpoint is where AssumeRole is called. Default: AWS's regional STS.
	STSEndpoint string `yaml:"sts_endpoint"`
	// AccessKeyID and SecretAccessKey are static keys. Without RoleARN they sign the URLs; with it, AssumeRole, instead of the
	// process's own credentials.
	AccessKeyID     string `yaml:"access_key_id"`
	SecretAccessKey Secret `yaml:"secret_access_key"`
	// URLLifetime and MinRemaining default to the file's.
	URLLifetime  time.Duration `yaml:"url_lifetime"`
	MinRemaining time.Duration `yaml:"min_remaining"`

	// Origin is where the integration is configured.
	Origin Origin `yaml:"-"`
}

// Origin is a place in a configuration's files.
type Origin struct {
	File string
	Line int // from 1
	// Editable means that this program wrote the file and may change it.
	Editable bool
}

// RegionAuto is the region of an integration whose buckets' regions are found per bucket, once, and kept.
const RegionAuto = "auto"

// The values of [Integration.Overrides]: which headers of the store's answer viewers may override.
const (
	OverridesNone = "none" // none
	OverridesSafe = "safe" // those that cannot make a browser run what an object holds
	OverridesAll  = "all"  // all
)

// Buckets are the names and patterns that the integration serves.
func (i *Integration) Buckets() []string {
	if i.Bucket != "" {
		return []string{i.Bucket}
	}
	return i.PermittedBuckets
}

// HomeRegion is the integration's region, or, where that is auto, one of its partition.
func (i *Integration) HomeRegion() string {
	if i.Region != RegionAuto && i.Region != "" {
		return i.Region
	}
	if arn := strings.Split(i.RoleARN, ":"); len(arn) > 1 {
		if p, ok := partition.Named(arn[1]); ok {
			return p.Home
		}
	}
	return partition.Of("").Home
}

// Partition is the AWS partition of the integration's ARNs. Other stores call theirs aws.
func (i *Integration) Partition() string {
	if !i.IsAWS() {
		return partition.Of("").Name
	}
	return partition.Of(i.HomeRegion()).Name
}

// IsAWS reports whether the integration's buckets and STS are AWS's, not an S3-compatible store's.
func (i *Integration) IsAWS() bool { return i.Endpoint == "" && i.STSEndpoint == "" }

// Params are what every URL of the integration carries.
func (i *Integration) Params() presign.Params {
	return presign.Params{RequesterPays: i.RequesterPays, ResponseCacheControl: i.ResponseCacheControl}
}

// BucketEndpoint is where a bucket of the integration is, if it is in a region. The integration must have passed the checks.
func (i *Integration) BucketEndpoint(bucket, region string) *presign.Endpoint {
	if i.Endpoint == "" {
		return presign.NewEndpoint(region, bucket, i.PathStyle)
	}
	store, err := url.Parse(i.Endpoint)
	if err != nil {
		panic("config: an endpoint that passed no check")
	}
	return presign.NewCustomEndpoint(store, bucket, i.PathStyle)
}

// ServedBy is the integration that serves a bucket: its own before one that has a pattern.
func (c *Config) ServedBy(bucket string) (found *Integration, ok bool) {
	for n := range c.Integrations {
		i := &c.Integrations[n]
		if slices.Contains(i.Buckets(), bucket) {
			return i, true
		}
		for _, p := range i.PermittedBuckets {
			if found == nil && locator.IsPattern(p) && locator.MatchBucket(p, bucket) {
				found = i
			}
		}
	}
	return found, found != nil
}

// TLS names the files of a certificate, which are read again when they change.
type TLS struct {
	// CertFile and KeyFile are PEM files; a relative name is relative to the working directory. The certificate's chain follows it.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Cache bounds the caches, in entries.
type Cache struct {
	// URLs is how many signatures are kept. Default 65,536.
	URLs int `yaml:"urls"`
	// Credentials is for how many integrations sessions are kept. Default 1,000.
	Credentials int `yaml:"credentials"`
	// Redis is where replicas share their sessions. Optional: without it each has its own, and so its own URLs.
	Redis *Redis `yaml:"redis"`
}

// Redis is a Redis or Valkey server, its Sentinels, or a cluster.
type Redis struct {
	// URL is redis://, rediss:// (TLS), valkey:// or valkeys://, with user and password, further nodes as addr=host:port, and the
	// Sentinels' master as master_set=NAME, with sentinel_username and sentinel_password where Sentinels want them.
	URL Secret `yaml:"url"`
	// EncryptionKey seals what is stored: 32 bytes in base64. The same at all replicas.
	EncryptionKey Secret `yaml:"encryption_key"`
	// OldEncryptionKeys open what was sealed before the key was changed. Optional.
	OldEncryptionKeys []Secret `yaml:"old_encryption_keys"`
}

// Keys are the encryption key and the old ones, decoded.
func (r *Redis) Keys() (keys [][]byte) {
	for _, text := range append([]Secret{r.EncryptionKey}, r.OldEncryptionKeys...) {
		key, _ := decodeKey(text) // the checks saw to it
		keys = append(keys, key)
	}
	return keys
}

// Log says what is logged, and how.
type Log struct {
	// Level is debug, info, warn or error. Default info.
	Level slog.Level `yaml:"level"`
	// Format is json or text. Default json.
	Format string `yaml:"format"`
	// Access logs a line per request. Default false.
	Access bool `yaml:"access"`
}

// Secret is a value that no log, error or print shows. Convert it with string(s) where it is used.
type Secret string

const redacted = "[redacted]"

// Matches reports whether a text is the secret. How long it takes depends neither on where the two differ nor on the secret's length.
// The empty secret matches nothing.
func (s Secret) Matches(text string) bool {
	want, got := sha256.Sum256([]byte(s)), sha256.Sum256([]byte(text))
	return s != "" && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// String implements fmt.Stringer without the secret.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer without the secret.
func (Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer without the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler without the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
