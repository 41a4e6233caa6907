package config

import (
	"testing"
	"time"
)

// max_signature_age lowers lifetimes that are not set in the same place.
func TestMaxSignatureAge(t *testing.T) {
	const integration = "integrations: [{name: a, bucket: aaa, region: us-east-1, " +
		"role_arn: 'arn:aws:iam::123456789012:role/r'"
	for _, c := range []struct {
		top, own                 string
		lifetime, remaining, age time.Duration
	}{
		{"", "", 45 * time.Minute, 15 * time.Minute, 0},
		{
			"max_signature_age: 15m", "", 15 * time.Minute, 5 * time.Minute, 15 * time.Minute,
		},
		{
			"", ", max_signature_age: 14m", 14 * time.Minute, 4*time.Minute + 40*time.Second,
			14 * time.Minute,
		},
		{
			"url_lifetime: 45m\nmin_remaining: 15m", ", max_signature_age: 15m",
			15 * time.Minute, 5 * time.Minute, 15 * time.Minute,
		},
		{"", ", max_signature_age: 2h", 45 * time.Minute, 15 * time.Minute, 2 * time.Hour},
		{
			"max_signature_age: 15m", ", url_lifetime: 12m", 12 * time.Minute, 5 * time.Minute,
			15 * time.Minute,
		},
		{
			"max_signature_age: 15m", ", max_signature_age: 0s", 15 * time.Minute, 5 * time.Minute, 0,
		},
		{
			"", ", max_signature_age: 15m, min_remaining: 9m", 15 * time.Minute, 9 * time.Minute,
			15 * time.Minute,
		},
	} {
		text := "listen: 127.0.0.1:8080\nviewers: {anonymous: true}\n" + c.top + "\n" + integration +
			c.own + "}]\n"
		parsed, err := Parse("config.yaml", []byte(text), testEnvironment)
		if err != nil {
			t.Errorf("%q, %q: Parse = %v, want nil", c.top, c.own, err)
			continue
		}
		i := parsed.Integrations[0]
		if i.URLLifetime != c.lifetime || i.MinRemaining != c.remaining || i.MaxSignatureAge != c.age {
			t.Errorf("%q, %q: lifetime %v, min_remaining %v, age %v, want %v, %v, %v", c.top, c.own,
				i.URLLifetime, i.MinRemaining, i.MaxSignatureAge, c.lifetime, c.remaining, c.age)
		}
	}
}
