package integration

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"s3redirect/internal/presign"
	"s3redirect/metrics"
)

// Shared is a store that the replicas of the proxy share. Its methods are safe for concurrent use.
// An error other than [ErrNotStored] and [ErrNotAuthentic] means that the store is unreachable.
type Shared interface {
	// Get returns the value stored under a name. The error is [ErrNotStored] if there is none, and
	// [ErrNotAuthentic] if the value was not written by a replica under this name.
	Get(ctx context.Context, name string) ([]byte, error)
	// Add stores a value for a time unless the name is taken. It reports whether it did.
	Add(ctx context.Context, name string, value []byte, ttl time.Duration) (stored bool, err error)
	// Delete removes the value stored under a name, if there is one.
	Delete(ctx context.Context, name string) error
	// Lease takes a name for a time unless it is taken. It reports whether it did; release ends the
	// lease.
	Lease(ctx context.Context, name string, ttl time.Duration) (release func(), ok bool, err error)
}

// The errors of [Shared.Get].
var (
	ErrNotStored    = errors.New("no value is stored under this name")
	ErrNotAuthentic = errors.New("the stored value was altered, or encrypted with an unknown key")
)

const (
	// leaseTTL bounds how long a replica that dies during a call to STS blocks the others. If a
	// call takes longer, a second replica calls STS as well, and all use the session that is stored
	// first.
	leaseTTL = 3 * time.Second
	// leasePoll is the interval at which waiting replicas look for the session.
	leasePoll = 100 * time.Millisecond
	// leaseWait bounds how long they wait: a lease that is still held then is not a replica's.
	leaseWait = 2 * leaseTTL
	// purgeGrace is the time that purging all replicas one after the other may take: a session
	// issued within it was assumed by a replica that had been purged already.
	purgeGrace = time.Minute
)

// Why the shared store did not yield a session, beside [ErrNotStored].
var (
	// errUnusableSession means that the stored session must be replaced.
	errUnusableSession = errors.New("the stored session is unusable")
	// errIssuedInFuture means that this replica cannot use the stored session, while others can.
	errIssuedInFuture = errors.New("issued in the future; check the replicas' clocks")
	// errStoreUnreachable means that the window has not begun and the store should be tried again.
	errStoreUnreachable = errors.New("the shared store is unreachable")
)

// sharedStore is the store as one process sees it: the health of the store is logged when it
// changes, not for each integration and call.
type sharedStore struct {
	Shared
	unreachable atomic.Bool // the last operation failed
	corrupt     atomic.Bool // a value was rejected, and none has been accepted since
}

// fleet obtains the sessions of one integration together with the other replicas: one of them
// assumes the role, and all use its session. It holds no state of its own.
type fleet struct {
	store   *sharedStore
	plan    *plan
	clock   func() time.Time
	log     *slog.Logger
	metrics *metrics.Integration

	// assume gets a session for a window from STS.
	assume func(ctx context.Context, index int64) (*session, error)
	// accepts reports whether a stored session may be used at an instant.
	accepts func(s *session, now time.Time) bool
}

// fleet returns the fleet that the keeper shares its sessions with. There must be a shared store.
func (k *keeper) fleet() *fleet {
	return &fleet{
		store:   k.pool.store,
		plan:    &k.plan,
		clock:   k.clock,
		log:     k.log(),
		metrics: k.metrics,
		assume:  k.assumeRole,
		accepts: k.accepts,
	}
}

