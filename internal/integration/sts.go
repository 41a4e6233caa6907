package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/singleflight"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// AWSSTS calls the STS of AWS, or of a store with a compatible API. The zero value is ready for
// use.
//
// The process's own credentials come from the SDK's default chain: environment, shared files, web
// identity, container, IMDS.
type AWSSTS struct {
	// HTTPClient makes the calls. nil means the SDK's client, with AWS_CA_BUNDLE.
	HTTPClient aws.HTTPClient
	// Skew is called after each response with the time by which the local clock is ahead of STS's,
	// to within a second. Optional.
	Skew func(ahead time.Duration)
	// Log receives warnings about the process's own credentials. Optional.
	Log *slog.Logger
	// Clock is the local clock. nil means time.Now. The SDK signs calls with the system's clock.
	Clock func() time.Time
	// Random returns numbers uniform in [0, 1), for the pause before a retry. It must be safe for
	// concurrent use. nil means math/rand's.
	Random func() float64

	mu         sync.Mutex // guards the fields below; not held during a call
	shared     *http.Client
	clients    map[clientKey]*stsClient
	own        *ownIdentity // nil: not loaded yet
	stale      bool         // own must be loaded again
	rejectedAt time.Time    // when own was last loaded again because STS rejected it

	loads singleflight.Group // the load of own in flight
}

// stsClient is a client and the identity that it calls STS with.
type stsClient struct {
	*sts.Client
	own *ownIdentity // nil: the integration's keys
}

// clientKey identifies a client. Clients are long-lived: each keeps its connections, and refreshes
// its credentials.
type clientKey struct {
	region, endpoint string
	accessKeyID      string
	secretAccessKey  config.Secret
	webIdentity      bool
}

// AssumeRole implements [STS].
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (a *AWSSTS) AssumeRole(
	ctx context.Context, in *AssumeRoleInput,
) (presign.Credentials, time.Time, error) {
	if in.Integration.OwnCredentials {
		return a.ownSession(ctx)
	}
	if in.Integration.WebIdentityTokenFile != "" {
		return a.assumeRoleWithWebIdentity(ctx, in)
	}
	input := &sts.AssumeRoleInput{
		RoleArn:         &in.Integration.RoleARN,
		RoleSessionName: &in.Integration.SessionName,
		DurationSeconds: aws.Int32(int32(in.Integration.SessionDuration / time.Second)),
	}
	if in.Integration.ExternalID != "" {
		input.ExternalId = &in.Integration.ExternalID
	}
	if in.SessionPolicy != "" {
		input.Policy = &in.SessionPolicy
	}
	for _, name := range slices.Sorted(maps.Keys(in.Integration.SessionTags)) {
		tag := types.Tag{Key: aws.String(name), Value: aws.String(in.Integration.SessionTags[name])}
		input.Tags = append(input.Tags, tag)
	}
	input.TransitiveTagKeys = in.Integration.TransitiveTags
	if in.Integration.SourceIdentity != "" {
		input.SourceIdentity = &in.Integration.SourceIdentity
	}
	var out *sts.AssumeRoleOutput
	err := a.call(ctx, in.Integration, func(client *sts.Client) (err error) {
		out, err = client.AssumeRole(ctx, input)
		return err
	})
	if err != nil {
		a.noteErrorSkew(err)
		return presign.Credentials{}, time.Time{}, err
	}
	return a.session(out.Credentials, out.ResultMetadata)
}

// noteErrorSkew reports the skew of an error response. If the clock is far off, STS rejects every
// call: the error response is the only source.
func (a *AWSSTS) noteErrorSkew(err error) {
	date, parseErr := http.ParseTime(responseHeader(err).Get("Date"))
	if parseErr == nil && a.Skew != nil {
		a.Skew(a.now().Sub(date).Truncate(time.Second))
	}
}

// now returns the local time.
func (a *AWSSTS) now() time.Time {
	if a.Clock != nil {
		return a.Clock()
	}
	return time.Now()
}

