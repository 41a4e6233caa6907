package metrics

// Counts are the values of an integration's counters, or sums of them, since the start of the
// process.
type Counts struct {
	Requests  uint64 `json:"requests"`
	Redirects uint64 `json:"redirects"`
	Refused   uint64 `json:"refused"` // responses with a status of 400 to 499
	Failed    uint64 `json:"failed"`  // responses with a status of 500 to 599

	URLHits          uint64 `json:"url_hits"`
	URLMisses        uint64 `json:"url_misses"`
	CredentialHits   uint64 `json:"credential_hits"`
	CredentialMisses uint64 `json:"credential_misses"`
}

// Add adds o to c.
func (c *Counts) Add(o Counts) {
	c.Requests += o.Requests
	c.Redirects += o.Redirects
	c.Refused += o.Refused
	c.Failed += o.Failed
	c.URLHits += o.URLHits
	c.URLMisses += o.URLMisses
	c.CredentialHits += o.CredentialHits
	c.CredentialMisses += o.CredentialMisses
}

// Counts returns the counts of each integration that was used. It is much cheaper than a scrape, so
// it can be called every few seconds.
func (m *Metrics) Counts() map[string]Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]Counts{}
	for name, i := range m.integrations {
		if u := i.counters.Load(); u != nil {
			all[name] = u.counts()
		}
	}
	return all
}

// Total returns the sum of all integrations' counts, including [NoIntegration].
func (m *Metrics) Total() (total Counts) {
	for _, c := range m.Counts() {
		total.Add(c)
	}
	return total
}

func (u *counters) counts() (c Counts) {
	for m := range u.requests {
		for n := range u.requests[m] {
			count := u.count(m, n)
			c.Requests += count
			switch {
			case n == len(codes):
			case codes[n] == 302:
				c.Redirects += count
			case codes[n] >= 500:
				c.Failed += count
			case codes[n] >= 400:
				c.Refused += count
			}
		}
	}
	c.URLHits, c.URLMisses = u.sum(urlHits), u.sum(urlMisses)
	c.CredentialHits, c.CredentialMisses = u.sum(credentialHits), u.sum(credentialMisses)
	return c
}
