// Package config reads the configuration: its types, its defaults, and the checks that it must pass
// before the program starts.
//
// [Load] reads a file with the files that it includes, and returns all mistakes at once, each with
// its file, line and key and with what to do. A value may contain ${NAME}, which stands for the
// environment variable NAME.
package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"s3redirect/internal/partition"
	"s3redirect/internal/presign"
)

// Config is a configuration that has passed all checks. Its fields are the keys of the file.
type Config struct {
	// Listen are the addresses that viewers connect to; see [ParseAddress]. Required.
	Listen OneOrMore[string] `yaml:"listen"`
	// ProxyProtocol requires connections to Listen to begin with a header of the PROXY protocol,
	// and to come from TrustedProxies. Default false.
	ProxyProtocol bool `yaml:"proxy_protocol"`
	// AdminListen are the addresses of the metrics, the health checks and the console. They must
	// not be public. Default 127.0.0.1:9090.
	AdminListen OneOrMore[string] `yaml:"admin_listen"`
	// Admin configures the listener at AdminListen. Optional.
	Admin Admin `yaml:"admin"`
	// PublicURL is the URL of Listen as viewers reach it, for links. Optional.
	PublicURL string `yaml:"public_url"`
	// TrustedProxies are the addresses or CIDR blocks of the reverse proxies whose X-Forwarded-For
	// is trusted for the client's address, in rate limits and the access log. [UnixProxy] stands
	// for the clients of Unix sockets. Default: viewers.forwarded.trusted_proxies.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// TLS is the certificate of Listen. Optional: without it, a reverse proxy should terminate TLS.
	TLS TLS `yaml:"tls"`
	// URLLifetime is X-Amz-Expires of presigned URLs: whole seconds, at most 7 days. Default 45m.
	URLLifetime time.Duration `yaml:"url_lifetime"`
	// MinRemaining is the minimum remaining validity of every URL that is handed out. Default 15m.
	MinRemaining time.Duration `yaml:"min_remaining"`
	// MaxSignatureAge bounds URLLifetime, for stores and policies that reject older signatures.
	// Default 0: no bound.
	MaxSignatureAge time.Duration `yaml:"max_signature_age"`
	// ReferrerPolicy is the Referrer-Policy of every response. Default no-referrer.
	ReferrerPolicy string `yaml:"referrer_policy"`
	// DrainDelay is how long viewers are served after SIGTERM has made /readyz fail, so that load
	// balancers notice. Each response closes its connection then. Default 0s.
	DrainDelay time.Duration `yaml:"drain_delay"`
	// Integrations are the roles with the buckets that they serve: those of the main file, then
	// those of the included files. At least one is required, unless the console can add it. They
	// are immutable: configurations that are loaded one after the other share what did not change.
	Integrations []*Integration `yaml:"integrations"`
	// Include holds patterns of further files with integrations, such as integrations.d/*.yaml,
	// relative to the directory of the configuration file. Each file is one integration or a list
	// of them. The files are read in the order of their paths.
	Include []string `yaml:"include"`
	// Viewers configures authentication and authorization. Required: serving everyone must be
	// stated.
	Viewers Viewers `yaml:"viewers"`
	// CORS lets pages of other origins read responses. Optional.
	CORS *CORS `yaml:"cors"`
	// Cache bounds the caches. Optional.
	Cache Cache `yaml:"cache"`
	// Log configures the log. Optional.
	Log Log `yaml:"log"`
	// Metrics configures the metrics. Optional.
	Metrics Metrics `yaml:"metrics"`

	// Proxies is TrustedProxies, parsed.
	Proxies []netip.Prefix `yaml:"-"`
	// Warnings are problems that do not prevent the start, each formatted like an [Error].
	Warnings []string `yaml:"-"`
}

