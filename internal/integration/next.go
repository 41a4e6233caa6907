package integration

import (
	"slices"

	"s3redirect/internal/config"
)

// Next returns the set of a new configuration. Integrations that c shares with the
// configuration of s are taken over unchanged. Others with the same identity keep their sessions,
// their windows and so their URLs, and regions remain known. Both sets may be used until
// [Set.Retire]. The options must hold the same dependencies as those of s: what is taken over
// continues to use them.
func (s *Set) Next(c *config.Config, o Options) (*Set, error) {
	next, err := newSet(c, o, s.pool, s)
	if err != nil {
		return nil, err
	}
	s.sessions.Resize(c.Cache.Credentials)
	return next, nil
}

// Retire drops what the next set does not use: the sessions of integrations that have left the
// configuration, and the windows of integrations whose buckets have changed.
func (s *Set) Retire(next *Set) {
	kept := map[*keeper]*Integration{}
	for _, i := range next.integrations {
		kept[i.keeper] = i
	}
	for _, i := range s.integrations {
		now, ok := kept[i.keeper]
		switch {
		case !ok:
			i.keeper.forget(true)
		case !slices.Equal(i.config.Buckets(), now.config.Buckets()):
			i.keeper.dropWindows()
		}
	}
}

// Purge drops the sessions of the named integration, or of all if name is "". The next request of
// each gets a new session and new URLs. Purge returns the names of the integrations that it purged.
func (s *Set) Purge(name string) (purged []string) {
	for _, i := range s.integrations {
		if name == "" || i.Name == name {
			i.keeper.forget(false)
			purged = append(purged, i.Name)
		}
	}
	return purged
}

// Windows returns the windows that URLs are signed in.
func (s *Set) Windows() map[*Window]bool {
	all := map[*Window]bool{}
	for _, i := range s.integrations {
		for _, w := range i.keeper.currentWindows() {
			all[w] = true
		}
	}
	return all
}

// Signers returns the numbers of the signers of these windows.
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
