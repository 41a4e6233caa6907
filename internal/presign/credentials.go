package presign

import "log/slog"

// Credentials sign requests: a user's own, or, with a session token, those that AssumeRole returned.
// However they are printed or logged, they show nothing of themselves.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // "" for a user's own
}

const redacted = "[redacted]"

// String implements fmt.Stringer without the credentials.
func (Credentials) String() string { return redacted }

// GoString implements fmt.GoStringer without the credentials.
func (Credentials) GoString() string { return redacted }

// LogValue implements slog.LogValuer without the credentials.
func (Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler without the credentials.
func (Credentials) MarshalText() ([]byte, error) { return []byte(redacted), nil }
