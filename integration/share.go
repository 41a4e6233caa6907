package integration

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"s3redirect/cache"
	"s3redirect/presign"
)

// Shared is where replicas find each other's sessions. [cache.Vault] implements it, with the meaning of its methods and errors.
type Shared interface {
	Get(ctx context.Context, name string) ([]byte, error)
	Add(ctx context.Context, name string, value []byte, lives time.Duration) (stored bool, err error)
	Delete(ctx context.Context, name string) error
	Lease(ctx context.Context, name string, lives time.Duration) (giveBack func(), ok bool, err error)
}

const (
	// leaseTime is how long the others wait for a replica that asks STS, and then died: its call takes less.
	leaseTime = 3 * time.Second
	// leasePoll is how often those who wait look whether the session is there.
	leasePoll = 100 * time.Millisecond
)

// fleet is the replicas' common store, as the sets of one process see it.
type fleet struct {
	Shared
	away atomic.Bool // it failed the last time
}

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

// obtain is a window's session: that which another replica has assumed already, or one of our own, for all. Where the common store
// cannot be had, each replica goes on alone.
func (i *Integration) obtain(ctx context.Context, index int64) (*session, error) {
	if i.fleet == nil {
		return i.assumeRole(ctx, index)
	}
	name := i.sharedName(index)
	for {
		s, err := i.fromFleet(ctx, name, index)
		if s != nil {
			return s, nil
		}
		if err == nil {
			giveBack, ok, leaseErr := i.fleet.Lease(ctx, name+":lease", leaseTime)
			if ok {
				return i.forAll(ctx, name, index, giveBack)
			}
			err = leaseErr
		}
		if err != nil {
			i.fleetFailed(err)
			return i.assumeRole(ctx, index)
		}
		select {
		case <-time.After(leasePoll):
		case <-ctx.Done():
			return nil, errors.New("another replica asks STS for the session, and it does not come")
		}
	}
}

// fromFleet looks for a window's session. No error and no session means that there is none.
func (i *Integration) fromFleet(ctx context.Context, name string, index int64) (*session, error) {
	value, err := i.fleet.Get(ctx, name)
	switch {
	case errors.Is(err, cache.ErrNotInVault):
		i.Metrics.SharedSession("miss")
		return nil, nil
	case errors.Is(err, cache.ErrNotGenuine):
		i.Metrics.SharedSession("refused")
		i.log.Warn("what the replicas share is refused: it was changed, or sealed with another key")
		return nil, nil
	case err != nil:
		return nil, err
	}
	i.fleetWorks()
	var got sharedSession
	if json.Unmarshal(value, &got) != nil || got.Window != index {
		i.Metrics.SharedSession("refused")
		return nil, nil
	}
	s := &session{window: index, issued: time.Unix(got.Issued, 0).UTC(), expires: time.Unix(got.Expires, 0).UTC(),
		credentials: presign.Credentials{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.SessionToken}}
	now := i.clock()
	i.mu.Lock()
	revoked := !s.issued.After(i.notBefore)
	i.mu.Unlock()
	if revoked || s.expires.Sub(now) < 2*i.plan.floor || s.credentials.AccessKeyID == "" || s.credentials.SecretAccessKey == "" {
		return nil, i.fleet.Delete(ctx, name) // it is of no use to anybody
	}
	i.Metrics.SharedSession("hit")
	return s, nil
}

// forAll assumes the role and lets the others have the session. If one of them was quicker, its session is everybody's.
func (i *Integration) forAll(ctx context.Context, name string, index int64, giveBack func()) (*session, error) {
	defer giveBack()
	// Between our look and our lease somebody else may have had both.
	if theirs, err := i.fromFleet(ctx, name, index); err == nil && theirs != nil {
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
	stored, err := i.fleet.Add(ctx, name, value, s.expires.Sub(i.clock()))
	switch {
	case err != nil:
		i.fleetFailed(err)
	case !stored:
		if theirs, err := i.fromFleet(ctx, name, index); err == nil && theirs != nil {
			return theirs, nil
		}
	default:
		i.fleetWorks()
		i.Metrics.SharedSession("stored")
	}
	return s, nil
}

// fleetFailed says once that each replica is alone, and fleetWorks that it is so no longer. What the client's errors say is of the
// server, and never of a value.
func (i *Integration) fleetFailed(err error) {
	i.Metrics.SharedSession("error")
	if !i.fleet.away.Swap(true) {
		i.log.Warn("the replicas' common store cannot be had: each goes on alone, with sessions and URLs of its own", "error", oneLine(err))
	}
}

func (i *Integration) fleetWorks() {
	if i.fleet.away.Swap(false) {
		i.log.Info("the replicas' common store is back: the next windows' sessions are shared again")
	}
}