// Integration is a role (or access keys), a region, and the buckets, or the prefix of one, that it
// serves.
type Integration struct {
	// Name is unique and labels metrics and logs: a letter or digit, then letters, digits, '.', '_'
	// or '-', 64 at most.
	Name string `yaml:"name"`
	// Bucket makes this a scoped integration, which serves only this bucket.
	Bucket string `yaml:"bucket"`
	// Prefix narrows the scope to the keys of Bucket that begin with it. It ends in a slash. Several
	// integrations may share a bucket: the one with the longest prefix of a key serves it, and one
	// without a prefix serves what is under no prefix. Optional.
	Prefix string `yaml:"prefix"`
	// BlockedPrefixes are prefixes of keys of Bucket that no viewer may read, whichever integration
	// serves them. Each ends in a slash and begins with Prefix. Optional.
	BlockedPrefixes []string `yaml:"blocked_prefixes"`
	// AccessPoint is the ARN of the access point through which Bucket is read. Bucket is then only
	// the name under which clients address it. Optional.
	AccessPoint string `yaml:"access_point"`
	// PermittedBuckets makes it a default integration: names, or patterns in which * matches any
	// characters.
	PermittedBuckets []string `yaml:"permitted_buckets"`
	// RoleARN is the role to assume. Optional with AccessKeyID.
	RoleARN string `yaml:"role_arn"`
	// ExternalID is sent with AssumeRole. The role's trust policy should require it. Optional.
	ExternalID string `yaml:"external_id"`
	// SessionName is the RoleSessionName, which appears in the bucket owner's logs. Default
	// s3redirect-NAME.
	SessionName string `yaml:"session_name"`
	// SessionTags are attached to each session, and TransitiveTags names those of them that further
	// sessions inherit (role chaining). SourceIdentity is the session's source identity. They appear
	// in the bucket owner's logs, and policies can require them. They never depend on the viewer.
	// Optional.
	SessionTags    map[string]string `yaml:"session_tags"`
	TransitiveTags []string          `yaml:"transitive_tags"`
	SourceIdentity string            `yaml:"source_identity"`
	// SessionDuration is DurationSeconds of AssumeRole, 15m to 12h on AWS. Default 1h.
	SessionDuration time.Duration `yaml:"session_duration"`
	// SessionPolicy limits each session to reading the integration's buckets. Default true.
	SessionPolicy bool `yaml:"session_policy"`
	// KMSKeys are the ARNs of the KMS keys that objects are encrypted with. Each session may decrypt
	// with these only. Optional; without it, a session may decrypt with all keys of its role.
	KMSKeys []string `yaml:"kms_keys"`
	// ListBucket states that the role has s3:ListBucket, so S3 answers 404 instead of 403 for a
	// missing key. Default false.
	ListBucket bool `yaml:"list_bucket"`
	// Region is the buckets' region, or [RegionAuto]. Default with Endpoint: us-east-1.
	Region string `yaml:"region"`
	// FileVersioning allows ?versionId=. Default false.
	FileVersioning bool `yaml:"file_versioning"`
	// RequesterPays signs x-amz-request-payer=requester into every URL. Default false.
	RequesterPays bool `yaml:"requester_pays"`
	// ResponseCacheControl is the Cache-Control of S3's responses, signed into every URL. Its ages
	// are at most URLLifetime - MinRemaining. Default: that of the object.
	ResponseCacheControl string `yaml:"response_cache_control"`
	// Overrides is the set of response-* parameters viewers may use: [OverridesNone],
	// [OverridesSafe] or [OverridesAll]. Default OverridesSafe; so is "".
	Overrides string `yaml:"overrides"`
	// InPlace selects documents that the proxy answers itself instead of redirecting. Optional.
	InPlace *InPlace `yaml:"in_place"`
	// ContentTypes are the Content-Types of S3's responses for keys with a suffix, such as .svg,
	// signed into their URLs. Case does not matter, and the longest suffix takes precedence.
	// Default: that of the object.
	ContentTypes map[string]string `yaml:"content_types"`
	// Endpoint is the URL of an S3-compatible store, as browsers reach it, or of one of S3's own
	// hosts (FIPS, dual-stack, VPC interface endpoint). It may have a path, which precedes the
	// bucket. Default: the AWS endpoint of the bucket's region.
	Endpoint string `yaml:"endpoint"`
	// PathStyle puts the bucket in the path instead of the host name. Default: true for buckets
	// with dots in their names at AWS and at https:// endpoints, and for those with '_', else
	// false. Names that browsers would change in a host name are always in the path.
	PathStyle bool `yaml:"path_style"`
	// DualStack, FIPS and Accelerate select among AWS's hosts; see [presign.Host]. Default false.
	DualStack  bool `yaml:"dualstack"`
	FIPS       bool `yaml:"fips"`
	Accelerate bool `yaml:"accelerate"`
	// Insecure allows http:// endpoints that are not loopback. Default false.
	Insecure bool `yaml:"insecure"`
	// STSEndpoint is the URL that AssumeRole is called at. Default: the regional STS of AWS.
	STSEndpoint string `yaml:"sts_endpoint"`
	// STSRegion is the region of the STS that AssumeRole is called at; with STSEndpoint, the region
	// that the call is signed for. Default: the process's own region if it is in the role's
	// partition, else the buckets'; with STSEndpoint the buckets'.
	STSRegion string `yaml:"sts_region"`
	// AccessKeyID and SecretAccessKey are static keys. Without RoleARN they sign the URLs; with it,
	// they sign AssumeRole instead of the process's own credentials.
	AccessKeyID     string `yaml:"access_key_id"`
	SecretAccessKey Secret `yaml:"secret_access_key"`
	// WebIdentityTokenFile is a file with the OpenID Connect token that the role is assumed with,
	// instead of credentials. It is read again for each call. Optional.
	WebIdentityTokenFile string `yaml:"web_identity_token_file"`
	// OwnCredentials makes the process's own credentials sign the URLs, without a role. Default
	// false.
	OwnCredentials bool `yaml:"own_credentials"`
	// URLLifetime, MinRemaining and MaxSignatureAge default to the file's. The integration's own
	// MaxSignatureAge lowers the file's URLLifetime, and MinRemaining to at most a third of it.
	URLLifetime     time.Duration `yaml:"url_lifetime"`
	MinRemaining    time.Duration `yaml:"min_remaining"`
	MaxSignatureAge time.Duration `yaml:"max_signature_age"`

	// HostStyle means that the file has path_style: false, so that buckets with dots in their names
	// are in the host name, too.
	HostStyle bool `yaml:"-"`
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

// RegionAuto is the region of an integration whose buckets' regions are looked up, once for each
// bucket.
const RegionAuto = "auto"

// The values of [Integration.Overrides]: which headers of the store's answer viewers may override.
const (
	OverridesNone = "none" // none
	OverridesSafe = "safe" // those that cannot make a browser execute an object
	OverridesAll  = "all"  // all
)

// Buckets returns the names and patterns that the integration serves.
func (i *Integration) Buckets() []string {
	if i.Bucket != "" {
		return []string{i.Bucket}
	}
	return i.PermittedBuckets
}

// r2Host matches the hosts of Cloudflare R2, with and without a jurisdiction.
var r2Host = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)?\.r2\.cloudflarestorage\.com$`)

// FixedRegion returns the region of all of the integration's buckets, or "" if it is looked up for
// each. R2 is never asked, because its only region is called auto.
//
// https://developers.cloudflare.com/r2/data-access/s3-api/api/
func (i *Integration) FixedRegion() string {
	if i.Region != RegionAuto {
		return i.Region
	}
	if i.isR2() {
		return RegionAuto
	}
	return ""
}

// isR2 reports whether the store is Cloudflare R2.
func (i *Integration) isR2() bool { return r2Host.MatchString(strings.ToLower(hostOf(i.Endpoint))) }

// HomeRegion returns the integration's region or, if that is auto, a region of its partition.
func (i *Integration) HomeRegion() string {
	if i.Region != RegionAuto && i.Region != "" {
		return i.Region
	}
	if p, err := presign.ParseAccessPoint(i.AccessPoint); err == nil {
		return p.Region
	}
	if arn := strings.Split(i.RoleARN, ":"); len(arn) > 1 {
		if p, ok := partition.Named(arn[1]); ok {
			return p.Home
		}
	}
	return partition.Of("").Home
}

// Partition returns the AWS partition of the integration's ARNs: the role's or, without a role, the
// region's. It is aws for other stores.
func (i *Integration) Partition() string {
	if !i.IsAWS() {
		return partition.Of("").Name
	}
	if arn := strings.Split(i.RoleARN, ":"); len(arn) > 1 {
		if p, ok := partition.Named(arn[1]); ok {
			return p.Name
		}
	}
	return partition.Of(i.HomeRegion()).Name
}

// IsAWS reports whether the store is AWS's S3 rather than an S3-compatible store: there is no
// endpoint, or it is one of S3's own hosts. STSEndpoint does not matter: S3 has AWS's partitions
// and KMS, whichever path AssumeRole takes.
func (i *Integration) IsAWS() bool {
	return i.Endpoint == "" || partition.IsS3Host(hostOf(i.Endpoint))
}

// EndpointRegion returns the region that is part of Endpoint's host at AWS, or "".
func (i *Integration) EndpointRegion() string { return partition.S3Region(hostOf(i.Endpoint)) }

// IsAWSSTS reports whether roles are assumed at AWS STS, which has AWS's grammar and bounds, rather
// than at the STS of another store.
func (i *Integration) IsAWSSTS() bool {
	return i.STSEndpoint == "" || partition.IsSTSHost(hostOf(i.STSEndpoint))
}

// STSEndpointRegion returns the region that is part of STSEndpoint's host at AWS, or "".
func (i *Integration) STSEndpointRegion() string { return partition.STSRegion(hostOf(i.STSEndpoint)) }

// LacksSTS reports whether the store has no STS, so that only access keys can sign. AWS STS's
// sessions are valid only at AWS.
func (i *Integration) LacksSTS() bool { return !i.IsAWS() && i.STSEndpoint == "" }

// hostOf returns the host of a URL without its port, or "" if the URL is invalid.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Params returns the parameters that every URL of the integration carries. Those of a key with one
// of the [Integration.ContentTypes] also carry its type.
func (i *Integration) Params() presign.Params {
	return presign.Params{RequesterPays: i.RequesterPays, ResponseCacheControl: i.ResponseCacheControl}
}

// BucketEndpoint returns the endpoint of a bucket in a region. The integration must be valid.
func (i *Integration) BucketEndpoint(bucket, region string) *presign.Endpoint {
	if i.Endpoint == "" {
		if p, err := presign.ParseAccessPoint(i.AccessPoint); err == nil {
			return p.Endpoint(i.host())
		}
		return presign.NewEndpoint(region, bucket, i.host())
	}
	store, err := url.Parse(i.Endpoint)
	if err != nil {
		panic("config: an endpoint that passed no check")
	}
	return presign.NewCustomEndpoint(store, bucket, i.usesPath(store.Scheme, bucket))
}

// Cache bounds the caches, in entries.
type Cache struct {
	// URLs is the number of signatures to keep. Default 65,536.
	URLs int `yaml:"urls"`
	// Credentials is the number of integrations whose sessions are kept. Default 1,000.
	Credentials int `yaml:"credentials"`
	// Redis is the store in which replicas share their sessions. Optional: without it each replica
	// has its own sessions, and so its own URLs.
	Redis *Redis `yaml:"redis"`
}

// Redis is a Redis or Valkey server, its Sentinels, or a cluster.
type Redis struct {
	// URL is redis://, rediss:// (TLS), valkey:// or valkeys://. Further nodes are addr=host:port;
	// with Sentinels, the master is master_set=NAME, and their credentials are sentinel_username and
	// sentinel_password. It may have the user and the password, percent-encoded.
	URL Secret `yaml:"url"`
	// Username and Password are those of an ACL user, or only the password of requirepass. Optional.
	Username string `yaml:"username"`
	Password Secret `yaml:"password"`
	// KeyPrefix precedes the names of all keys, for servers that others use too. Optional.
	KeyPrefix string `yaml:"key_prefix"`
	// TLS are the files for rediss:// and valkeys://. Optional: without it, the system's certificate
	// authorities are trusted.
	TLS *RedisTLS `yaml:"tls"`
	// IAM authenticates at Amazon ElastiCache with the process's own AWS credentials, instead of a
	// password. Optional.
	IAM *RedisIAM `yaml:"elasticache_iam"`
	// EncryptionKey encrypts what is stored: 32 bytes in base64, the same at all replicas.
	EncryptionKey Secret `yaml:"encryption_key"`
	// OldEncryptionKeys decrypt what was stored before the key was changed. Optional.
	OldEncryptionKeys []Secret `yaml:"old_encryption_keys"`
}

// RedisTLS names PEM files, relative to the working directory. They are read for each connection.
type RedisTLS struct {
	// CAFile has the certificate authorities that are trusted instead of the system's. Optional.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client's certificate. Both are optional, together.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// RedisIAM is a cache of Amazon ElastiCache and a user of it.
//
// https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
type RedisIAM struct {
	// Cache is the name of the replication group or of the serverless cache, User the ID and the name
	// of the user, and Region the cache's region. All are required.
	Cache  string `yaml:"cache"`
	User   string `yaml:"user"`
	Region string `yaml:"region"`
	// Serverless means that Cache is a serverless cache. Default false.
	Serverless bool `yaml:"serverless"`
}

// Keys returns the encryption key and the old ones, decoded.
func (r *Redis) Keys() (keys [][]byte) {
	for _, text := range append([]Secret{r.EncryptionKey}, r.OldEncryptionKeys...) {
		key, _ := decodeKey(text) // checkRedis has validated it
		keys = append(keys, key)
	}
	return keys
}

// Log configures the log.
type Log struct {
	// Level is debug, info, warn or error. Default info.
	Level slog.Level `yaml:"level"`
	// Format is json or text. Default json.
	Format string `yaml:"format"`
	// Access logs a line for each request. Default false.
	Access bool `yaml:"access"`
	// AccessFormat is the format of these lines: json, text or combined, which is Apache's. Default
	// Format.
	AccessFormat string `yaml:"access_format"`
	// Audit is where a line is written for each URL that is handed out: [AuditStdout] or the
	// absolute path of a file. Optional.
	Audit string `yaml:"audit"`
}

// AuditStdout is the value of [Log.Audit] for standard output.
const AuditStdout = "stdout"

// Secret is a value that is never logged, printed or part of an error. Convert it with string(s)
// where it is used.
type Secret string

const redacted = "[redacted]"

// Matches reports whether text is the secret, in constant time. The empty secret matches nothing.
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
