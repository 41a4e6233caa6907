// Package fakeaws is a stand-in for an AWS account: an S3 endpoint that verifies presigned URLs and
// an STS endpoint that implements AssumeRole, over users, roles, sessions and buckets held in
// memory. The demo serves it, and tests use it as their double of S3 and STS.
//
// The endpoints refuse what the real services refuse, in the same order, with the same error codes
// and XML. The package never logs. No error or panic contains a secret key, a token or a signature.
package fakeaws

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"s3redirect/internal/locator"
)

// User is an IAM user with a long-lived access key.
type User struct {
	AccessKeyID     string
	SecretAccessKey string
	ARN             string   // Optional. Default: arn:aws:iam::000000000000:user/demo
	Buckets         []string // Patterns of buckets it may list and read, all versions. Optional.
	MayNotAssume    bool     // The user's own policy does not allow sts:AssumeRole.
}

// Role is an IAM role: its trust policy and its permissions.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html
type Role struct {
	ARN         string
	ExternalID  string        // The external ID callers must send. Optional.
	Trusts      []string      // Who may assume it: users' access key IDs, ARNs of roles.
	Buckets     []string      // Patterns of the buckets it has s3:GetObject on.
	List        bool          // It has s3:ListBucket: a missing key is 404 instead of 403.
	Versions    bool          // It has s3:GetObjectVersion.
	KMSKeys     []string      // Keys it has kms:Decrypt on.
	MinDuration time.Duration // Shortest session. Default: 15m, as at AWS.
	MaxDuration time.Duration // Longest session. Default: 1h, as at AWS.
	// Its trust policy allows sts:TagSession and sts:SetSourceIdentity.
	TagSession, SetSourceIdentity bool
}

// Object is one version of an object. Data is not copied, so the caller must not change it.
type Object struct {
	ContentType string // Default: binary/octet-stream, as at S3.
	Data        []byte
	KMSKey      string    // The key the object is encrypted with (SSE-KMS). Optional.
	Modified    time.Time // Default: now.
}

// Calls counts the requests to the two endpoints.
type Calls struct {
	AssumeRole       uint64            // AssumeRole calls, successful or not
	AssumeRoleByRole map[string]uint64 // AssumeRole calls by role ARN, for roles that exist
	Sessions         uint64            // sessions issued
	S3Served         uint64            // GET and HEAD answered with 200, 206 or 304
	S3Refused        uint64            // GET and HEAD answered with any other status
}

// Cloud is a stand-in for an AWS account and the accounts it works with. Its methods are safe for
// concurrent use. Changes take effect at once, also for sessions and URLs already issued.
type Cloud struct {
	clock func() time.Time
	// maxAge and random are set before the first request.
	maxAge time.Duration // see [Cloud.LimitSignatureAge]; 0 means no limit
	random io.Reader     // see [Cloud.SetRandom]; concurrent calls are serialized by randomMu

	randomMu  sync.Mutex
	mu        sync.Mutex          // guards all fields below
	users     map[string]User     // by access key ID
	roles     map[string]Role     // by ARN
	sessions  map[string]*session // by access key ID
	buckets   map[string]*bucket  // by name
	calls     Calls
	intercept func(*AssumeRoleCall) error
}

// session is a session that AssumeRole issued. Only revoked changes; Cloud.mu guards it.
type session struct {
	accessKeyID, secret, token string
	roleARN, name              string
	policy                     *policyDocument // session policy; nil if none was passed
	expires                    time.Time
	revoked                    bool
}

type bucket struct {
	region  string
	objects map[string][]version // by key, oldest first
	cors    *CORS                // nil if the bucket has no CORS configuration

	unversioned bool // see [Cloud.SuspendVersions]
}

type version struct {
	Object
	id, etag string
}

// NewCloud returns an empty account that reads the time from clock.
func NewCloud(clock func() time.Time) *Cloud {
	return &Cloud{
		clock:    clock,
		random:   rand.Reader,
		users:    map[string]User{},
		roles:    map[string]Role{},
		sessions: map[string]*session{},
		buckets:  map[string]*bucket{},
		calls:    Calls{AssumeRoleByRole: map[string]uint64{}},
	}
}

// SetRandom makes random the source of sessions' keys and tokens, and of version IDs, instead of
// crypto/rand. Equal bytes give equal sessions. It must be called before the first request.
func (c *Cloud) SetRandom(random io.Reader) { c.random = random }

// LimitSignatureAge makes S3 refuse signatures that are older than age, as a bucket policy with the
// condition key s3:signatureAge does. It must be called before the first request.
// https://docs.aws.amazon.com/AmazonS3/latest/API/bucket-policy-s3-sigv4-conditions.html
func (c *Cloud) LimitSignatureAge(age time.Duration) { c.maxAge = age }