// session returns the session in a response of STS.
func (a *AWSSTS) session(
	c *types.Credentials, metadata middleware.Metadata,
) (presign.Credentials, time.Time, error) {
	if skew, ok := awsmiddleware.GetAttemptSkew(metadata); ok && a.Skew != nil {
		a.Skew(-skew)
	}
	if c == nil {
		return presign.Credentials{}, time.Time{}, fmt.Errorf("%w: no credentials", errMalformed)
	}
	return presign.Credentials{
		AccessKeyID:     aws.ToString(c.AccessKeyId),
		SecretAccessKey: aws.ToString(c.SecretAccessKey),
		SessionToken:    aws.ToString(c.SessionToken),
	}, aws.ToTime(c.Expiration), nil
}

// HasCredentials returns an error if there are no credentials to call STS with: neither the
// integration's keys nor the process's own.
func (a *AWSSTS) HasCredentials(ctx context.Context, c *config.Integration) error {
	if c.WebIdentityTokenFile != "" {
		_, err := readToken(c.WebIdentityTokenFile)
		return err
	}
	client, err := a.client(ctx, c)
	if err != nil {
		return err
	}
	_, err = client.Options().Credentials.Retrieve(ctx)
	return err
}

// CallerIdentity returns the ARN of the principal that assumes an integration's role: that of the
// integration's keys, or of the process's own credentials.
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (a *AWSSTS) CallerIdentity(ctx context.Context, c *config.Integration) (string, error) {
	if c.WebIdentityTokenFile != "" {
		return "", errNoCaller
	}
	var out *sts.GetCallerIdentityOutput
	err := a.call(ctx, c, func(client *sts.Client) (err error) {
		out, err = client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		return err
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Arn), nil
}

// Keep drops the clients that none of the integrations needs.
func (a *AWSSTS) Keep(integrations []*config.Integration) {
	a.mu.Lock()
	clients := len(a.clients)
	a.mu.Unlock()
	if clients == 0 {
		return
	}
	needed := map[clientKey]bool{}
	process := sync.OnceValue(a.processRegion) // it reads files
	for _, i := range integrations {
		needed[clientKeyOf(i, regionOfSTS(i, process))] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.clients, func(key clientKey, _ *stsClient) bool { return !needed[key] })
}

func (a *AWSSTS) clientKey(c *config.Integration) clientKey { return clientKeyOf(c, a.Region(c)) }

// clientKeyOf returns the key of an integration's client, whose STS is in a region.
func clientKeyOf(c *config.Integration, region string) clientKey {
	return clientKey{
		region:          region,
		endpoint:        c.STSEndpoint,
		accessKeyID:     c.AccessKeyID,
		secretAccessKey: c.SecretAccessKey,
		webIdentity:     c.WebIdentityTokenFile != "",
	}
}

// call calls STS for an integration. If STS rejects the process's own credentials, call loads them
// again and repeats the call once.
func (a *AWSSTS) call(
	ctx context.Context, c *config.Integration, send func(*sts.Client) error,
) error {
	client, err := a.client(ctx, c)
	if err != nil {
		return err
	}
	err = send(client.Client)
	if client.own == nil || !rejectsCredentials(err) || !a.replaced(ctx, client.own) {
		return err
	}
	if client, err = a.client(ctx, c); err != nil {
		return err
	}
	return send(client.Client)
}

// client returns the client for an integration. It makes one if there is none, or if the process's
// own credentials were loaded again since.
func (a *AWSSTS) client(ctx context.Context, c *config.Integration) (*stsClient, error) {
	var own *ownIdentity
	if c.AccessKeyID == "" && c.WebIdentityTokenFile == "" {
		var err error
		if own, err = a.ownIdentity(ctx); err != nil {
			return nil, err
		}
	}
	key := a.clientKey(c)
	a.mu.Lock()
	defer a.mu.Unlock()
	if client, ok := a.clients[key]; ok && client.own == own {
		return client, nil
	}
	if a.shared == nil {
		a.shared = &http.Client{
			Transport:     NewTransport(awshttp.NewBuildableClient().GetTransport()),
			CheckRedirect: NoRedirects,
		}
	}
	base := aws.Config{HTTPClient: a.shared} // one for all: each would have its own connections
	switch {
	case own != nil:
		base = own.config
	case key.webIdentity:
		base.Credentials = aws.AnonymousCredentials{} // the token is the credential
	default:
		base.Credentials = credentials.NewStaticCredentialsProvider(
			c.AccessKeyID, string(c.SecretAccessKey), "")
	}
	client := &stsClient{own: own, Client: sts.NewFromConfig(base, func(o *sts.Options) {
		o.Region = key.region
		if key.endpoint != "" {
			o.BaseEndpoint = &key.endpoint
		}
		if a.HTTPClient != nil {
			o.HTTPClient = a.HTTPClient
		}
		o.Retryer = retry.NewStandard(a.retryOnce)
	})}
	if a.clients == nil {
		a.clients = map[clientKey]*stsClient{}
	}
	a.clients[key] = client
	return client, nil
}

// retryPause bounds the pause before a retry, which has full jitter. The SDK's own pause before a
// first retry has the same bound.
const retryPause = 50 * time.Millisecond

// retryOnce allows one retry, for a broken connection. Longer failures, and an STS that throttles
// or sends Retry-After, are left to the keeper's pauses.
func (a *AWSSTS) retryOnce(o *retry.StandardOptions) {
	random := a.Random
	if random == nil {
		random = rand.Float64
	}
	o.MaxAttempts = 2
	o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) {
		return time.Duration(random() * float64(retryPause)), nil
	})
	leaveToKeeper := func(err error) aws.Ternary {
		if Classify(err) == Throttled || responseHeader(err).Get("Retry-After") != "" {
			return aws.FalseTernary
		}
		return aws.UnknownTernary
	}
	o.Retryables = append(
		[]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(leaveToKeeper)}, o.Retryables...)
}