// sharedSession is the stored form of a session. Times are Unix seconds.
type sharedSession struct {
	Window          int64  `json:"window"`
	Issued          int64  `json:"issued"`
	Expires         int64  `json:"expires"`
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"session_token"`
}

// sharedName returns the name under which a window's session is stored. It is the same on all
// replicas whose configuration of the integration is the same. The secret key is not hashed, or a
// reader of the names could test guesses of it. The phase depends on the secret key, though, and so
// the window's start is hashed.
func (k *keeper) sharedName(index int64) string {
	public := *k.config
	public.SecretAccessKey = ""
	id := identityOf(&public, k.sessionPolicy())
	start := uint64(k.plan.start(index).Unix())
	digest := sha256.Sum256(binary.BigEndian.AppendUint64(id[:], start))
	return "s3redirect:session:" + hex.EncodeToString(digest[:])
}

// obtain returns a window's session, which is stored under name or will be.
func (f *fleet) obtain(ctx context.Context, name string, index int64) (*session, error) {
	enough := time.NewTimer(leaseWait)
	defer enough.Stop()
	for {
		var leased bool
		var release func()
		s, err := f.lookup(ctx, name, index)
		if isVacant(err) {
			release, leased, err = f.store.Lease(ctx, name+":lease", leaseTTL)
		}
		switch {
		case s != nil:
			return s, nil
		case err != nil:
			return f.assumeAlone(ctx, index, err)
		case leased:
			defer release()
			return f.assumeForAll(ctx, name, index)
		}
		select {
		case <-time.After(leasePoll):
		case <-enough.C:
			return f.assumeForAll(ctx, name, index)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// assumeAlone returns a session of this replica's own, because the stored one is unusable here or
// the store is unreachable. Until shortly before the window begins, there is time to try the store
// again.
func (f *fleet) assumeAlone(ctx context.Context, index int64, err error) (*session, error) {
	if errors.Is(err, errIssuedInFuture) {
		f.log.Warn("shared session not used; this replica uses its own in this window",
			"error", err.Error())
		return f.assume(ctx, index)
	}
	f.noteFailure(ctx, err)
	if ctx.Err() == nil && f.clock().Before(f.plan.start(index).Add(-f.plan.prefetchLead/4)) {
		return nil, errStoreUnreachable
	}
	return f.assume(ctx, index)
}

// lookup returns the stored session of a window. The error is [ErrNotStored], errUnusableSession,
// errIssuedInFuture, or the store's.
func (f *fleet) lookup(ctx context.Context, name string, index int64) (*session, error) {
	value, err := f.store.Get(ctx, name)
	var got sharedSession
	switch {
	case errors.Is(err, ErrNotStored):
		f.metrics.SharedSession("miss")
		return nil, err
	case err == nil && json.Unmarshal(value, &got) == nil && got.Window == index:
	case err == nil || errors.Is(err, ErrNotAuthentic):
		return nil, f.reject("altered, or encrypted with an unknown key")
	default:
		return nil, err
	}
	s := &session{
		window:  index,
		issued:  time.Unix(got.Issued, 0).UTC(),
		expires: time.Unix(got.Expires, 0).UTC(),
		credentials: presign.Credentials{
			AccessKeyID:     got.AccessKeyID,
			SecretAccessKey: got.SecretAccessKey,
			SessionToken:    got.SessionToken,
		},
	}
	now := f.clock()
	w, at := f.plan.newWindow(index, s, 0), later(now, f.plan.start(index))
	switch {
	case w.SignedAt.Sub(at) > maxSkew:
		return nil, errIssuedInFuture
	case !w.usable(at) || s.expires.Sub(now) < 2*f.plan.floor ||
		got.AccessKeyID == "" || got.SecretAccessKey == "":
		return nil, f.reject("expired, about to expire, or without a key")
	case !f.accepts(s, now):
		f.metrics.SharedSession("miss")
		return nil, errUnusableSession
	}
	f.noteSuccess()
	f.metrics.SharedSession("hit")
	return s, nil
}

// isVacant reports whether a lookup's error means that a session may be stored.
func isVacant(err error) bool {
	return errors.Is(err, ErrNotStored) || errors.Is(err, errUnusableSession)
}

// assumeForAll assumes the role and stores the session. If another replica has stored one first, it
// returns that one.
func (f *fleet) assumeForAll(ctx context.Context, name string, index int64) (*session, error) {
	// A lease does not mean that the name is still vacant:
	//
	//	1: lookup: not stored
	//	2: lookup: not stored
	//	2: Lease: ok
	//	2: assumes the role, Add, release
	//	1: Lease: ok
	//
	// Without a second lookup both replicas would call STS.
	if theirs, err := f.lookup(ctx, name, index); err == nil {
		return theirs, nil
	}
	s, err := f.assume(ctx, index)
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(sharedSession{
		Window:          index,
		Issued:          s.issued.Unix(),
		Expires:         s.expires.Unix(),
		AccessKeyID:     s.credentials.AccessKeyID,
		SecretAccessKey: s.credentials.SecretAccessKey,
		SessionToken:    s.credentials.SessionToken,
	})
	if err != nil {
		return nil, err // strings and numbers always marshal
	}
	for range 2 {
		stored, err := f.store.Add(ctx, name, value, s.expires.Sub(f.clock()))
		if err == nil && stored {
			f.noteSuccess()
			f.metrics.SharedSession("stored")
			return s, nil
		}
		if err == nil {
			var theirs *session
			if theirs, err = f.lookup(ctx, name, index); err == nil {
				return theirs, nil
			}
		}
		// Only the holder of the lease deletes. If every replica that finds an unusable value did:
		//
		//	1: lookup: unusable
		//	2: lookup: unusable
		//	2: Delete, Lease, Add: the name holds a good session
		//	1: Delete: removes that session
		if isVacant(err) {
			err = f.store.Delete(ctx, name)
		}
		if err != nil {
			f.noteFailure(ctx, err)
			break
		}
	}
	return s, nil
}

// reject counts a stored session that must not be used, and logs the first.
func (f *fleet) reject(reason string) error {
	f.metrics.SharedSession("refused")
	if !f.store.corrupt.Swap(true) {
		f.log.Warn("shared session rejected; replacing it", "reason", reason)
	}
	return errUnusableSession
}

// noteFailure counts a failed operation of the store, and logs the first. The client's errors name
// the server, never a value.
func (f *fleet) noteFailure(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // Close has ended the operation, or its time is up
	}
	f.metrics.SharedSession("error")
	if !f.store.unreachable.Swap(true) {
		f.log.Warn("shared store unreachable; replicas use their own sessions and URLs meanwhile",
			"error", truncate(err))
	}
}

// noteSuccess logs that the store is reachable again, if it was not.
func (f *fleet) noteSuccess() {
	f.store.corrupt.Store(false)
	if f.store.unreachable.Swap(false) {
		f.log.Info("shared store reachable again; sessions are shared from the next window on")
	}
}
