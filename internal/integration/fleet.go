package integration

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"s3redirect/cache"
	"s3redirect/internal/presign"
)

// Shared is where replicas find each other's sessions. [cache.Vault] implements it, with the meaning of its methods and errors.
type Shared interface {
	Get(ctx context.Context, name string) ([]byte, error)
	Add(ctx context.Context, name string, value []byte, lives time.Duration) (stored bool, err error)
	Delete(ctx context.Context, name string) error
	Lease(ctx context.Context, name string, lives time.Duration) (giveBack func(), ok bool, err error)
}

const (
	// leaseTime is how long a replica that died while it asked STS keeps the others waiting. A call that takes longer has a second replica
	// ask, too; the session that is stored first is everybody's.
	leaseTime = 3 * time.Second
	// leasePoll is how often those who wait look whether the session is there.
	leasePoll = 100 * time.Millisecond
	// leasePatience is how long they do: a lease that does not end is no replica's.
	leasePatience = 2 * leaseTime
	// purgeGrace is how long it may take to purge all replicas, one after the other: what one of them had assumed since then is new.
	purgeGrace = time.Minute
)

// fleet is the replicas' common store, as the sets of one process see it. What is wrong with it is logged once, until it is well again.
type fleet struct {
	Shared
	away     atomic.Bool // it failed the last time
	polluted atomic.Bool // it had something that was refused
}

// Why nothing was found in the common store, beside [cache.ErrNotInVault] and that it could not be asked.
var (
	errUseless   = errors.New("what is stored is of no use to anybody")
	errFromAhead = errors.New("the session was issued too far in our future: is the clock of every replica right?")
	// errAway is not a failure: the window is not there yet, and the store may be back before it is.
	errAway = errors.New("the replicas' common store cannot be had, and there is time to ask it again")
)

