// Package fakeaws is a stand-in for an AWS account, for the demo and for tests: an S3 that verifies every signature, and an
// STS that checks role, caller, external ID and duration.
//
// The stand-ins refuse what the real services refuse, in the same order, with the same codes and XML. Nothing here logs, and
// no error or panic holds a secret key, a token or a signature.
package fakeaws

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
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
	Buckets         []string // Patterns of the buckets it may itself list and read, all versions. Optional.
	MayNotAssume    bool     // Its own policy does not allow sts:AssumeRole.
}

// Role is an IAM role: its trust policy and what it may read.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html
type Role struct {
	ARN         string
	ExternalID  string        // What callers must show. Optional: without it any or none will do.
	Trusts      []string      // Who may assume it: access key IDs of users, ARNs of roles (chaining).
	Buckets     []string      // Patterns of the buckets that it may s3:GetObject from.
	List        bool          // It has s3:ListBucket too: a missing key is 404, not 403.
	Versions    bool          // It has s3:GetObjectVersion too.
	KMSKeys     []string      // Keys that it may kms:Decrypt with.
	MinDuration time.Duration // Shortest session. Default: 15m, AWS's.
	MaxDuration time.Duration // Longest session. Default: 1h, AWS's.
}

// Object is what a bucket holds under a key. Its data is kept, not copied.
type Object struct {
	ContentType string // Default: binary/octet-stream, S3's.
	Data        []byte
	KMSKey      string    // The key that it is encrypted with (SSE-KMS). Optional.
	Modified    time.Time // Default: now.
}

// Calls counts what the two endpoints were asked.
type Calls struct {
	AssumeRole       uint64            // calls of AssumeRole, whatever became of them
	AssumeRoleByRole map[string]uint64 // the same by ARN, for roles that exist
	Sessions         uint64            // sessions issued
	S3Served         uint64            // GET and HEAD answered with 200, 206 or 304
	S3Refused        uint64            // GET and HEAD answered with anything else
}

// Cloud is a make-believe AWS account and its neighbours: users, roles, sessions and buckets, behind an S3 and an STS
// endpoint. All methods are safe for concurrent use. Changes are seen at once, also by sessions and URLs already issued.
type Cloud struct {
	clock func() time.Time

	mu        sync.Mutex
	users     map[string]User     // by access key ID
	roles     map[string]Role     // by ARN
	sessions  map[string]*session // by access key ID
	buckets   map[string]*bucket  // by name
	calls     Calls
	intercept func(*AssumeRoleCall) error
}

// session is what AssumeRole issued. Only revoked changes, under the Cloud's lock.
type session struct {
	accessKeyID, secret, token string
	roleARN, name              string
	policy                     *policyDocument // nil: the role's own rights
	expires                    time.Time
	revoked                    bool
}

type bucket struct {
	region  string
	objects map[string][]version // by key, oldest first
	cors    *CORS                // nil: none
	plain   bool                 // without versions: see [Cloud.SuspendVersions]
}

type version struct {
	Object
	id, etag string
}

// NewCloud returns an empty account whose time is clock's.
func NewCloud(clock func() time.Time) *Cloud {
	return &Cloud{
		clock:    clock,
		users:    map[string]User{},
		roles:    map[string]Role{},
		sessions: map[string]*session{},
		buckets:  map[string]*bucket{},
		calls:    Calls{AssumeRoleByRole: map[string]uint64{}},
	}
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

// RemoveRole deletes a role. Its sessions are worth nothing from then on.
func (c *Cloud) RemoveRole(roleARN string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.roles, roleARN)
}

// CreateBucket makes a bucket. One that exists keeps what it holds and moves to the region.
func (c *Cloud) CreateBucket(name, region string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.buckets[name]; b != nil {
		b.region = region
		return
	}
	c.buckets[name] = &bucket{region: region, objects: map[string][]version{}, cors: everyone}
}

// SetCORS replaces a bucket's CORS configuration; a new bucket lets every page read. nil removes it.
func (c *Cloud) SetCORS(name string, rule *CORS) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buckets[name].cors = rule
}

// SuspendVersions makes a bucket one that tells no versions.
func (c *Cloud) SuspendVersions(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buckets[name].plain = true
}

// Put stores an object as the newest version of its key and returns the version's ID. The bucket must exist.
func (c *Cloud) Put(l locator.Locator, o Object) (versionID string) {
	if o.Modified.IsZero() {
		o.Modified = c.clock()
	}
	if o.ContentType == "" {
		o.ContentType = "binary/octet-stream"
	}
	sum := md5.Sum(o.Data) // what S3's ETag is; https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
	v := version{Object: o, id: rand.Text(), etag: `"` + hex.EncodeToString(sum[:]) + `"`}

	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.buckets[l.Bucket]
	if b == nil {
		panic("fakeaws: Put into a bucket that was not created: " + l.Bucket)
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

// Intercept has f called for each AssumeRole call that would succeed, before its session is made, from the call's own
// goroutine. f may wait, return a [*Fault] to be answered instead, or change the session's expiry. nil removes it.
func (c *Cloud) Intercept(f func(*AssumeRoleCall) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.intercept = f
}

// RevokeSessions makes S3 refuse the sessions of a role that were issued before now, as the AWSRevokeOlderSessions policy does.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
func (c *Cloud) RevokeSessions(roleARN string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		s.revoked = s.revoked || s.roleARN == roleARN
	}
}

// remember keeps a session, and forgets those that expired a day ago.
func (c *Cloud) remember(s *session) {
	yesterday := c.clock().Add(-24 * time.Hour)
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.sessions, func(_ string, old *session) bool { return old.expires.Before(yesterday) })
	c.sessions[s.accessKeyID] = s
	c.calls.Sessions++
}

// find returns a copy of a bucket's name and a key's versions, newest last.
func (c *Cloud) find(name, key string) (versions []version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.buckets[name]; b != nil {
		return slices.Clone(b.objects[key])
	}
	return nil
}

// bucketOf returns a copy of what is known of a bucket; exists tells whether there is one.
func (c *Cloud) bucketOf(name string) (b bucket, exists bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.buckets[name]; found != nil {
		return *found, true
	}
	return bucket{}, false
}

// region returns where a bucket is; exists tells whether it is.
func (c *Cloud) region(name string) (region string, exists bool) {
	b, exists := c.bucketOf(name)
	return b.region, exists
}
