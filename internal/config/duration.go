package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

var errDuration = errors.New("invalid duration; write it as 45m, 1h30m or 7d (days of 24 hours)")

// ParseDuration parses a duration as [time.ParseDuration] does, and also accepts whole days of 24
// hours before the other units, as in 30d and 1d12h. Its error does not contain the text.
func ParseDuration(text string) (time.Duration, error) {
	days, rest, hasDays := strings.Cut(text, "d")
	if !hasDays {
		d, err := time.ParseDuration(text)
		if err == nil {
			return d, nil
		}
		if _, number := strconv.ParseFloat(text, 64); number == nil {
			return 0, errors.New("a duration needs a unit, as in 45m, 1h or 30s")
		}
		return 0, errDuration
	}
	n, err := strconv.ParseUint(days, 10, 32)
	if err != nil || n > uint64(math.MaxInt64/day) {
		return 0, errDuration
	}
	total := time.Duration(n) * day
	if rest == "" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.HasPrefix(rest, "+") || total > math.MaxInt64-d {
		return 0, errDuration
	}
	return total + d, nil
}
