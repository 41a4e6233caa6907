package presign

import "log/slog"

// Credentials are AWS credentials: a user's access key, or a session that AssumeRole returned.
// They print and log as "[redacted]".
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // "" for a user's access key
}

const redacted = "[redacted]"

// String implements [fmt.Stringer]. It returns "[redacted]".
func (Credentials) String() string { return redacted }

// GoString implements [fmt.GoStringer]. It returns "[redacted]".
func (Credentials) GoString() string { return redacted }

// LogValue implements [slog.LogValuer]. It returns "[redacted]".
func (Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler]. It returns "[redacted]".
func (Credentials) MarshalText() ([]byte, error) { return []byte(redacted), nil }
