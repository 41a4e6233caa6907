package integration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"s3redirect/internal/presign"
)

// maxToken is STS's bound of WebIdentityToken.
const maxToken = 20000

// errNoCaller is returned for integrations with a web identity: the token is not a principal that
// can call STS itself.
var errNoCaller = errors.New("a web identity has no caller identity")

// assumeRoleWithWebIdentity assumes a role with the token in the integration's file. The call is
// not signed, and so there is no role chaining: the session may last as long as the role allows.
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
func (a *AWSSTS) assumeRoleWithWebIdentity(
	ctx context.Context, in *AssumeRoleInput,
) (presign.Credentials, time.Time, error) {
	i := in.Integration
	token, err := readToken(i.WebIdentityTokenFile)
	if err != nil {
		return presign.Credentials{}, time.Time{}, err
	}
	input := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          &i.RoleARN,
		RoleSessionName:  &i.SessionName,
		DurationSeconds:  aws.Int32(int32(i.SessionDuration / time.Second)),
		WebIdentityToken: &token,
	}
	if in.SessionPolicy != "" {
		input.Policy = &in.SessionPolicy
	}
	var out *sts.AssumeRoleWithWebIdentityOutput
	err = a.call(ctx, i, func(client *sts.Client) (err error) {
		out, err = client.AssumeRoleWithWebIdentity(ctx, input)
		return err
	})
	if err != nil {
		a.noteErrorSkew(err)
		return presign.Credentials{}, time.Time{}, redact(err, token)
	}
	return a.session(out.Credentials, out.ResultMetadata)
}

// readToken returns the token in a file. Its errors contain neither the token nor the file's name,
// which may come from a variable that holds a secret.
func readToken(name string) (string, error) {
	text, err := os.ReadFile(name)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	token := strings.TrimSpace(string(text))
	switch {
	case err != nil:
	case token == "":
		err = errors.New("the file is empty")
	case len(token) > maxToken:
		err = errors.New("the file is too long for a token")
	default:
		return token, nil
	}
	return "", fmt.Errorf("%w: web_identity_token_file: %w", ErrOwnCredentials, err)
}

// redact returns the error of a call that sent a token. A response may repeat the token.
func redact(err error, token string) error {
	redacted := &redactedError{err, token}
	var api smithy.APIError
	if errors.As(err, &api) {
		return &redactedAPIError{redacted, api}
	}
	return redacted
}

// redactedError is an error without the token.
type redactedError struct {
	err   error
	token string
}

func (e *redactedError) Error() string {
	return strings.ReplaceAll(e.err.Error(), e.token, "[redacted]")
}

func (e *redactedError) Unwrap() error { return e.err }

// redactedAPIError is a redactedError that is an error response. It implements [smithy.APIError].
type redactedAPIError struct {
	*redactedError
	api smithy.APIError
}

func (e *redactedAPIError) ErrorCode() string { return e.api.ErrorCode() }

func (e *redactedAPIError) ErrorMessage() string {
	return strings.ReplaceAll(e.api.ErrorMessage(), e.token, "[redacted]")
}

func (e *redactedAPIError) ErrorFault() smithy.ErrorFault { return e.api.ErrorFault() }
