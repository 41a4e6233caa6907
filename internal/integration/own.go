package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"s3redirect/internal/presign"
	"s3redirect/internal/reread"
)

// ownIdentity is the process's own identity, as the SDK's default chain found it. It is immutable.
type ownIdentity struct {
	config      aws.Config
	region      string          // of the instance, if the credentials come from it; else ""
	credentials aws.Credentials // the first that the chain returned
	files       reread.Versions // of the shared files
	loaded      time.Time
}

// rejectionPause is the least time between two loads of the process's own credentials that STS
// rejected. Without it, a fleet of integrations would load them with every rejected call.
const rejectionPause = 5 * time.Second

// Reload makes the next call load the process's own credentials again.
func (a *AWSSTS) Reload() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stale = a.own != nil
}

// ownIdentity returns the process's own identity. It loads the identity if that has not happened
// yet, if the shared files have changed, and after [AWSSTS.Reload]. Concurrent calls share a load.
func (a *AWSSTS) ownIdentity(ctx context.Context) (*ownIdentity, error) {
	a.mu.Lock()
	own, stale := a.own, a.stale
	a.mu.Unlock()
	if own != nil && !stale && own.files.Equal(reread.VersionsOf(sharedFiles()...)) {
		return own, nil
	}
	// The load belongs to no call: it continues when the first has given up.
	loaded := a.loads.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return a.load(ctx)
	})
	select {
	case r := <-loaded:
		own, _ := r.Val.(*ownIdentity)
		return own, r.Err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ownReuse is how long credentials that expire are reused for new sessions.
const ownReuse = time.Minute

// ownSession returns the process's own credentials and their expiry, or the zero time if they do
// not expire. It loads credentials that expire again. The SDK's cache would keep them until shortly
// before they expire, and then prolong those of an instance whose metadata service is unreachable,
// while S3 counts the true expiry.
func (a *AWSSTS) ownSession(ctx context.Context) (presign.Credentials, time.Time, error) {
	a.mu.Lock()
	if a.own != nil && a.own.credentials.CanExpire && a.now().Sub(a.own.loaded) >= ownReuse {
		a.stale = true
	}
	a.mu.Unlock()
	own, err := a.ownIdentity(ctx)
	if err != nil {
		return presign.Credentials{}, time.Time{}, err
	}
	c := own.credentials
	var expires time.Time
	if c.CanExpire {
		expires = c.Expires
	}
	return presign.Credentials{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		SessionToken:    c.SessionToken,
	}, expires, nil
}

// OwnCredentials returns the process's own credentials.
func (a *AWSSTS) OwnCredentials(ctx context.Context) (aws.Credentials, error) {
	c, _, err := a.ownSession(ctx)
	return aws.Credentials{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		SessionToken:    c.SessionToken,
	}, err
}

// load loads the process's own identity. If that fails, the previous one is kept: the shared files
// may be half written, and the previous credentials may still be valid.
func (a *AWSSTS) load(ctx context.Context) (*ownIdentity, error) {
	a.mu.Lock()
	previous := a.own
	a.stale = false // a reload during the load sets it again
	a.mu.Unlock()
	// The versions are taken first: if a file changes during the load, the next call loads again.
	own := &ownIdentity{files: reread.VersionsOf(sharedFiles()...), loaded: a.now()}
	var err error
	own.config, err = awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.Nop{}))
	if err == nil {
		own.config.Credentials = ownProvider{own.config.Credentials}
		own.credentials, err = exactCredentials(ctx)
	} else {
		err = fmt.Errorf("%w: %w", ErrOwnCredentials, err)
	}
	if err == nil && own.credentials.Source == ec2rolecreds.ProviderName {
		own.region = instanceRegion(ctx)
	}
	if err != nil && previous == nil {
		return nil, err
	}
	if err != nil {
		if a.Log != nil {
			a.Log.Warn("the proxy's own credentials cannot be loaded again; "+
				"keeping the previous ones", "error", truncate(err))
		}
		own.config, own.credentials = previous.config, previous.credentials
		own.region = previous.region
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own = own
	return own, nil
}

// exactCredentials returns the process's own credentials with their true expiry. The cache of the
// SDK's default configuration reports them as expired some minutes earlier, to refresh them in time.
func exactCredentials(ctx context.Context) (aws.Credentials, error) {
	c, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithLogger(logging.Nop{}),
		awsconfig.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) {
			o.ExpiryWindow = 0
		}))
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("%w: %w", ErrOwnCredentials, err)
	}
	return ownProvider{c.Credentials}.Retrieve(ctx)
}

// ownProvider marks the errors of the SDK's default chain with [ErrOwnCredentials].
type ownProvider struct{ chain aws.CredentialsProvider }

// Retrieve implements [aws.CredentialsProvider].
func (p ownProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := p.chain.Retrieve(ctx)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrOwnCredentials, err)
	}
	return c, err
}

// isTransient reports whether the source of the process's own credentials may work again without
// the operator: it failed, limits requests, or was not reached. The instance metadata service is
// always reachable where it exists.
func isTransient(err error) bool {
	if errors.Is(err, context.Canceled) {
		return true
	}
	var answer interface{ HTTPStatusCode() int }
	if errors.As(err, &answer) && answer.HTTPStatusCode() != 0 {
		status := answer.HTTPStatusCode()
		return status >= 500 || status == http.StatusTooManyRequests
	}
	var operation *smithy.OperationError
	if errors.As(err, &operation) && operation.Service() == imds {
		return false
	}
	var unsent *smithyhttp.RequestSendError
	return errors.As(err, &unsent) || errors.Is(err, context.DeadlineExceeded)
}

// imds is the SDK's name of the instance metadata service.
const imds = "ec2imds"

// replaced loads the process's own credentials again after STS has rejected those of used. It
// reports whether they differ now.
func (a *AWSSTS) replaced(ctx context.Context, used *ownIdentity) bool {
	before, err := used.config.Credentials.Retrieve(ctx)
	if err != nil {
		before = used.credentials
	}
	now := a.now()
	a.mu.Lock()
	if since := now.Sub(a.rejectedAt); a.own == used && (since < 0 || since >= rejectionPause) {
		a.stale, a.rejectedAt = true, now
	}
	a.mu.Unlock()
	own, err := a.ownIdentity(ctx)
	if err != nil {
		return false
	}
	after, err := own.config.Credentials.Retrieve(ctx)
	return err == nil && (after.AccessKeyID != before.AccessKeyID ||
		after.SecretAccessKey != before.SecretAccessKey ||
		after.SessionToken != before.SessionToken)
}

// rejectsCredentials reports whether an error means that STS does not accept the credentials that
// signed the call: they were deleted or rotated, or have expired.
//
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
func rejectsCredentials(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "SignatureDoesNotMatch":
		return true
	}
	return false
}

// sharedFiles returns the names of the SDK's shared files.
//
// https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html
func sharedFiles() []string {
	env, _ := awsconfig.NewEnvConfig() // an error is about another variable
	files := []string{env.SharedConfigFile, env.SharedCredentialsFile}
	if files[0] == "" {
		files[0] = awsconfig.DefaultSharedConfigFilename()
	}
	if files[1] == "" {
		files[1] = awsconfig.DefaultSharedCredentialsFilename()
	}
	return files
}
