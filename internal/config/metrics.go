package config

// Metrics configures the metrics.
type Metrics struct {
	// Integrations selects the integrations that have series: [MetricsUsed] or [MetricsAll]. Default
	// MetricsUsed; so is "".
	Integrations string `yaml:"integrations"`
}

// The values of [Metrics.Integrations].
const (
	MetricsUsed = "used" // those that were used since the start
	MetricsAll  = "all"  // all, from the start on
)

func (k *checker) checkMetrics() {
	if m := k.Metrics.Integrations; m != "" && m != MetricsUsed && m != MetricsAll {
		k.wrong("metrics.integrations", "%s is neither used nor all", value("metrics.integrations"))
	}
}
