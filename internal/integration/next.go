package integration

import (
	"slices"
	"time"

	"s3redirect/internal/config"
)

// Next makes the set of a new configuration. Integrations whose identity is the same keep their sessions and their windows, and
// so their URLs; what is known of regions stays known. Until [Set.Retire] is called, both sets are of use.
func (s *Set) Next(c *config.Config, o Options) (*Set, error) {
	known := map[identity]*Integration{}
	for _, i := range s.integrations {
		known[i.identity] = i
	}
	next, err := newSet(c, o, s.pool, known)
	if err != nil {
		return nil, err
	}
	s.sessions.Resize(c.Cache.Credentials)
	return next, nil
}

// Retire drops what the next set has no use for: the sessions of integrations that are gone, and the windows of those that have
// other buckets now.
func (s *Set) Retire(next *Set) {
	kept := map[*tenancy]*Integration{}
	for _, i := range next.integrations {
		kept[i.tenancy] = i
	}
	for _, i := range s.integrations {
		now, ok := kept[i.tenancy]
		switch {
		case !ok:
			i.drop(true)
		case !slices.Equal(i.config.Buckets(), now.config.Buckets()):
			i.mu.Lock()
			i.windows = nil
			i.lease.Store(nil)
			i.mu.Unlock()
		}
	}
}

// Purge drops the sessions of an integration, or of all where the name is "": the next request of each has a new one
// assumed, with new URLs. It names those that were purged.
func (s *Set) Purge(name string) (purged []string) {
	for _, i := range s.integrations {
		if name == "" || i.Name == name {
			i.drop(false)
			purged = append(purged, i.Name)
		}
	}
	return purged
}

// drop forgets an integration's sessions and windows, and that it failed. None of these sessions is taken from other replicas again. All of it
// is done under the lock: a session that was asked for before, and arrived between two steps, would be kept.
func (i *Integration) drop(removed bool) {
	now := i.clock()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.removed = i.removed || removed
	if i.static == nil {
		for _, s := range i.held(now) {
			i.purged = append(i.purged, s.credentials.AccessKeyID)
		}
		i.purged = slices.Delete(i.purged, 0, max(0, len(i.purged)-maxPurged))
	}
	i.sessions.Remove(i.identity)
	i.windows, i.fetching, i.failures, i.failure, i.retryAt = nil, nil, 0, nil, time.Time{}
	i.notBefore = now.Add(-purgeGrace)
	i.lease.Store(nil)
}

// Windows are those that URLs are signed in.
func (s *Set) Windows() map[*Window]bool {
	all := map[*Window]bool{}
	for _, i := range s.integrations {
		i.mu.Lock()
		for _, w := range i.windows {
			all[w] = true
		}
		i.mu.Unlock()
	}
	return all
}

// Signers are the numbers of the signers of these windows.
func (s *Set) Signers() map[uint32]bool {
	all := map[uint32]bool{}
	for w := range s.Windows() {
		if prepared := w.signers.Load(); prepared != nil {
			for _, signer := range *prepared {
				all[signer.Number] = true
			}
		}
	}
	return all
}
