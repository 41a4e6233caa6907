package integration

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"s3redirect/config"
	"s3redirect/presign"
)

// AWSSTS is the STS of AWS, and of the stores that speak like it. Its zero value is ready for use.
//
// The process's own credentials come from the SDK's default chain: environment, shared files, web identity, container, IMDS.
type AWSSTS struct {
	// HTTPClient makes the calls. nil means the SDK's own.
	HTTPClient aws.HTTPClient
	// Skew is told, after each session, how far our clock is ahead of STS's, to within a second. nil means nobody.
	Skew func(ahead time.Duration)

	mu      sync.Mutex
	own     *aws.Config
	clients map[clientKey]*sts.Client
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
		return presign.Credentials{}, time.Time{}, err
	}
	if skew, ok := awsmiddleware.GetAttemptSkew(out.ResultMetadata); ok && a.Skew != nil {
		a.Skew(-skew)
	}
	if out.Credentials == nil {
		return presign.Credentials{}, time.Time{}, errors.New("STS's answer holds no credentials")
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

func (a *AWSSTS) client(ctx context.Context, c *config.Integration) (*sts.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// Tokens of a regional STS are good in every region of the partition, those of the global one are not.
	key := clientKey{region: c.HomeRegion(), endpoint: c.STSEndpoint, accessKeyID: c.AccessKeyID, secretAccessKey: c.SecretAccessKey}
	if client, ok := a.clients[key]; ok {
		return client, nil
	}
	var base aws.Config
	if c.AccessKeyID != "" {
		base.Credentials = credentials.NewStaticCredentialsProvider(c.AccessKeyID, string(c.SecretAccessKey), "")
	} else if a.own == nil {
		own, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.Nop{}))
		if err != nil {
			return nil, err
		}
		a.own = &own
	}
	if c.AccessKeyID == "" {
		base = *a.own
	}
	client := sts.NewFromConfig(base, func(o *sts.Options) {
		o.Region = key.region
		if key.endpoint != "" {
			o.BaseEndpoint = &key.endpoint
		}
		if a.HTTPClient != nil {
			o.HTTPClient = a.HTTPClient
		}
		// One retry, for a connection that broke. Whatever lasts longer is for the pauses between our own calls.
		o.Retryer = retry.NewStandard(func(so *retry.StandardOptions) {
			so.MaxAttempts = 2
			so.MaxBackoff = 500 * time.Millisecond
		})
	})
	if a.clients == nil {
		a.clients = map[clientKey]*sts.Client{}
	}
	a.clients[key] = client
	return client, nil
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
	}
	return Unavailable
}