// sharedSession is a session as replicas hand it to each other. Times are Unix seconds.
type sharedSession struct {
	Window          int64  `json:"window"`
	Issued          int64  `json:"issued"`
	Expires         int64  `json:"expires"`
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"session_token"`
}

// sharedName is where a window's session is: whoever has the same configuration of the integration looks there. The secret key is
// not part of it, or who reads the names could try secrets; but the window's start is, which depends on it.
func (i *Integration) sharedName(index int64) string {
	public := *i.config
	public.SecretAccessKey = ""
	id := identityOf(&public, i.sessionPolicy)
	digest := sha256.Sum256(binary.BigEndian.AppendUint64(id[:], uint64(i.plan.start(index).Unix())))
	return "s3redirect:session:" + hex.EncodeToString(digest[:])
}

// obtain is a window's session: that which another replica has assumed already, or one of our own, for all.
func (i *Integration) obtain(ctx context.Context, index int64) (*session, error) {
	if i.fleet == nil {
		return i.assumeRole(ctx, index)
	}
	name := i.sharedName(index)
	patience := time.NewTimer(leasePatience)
	defer patience.Stop()
	for {
		var leased bool
		var giveBack func()
		s, err := i.fromFleet(ctx, name, index)
		if isVacant(err) {
			giveBack, leased, err = i.fleet.Lease(ctx, name+":lease", leaseTime)
		}
		switch {
		case s != nil:
			return s, nil
		case err != nil:
			return i.alone(ctx, index, err)
		case leased:
			defer giveBack()
			return i.forAll(ctx, name, index)
		}
		select {
		case <-time.After(leasePoll):
		case <-patience.C:
			return i.forAll(ctx, name, index)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// alone is a session of our own, since the common store is of no help. Ahead of the window there is time to see whether it comes back.
func (i *Integration) alone(ctx context.Context, index int64, err error) (*session, error) {
	if errors.Is(err, errFromAhead) {
		i.log.Warn("this replica goes on alone in this window", "error", err.Error())
		return i.assumeRole(ctx, index)
	}
	i.fleetFailed(ctx, err)
	if ctx.Err() == nil && i.clock().Before(i.plan.start(index).Add(-i.plan.lead/4)) {
		return nil, errAway
	}
	return i.assumeRole(ctx, index)
}

// fromFleet looks for a window's session. Without one, the error says why.
func (i *Integration) fromFleet(ctx context.Context, name string, index int64) (*session, error) {
	value, err := i.fleet.Get(ctx, name)
	var got sharedSession
	switch {
	case errors.Is(err, cache.ErrNotInVault):
		i.Metrics.SharedSession("miss")
		return nil, err
	case err == nil && json.Unmarshal(value, &got) == nil && got.Window == index:
	case err == nil || errors.Is(err, cache.ErrNotGenuine):
		return nil, i.refuse("it was changed, or sealed with another key")
	default:
		return nil, err
	}
	s := &session{window: index, issued: time.Unix(got.Issued, 0).UTC(), expires: time.Unix(got.Expires, 0).UTC(),
		credentials: presign.Credentials{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.SessionToken}}
	now := i.clock()
	w, at := i.plan.newWindow(index, s, 0), later(now, i.plan.start(index))
	switch {
	case w.SignedAt.Sub(at) > maxSkew:
		return nil, errFromAhead // others may well use it
	case !w.usable(at) || s.expires.Sub(now) < 2*i.plan.floor || got.AccessKeyID == "" || got.SecretAccessKey == "":
		return nil, i.refuse("it is too old")
	case !i.wants(s, now):
		i.Metrics.SharedSession("miss")
		return nil, errUseless
	}
	i.fleetWorks()
	i.Metrics.SharedSession("hit")
	return s, nil
}

// wants tells whether a shared session is neither purged nor one that we have already: who looks for a window's session while having
// one wants a longer one.
func (i *Integration) wants(s *session, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	had := func(old *session) bool { return old.window == s.window && !s.expires.After(old.expires) }
	return s.issued.After(i.notBefore) && !slices.Contains(i.purged, s.credentials.AccessKeyID) && !slices.ContainsFunc(i.held(now), had)
}

// isVacant tells whether a session may be stored where none was found.
func isVacant(err error) bool {
	return errors.Is(err, cache.ErrNotInVault) || errors.Is(err, errUseless)
}

// forAll assumes the role and lets the others have the session. If one of them was quicker, its session is everybody's.
func (i *Integration) forAll(ctx context.Context, name string, index int64) (*session, error) {
	// Between our look and our lease somebody else may have had both.
	if theirs, err := i.fromFleet(ctx, name, index); err == nil {
		return theirs, nil
	}
	s, err := i.assumeRole(ctx, index)
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(sharedSession{Window: index, Issued: s.issued.Unix(), Expires: s.expires.Unix(),
		AccessKeyID: s.credentials.AccessKeyID, SecretAccessKey: s.credentials.SecretAccessKey, SessionToken: s.credentials.SessionToken})
	if err != nil {
		return nil, err // strings and numbers always marshal
	}
	for range 2 {
		stored, err := i.fleet.Add(ctx, name, value, s.expires.Sub(i.clock()))
		if err == nil && stored {
			i.fleetWorks()
			i.Metrics.SharedSession("stored")
			return s, nil
		}
		if err == nil {
			var theirs *session
			if theirs, err = i.fromFleet(ctx, name, index); err == nil {
				return theirs, nil
			}
		}
		// Only here is anything removed, by who has the lease: elsewhere it could be what another has just stored.
		if isVacant(err) {
			err = i.fleet.Delete(ctx, name)
		}
		if err != nil {
			i.fleetFailed(ctx, err)
			break
		}
	}
	return s, nil
}

// refuse notes that something in the common store is not used.
func (i *Integration) refuse(why string) error {
	i.Metrics.SharedSession("refused")
	if !i.fleet.polluted.Swap(true) {
		i.log.Warn("a session that replicas share is refused, and replaced", "reason", why)
	}
	return errUseless
}

// fleetFailed says once that each replica is alone, and fleetWorks that it is so no longer. What the client's errors say is of the
// server, and never of a value.
func (i *Integration) fleetFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // it is we who end
	}
	i.Metrics.SharedSession("error")
	if !i.fleet.away.Swap(true) {
		i.log.Warn("the replicas' common store cannot be had: meanwhile each goes on alone, with sessions and URLs of its own", "error", oneLine(err))
	}
}

func (i *Integration) fleetWorks() {
	i.fleet.polluted.Store(false)
	if i.fleet.away.Swap(false) {
		i.log.Info("the replicas' common store is back: the next windows' sessions are shared again")
	}
}