// Session describes a session that AssumeRole issued.
type Session struct {
	RoleARN         string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time
	Revoked         bool
}

// Session returns the session with an access key ID, and reports whether it is known. Sessions are
// forgotten a day after they have expired.
func (c *Cloud) Session(accessKeyID string) (Session, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sessions[accessKeyID]
	if !ok {
		return Session{}, false
	}
	return Session{
		RoleARN:         s.roleARN,
		SecretAccessKey: s.secret,
		SessionToken:    s.token,
		Expires:         s.expires,
		Revoked:         s.revoked,
	}, true
}

// read fills b with random bytes.
func (c *Cloud) read(b []byte) []byte {
	c.randomMu.Lock()
	defer c.randomMu.Unlock()
	if _, err := io.ReadFull(c.random, b); err != nil {
		panic("fakeaws: the source of randomness failed: " + err.Error())
	}
	return b
}

// text returns n random characters that AWS's identifiers have, at most 26.
func (c *Cloud) text(n int) string {
	return base32.StdEncoding.EncodeToString(c.read(make([]byte, 17)))[:n]
}

// AddUser adds a user, or replaces the one with the same access key ID.
func (c *Cloud) AddUser(u User) {
	if u.ARN == "" {
		u.ARN = "arn:aws:iam::000000000000:user/demo"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users[u.AccessKeyID] = u
}

// AddRole adds a role, or replaces the one with the same ARN.
func (c *Cloud) AddRole(r Role) {
	if r.MinDuration == 0 {
		r.MinDuration = 15 * time.Minute
	}
	if r.MaxDuration == 0 {
		r.MaxDuration = time.Hour
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roles[r.ARN] = r
}

// RemoveRole deletes a role. S3 refuses its sessions from then on.
func (c *Cloud) RemoveRole(roleARN string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.roles, roleARN)
}

// CreateBucket creates a bucket. If the bucket exists, it keeps its objects and moves to region.
func (c *Cloud) CreateBucket(name, region string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.buckets[name]; b != nil {
		b.region = region
		return
	}
	c.buckets[name] = &bucket{region: region, objects: map[string][]version{}, cors: allowAll}
}

// SetCORS replaces a bucket's CORS configuration; nil removes it. A new bucket allows all origins.
func (c *Cloud) SetCORS(name string, rule *CORS) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buckets[name].cors = rule
}

// SuspendVersions stops S3 from returning version IDs for a bucket.
func (c *Cloud) SuspendVersions(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buckets[name].unversioned = true
}

// Put stores an object as the newest version of its key and returns the version ID. It panics if
// the bucket does not exist.
func (c *Cloud) Put(l locator.Locator, o Object) (versionID string) {
	if o.Modified.IsZero() {
		o.Modified = c.clock()
	}
	if o.ContentType == "" {
		o.ContentType = "binary/octet-stream"
	}
	// The ETag is the MD5 of the data.
	// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
	sum := md5.Sum(o.Data)
	v := version{Object: o, id: c.text(26), etag: `"` + hex.EncodeToString(sum[:]) + `"`}

	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.buckets[l.Bucket]
	if b == nil {
		panic("fakeaws: Put into missing bucket " + l.Bucket + "; call CreateBucket first")
	}
	b.objects[l.Key] = append(b.objects[l.Key], v)
	return v.id
}

// Calls returns the counts so far.
func (c *Cloud) Calls() Calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	calls.AssumeRoleByRole = maps.Clone(calls.AssumeRoleByRole)
	return calls
}

// Intercept registers f to be called for each AssumeRole call that passed all checks, before its
// session is issued, in the goroutine of the call. f may block, return a [*Fault] to send instead,
// or set the session's expiry. nil removes f.
func (c *Cloud) Intercept(f func(*AssumeRoleCall) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.intercept = f
}

// RevokeSessions makes S3 refuse all sessions of a role issued so far, as the
// AWSRevokeOlderSessions policy does.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
func (c *Cloud) RevokeSessions(roleARN string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		s.revoked = s.revoked || s.roleARN == roleARN
	}
}

// addSession stores a session and deletes those that expired more than a day ago.
func (c *Cloud) addSession(s *session) {
	yesterday := c.clock().Add(-24 * time.Hour)
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.sessions, func(_ string, old *session) bool {
		return old.expires.Before(yesterday)
	})
	c.sessions[s.accessKeyID] = s
	c.calls.Sessions++
}

// versions returns a copy of a key's versions, newest last.
func (c *Cloud) versions(bucket, key string) []version {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.buckets[bucket]; b != nil {
		return slices.Clone(b.objects[key])
	}
	return nil
}

// bucket returns a copy of a bucket's settings and reports whether it exists.
func (c *Cloud) bucket(name string) (b bucket, exists bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.buckets[name]; found != nil {
		return *found, true
	}
	return bucket{}, false
}
