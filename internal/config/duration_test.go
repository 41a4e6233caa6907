package config

import (
	"math"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0, "7d1s": 168*time.Hour + time.Second,
		"45m": 45 * time.Minute, "1h30m": 90 * time.Minute, "-1s": -time.Second, "0": 0,
		"106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := ParseDuration(text); got != want || err != nil {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "+1d", "1.5d", "1d-1h", "1d+1h", "1d1d", "12h1d",
		"106752d", "106751d24h", "99999999999999999999d", "1D", "30", "30 d", "soon", "1d 2h", "0x1d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
	// Not a day of 24 hours before math.MaxInt64 nanoseconds.
	if got, err := ParseDuration("106751d23h47m16.854775807s"); got != math.MaxInt64 || err != nil {
		t.Errorf("ParseDuration(the longest) = %v, %v; want %v", got, err, time.Duration(math.MaxInt64))
	}
}