// responseHeader returns the header of the response that caused an error, or nil if there was none.
func responseHeader(err error) http.Header {
	var answered *smithyhttp.ResponseError
	if errors.As(err, &answered) && answered.Response != nil && answered.Response.Response != nil {
		return answered.Response.Header
	}
	return nil
}

// retryAfter returns the pause that STS asks for, in seconds or as a date (RFC 9110, section
// 10.2.3), or 0. A date is compared with the response's own Date.
func retryAfter(err error, now time.Time) time.Duration {
	header := responseHeader(err)
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(header.Get("Date")); err == nil {
		now = theirs
	}
	return max(0, until.Sub(now))
}

// Classify returns the result of an AssumeRole call from its error. Some stores answer with S3's
// error document, of which the SDK understands nothing but the status.
func Classify(err error) Result {
	if err == nil {
		return OK
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if api.ErrorCode() == "IDPCommunicationError" {
			return Unavailable // of the web identity's provider
		}
		if _, throttled := retry.DefaultThrottleErrorCodes[api.ErrorCode()]; throttled {
			return Throttled
		}
	}
	if errors.Is(err, errMalformed) {
		return Malformed
	}
	if errors.Is(err, ErrOwnCredentials) && !isTransient(err) {
		return OwnCredentials
	}
	var answer interface{ HTTPStatusCode() int }
	if !errors.As(err, &answer) {
		return Unavailable
	}
	switch status := answer.HTTPStatusCode(); {
	case errors.Is(err, ErrOwnCredentials):
		return Unavailable // the response is not STS's
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusRequestTimeout:
		return Unavailable
	case status >= 400 && status < 500:
		return Denied
	case status < 400 && !truncatedResponse(err):
		return Malformed
	}
	return Unavailable
}

// truncatedResponse reports whether a response was interrupted.
func truncatedResponse(err error) bool {
	var network net.Error
	return errors.As(err, &network) ||
		errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled)
}
