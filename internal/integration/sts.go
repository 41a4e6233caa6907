package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// AWSSTS is the STS of AWS, and of the stores that speak like it. Its zero value is ready for use.
//
// The process's own credentials come from the SDK's default chain: environment, shared files, web identity, container, IMDS.
type AWSSTS struct {
	// HTTPClient makes the calls. nil means the SDK's own.
	HTTPClient aws.HTTPClient
	// Skew is told, after each answer, how far our clock is ahead of STS's, to within a second. nil means nobody.
	Skew func(ahead time.Duration)

	mu      sync.Mutex // never held over a call
	shared  *awshttp.BuildableClient
	clients map[clientKey]*sts.Client

	loading sync.Mutex  // held while own is made, for which some settings have the SDK ask the machine's metadata service
	own     *aws.Config // of the process
}

// clientKey tells clients apart: they live long, since each keeps its connections, and its credentials fresh.
type clientKey struct {
	region, endpoint string
	accessKeyID      string
	secretAccessKey  config.Secret
}

// AssumeRole implements [STS].
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (a *AWSSTS) AssumeRole(ctx context.Context, in *AssumeRoleInput) (presign.Credentials, time.Time, error) {
	client, err := a.client(ctx, in.Integration)
	if err != nil {
		return presign.Credentials{}, time.Time{}, err
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
	out, err := client.AssumeRole(ctx, input)
	if err != nil {
		// A clock that is far off shows in refusals, and nowhere else.
		if date, err := http.ParseTime(answerHeader(err).Get("Date")); err == nil && a.Skew != nil {
			a.Skew(time.Since(date).Truncate(time.Second))
		}
		return presign.Credentials{}, time.Time{}, err
	}
	if skew, ok := awsmiddleware.GetAttemptSkew(out.ResultMetadata); ok && a.Skew != nil {
		a.Skew(-skew)
	}
	if out.Credentials == nil {
		return presign.Credentials{}, time.Time{}, fmt.Errorf("%w: it holds no credentials", errMalformed)
	}
	c := out.Credentials
	return presign.Credentials{
		AccessKeyID:     aws.ToString(c.AccessKeyId),
		SecretAccessKey: aws.ToString(c.SecretAccessKey),
		SessionToken:    aws.ToString(c.SessionToken),
	}, aws.ToTime(c.Expiration), nil
}

// HasCredentials tells whether there are credentials to ask STS with: the integration's keys, or the process's own.
func (a *AWSSTS) HasCredentials(ctx context.Context, c *config.Integration) error {
	client, err := a.client(ctx, c)
	if err != nil {
		return err
	}
	_, err = client.Options().Credentials.Retrieve(ctx)
	return err
}

// CallerIdentity is the ARN of whoever assumes an integration's role: the process's own credentials, or the integration's keys.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (a *AWSSTS) CallerIdentity(ctx context.Context, c *config.Integration) (arn string, err error) {
	client, err := a.client(ctx, c)
	if err != nil {
		return "", err
	}
	out, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Arn), nil
}

// Keep lets go of the clients that none of a configuration's integrations needs.
func (a *AWSSTS) Keep(integrations []config.Integration) {
	needed := map[clientKey]bool{}
	for n := range integrations {
		needed[clientKeyOf(&integrations[n])] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.clients, func(key clientKey, _ *sts.Client) bool { return !needed[key] })
}

func clientKeyOf(c *config.Integration) clientKey {
	// Tokens of a regional STS are good in every region of the partition, those of the global one are not.
	return clientKey{region: c.HomeRegion(), endpoint: c.STSEndpoint, accessKeyID: c.AccessKeyID, secretAccessKey: c.SecretAccessKey}
}

// ownConfig is how the process itself is known to AWS.
func (a *AWSSTS) ownConfig(ctx context.Context) (aws.Config, error) {
	a.loading.Lock()
	defer a.loading.Unlock()
	if a.own == nil {
		own, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.Nop{}))
		if err != nil {
			return aws.Config{}, err
		}
		a.own = &own
	}
	return *a.own, nil
}

func (a *AWSSTS) client(ctx context.Context, c *config.Integration) (*sts.Client, error) {
	key := clientKeyOf(c)
	a.mu.Lock()
	client, ok := a.clients[key]
	if a.shared == nil {
		a.shared = awshttp.NewBuildableClient()
	}
	base := aws.Config{HTTPClient: a.shared} // one for all: each has connections of its own
	a.mu.Unlock()
	if ok {
		return client, nil
	}
	if c.AccessKeyID != "" {
		base.Credentials = credentials.NewStaticCredentialsProvider(c.AccessKeyID, string(c.SecretAccessKey), "")
	} else {
		var err error
		if base, err = a.ownConfig(ctx); err != nil {
			return nil, err
		}
	}
	client = sts.NewFromConfig(base, func(o *sts.Options) {
		o.Region = key.region
		if key.endpoint != "" {
			o.BaseEndpoint = &key.endpoint
		}
		if a.HTTPClient != nil {
			o.HTTPClient = a.HTTPClient
		}
		// One retry, for a connection that broke. Whatever lasts longer is for the pauses between our own calls, and so is an STS that
		// asks for patience.
		o.Retryer = retry.NewStandard(func(so *retry.StandardOptions) {
			so.MaxAttempts = 2
			so.MaxBackoff = 500 * time.Millisecond
			so.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				if Classify(err) == Throttled || answerHeader(err).Get("Retry-After") != "" {
					return aws.FalseTernary
				}
				return aws.UnknownTernary
			})}, so.Retryables...)
		})
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.clients == nil {
		a.clients = map[clientKey]*sts.Client{}
	}
	if other, ok := a.clients[key]; ok {
		return other, nil // somebody was quicker
	}
	a.clients[key] = client
	return client, nil
}

// answerHeader is the header of the answer that an error is about, if one came.
func answerHeader(err error) http.Header {
	var answered *smithyhttp.ResponseError
	if errors.As(err, &answered) && answered.Response != nil && answered.Response.Response != nil {
		return answered.Response.Header
	}
	return nil
}

// retryAfter is the pause that STS asks for, in seconds or as a date (RFC 9110, section 10.2.3), or 0. A date is by its own clock.
func retryAfter(err error, now time.Time) time.Duration {
	header := answerHeader(err)
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

// Classify tells what became of an AssumeRole call from its error. Some stores answer in S3's XML, of which the SDK
// understands the status and nothing else.
func Classify(err error) Result {
	if err == nil {
		return OK
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if _, throttled := retry.DefaultThrottleErrorCodes[api.ErrorCode()]; throttled {
			return Throttled
		}
	}
	if errors.Is(err, errMalformed) {
		return Malformed
	}
	var answer interface{ HTTPStatusCode() int }
	if !errors.As(err, &answer) {
		return Unavailable
	}
	switch status := answer.HTTPStatusCode(); {
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusRequestTimeout:
		return Unavailable
	case status >= 400 && status < 500:
		return Denied
	case status < 400 && !brokeOff(err):
		return Malformed
	}
	return Unavailable
}

// brokeOff tells whether an answer began, and did not come to its end.
func brokeOff(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
