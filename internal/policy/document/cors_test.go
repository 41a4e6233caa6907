package document

import (
	"slices"
	"testing"

	"s3redirect/internal/config"
)

func TestCORSOrigins(t *testing.T) {
	const own, other = "https://media.example", "https://app.example"
	for _, c := range []struct {
		publicURL string
		allowed   []string
		want      []string
		note      string
	}{
		{own, nil, []string{own}, sameOrigin},
		{own + "/", []string{own}, []string{own}, sameOrigin},
		{own, []string{own, other}, []string{"*"}, nullOrigin},
		{own, []string{"*"}, []string{"*"}, nullOrigin},
		{"", nil, []string{"*"}, nullOrigin},
	} {
		cfg := &config.Config{PublicURL: c.publicURL}
		if c.allowed != nil {
			cfg.CORS = &config.CORS{AllowedOrigins: c.allowed}
		}
		if got, note := corsOrigins(cfg); !slices.Equal(got, c.want) || note != c.note {
			t.Errorf("corsOrigins with public_url %q and allowed_origins %q = %q, %q, want %q, %q",
				c.publicURL, c.allowed, got, note, c.want, c.note)
		}
	}
}
