package metrics

import "time"

// ViewerRefused counts a credential that was refused. Both arguments must come from a fixed set.
func (m *Metrics) ViewerRefused(method, reason string) {
	m.viewerRefusals.WithLabelValues(method, reason).Inc()
}

// AddIssuer creates the counter of failed fetches for an issuer, so that the first failure is an
// increase.
func (m *Metrics) AddIssuer(issuer string) { m.keysFailures.WithLabelValues(issuer) }

// KeysFetched counts a fetch of an issuer's keys at the given time. The issuer must come from the
// configuration.
func (m *Metrics) KeysFetched(issuer string, err error, now time.Time) {
	if err != nil {
		m.keysFailures.WithLabelValues(issuer).Inc()
		return
	}
	m.keysRefresh.WithLabelValues(issuer).Set(float64(now.UnixMilli()) / 1000)
}

// ForgetIssuer deletes the series of an issuer.
func (m *Metrics) ForgetIssuer(issuer string) {
	m.keysFailures.DeleteLabelValues(issuer)
	m.keysRefresh.DeleteLabelValues(issuer)
}
