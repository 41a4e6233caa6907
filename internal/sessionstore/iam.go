package sessionstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/redis/rueidis"
)

// IAM authenticates a user of an Amazon ElastiCache cache with AWS credentials.
//
// https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
type IAM struct {
	// Cache is the name of the replication group or of the serverless cache, User the ID of the user,
	// and Region the cache's region.
	Cache, User, Region string
	Serverless          bool
	// Credentials returns the credentials to sign with.
	Credentials func(context.Context) (aws.Credentials, error)
	// Clock is the time of the signatures.
	Clock func() time.Time
}

const (
	// iamTokenSeconds is how long a token is accepted. ElastiCache accepts 15 minutes at most.
	iamTokenSeconds = "900"
	// iamRefresh is when a connection is authenticated again. ElastiCache closes it 12 hours after
	// the last time.
	iamRefresh = 11 * time.Hour
)

// authenticate returns the user and a new token. It is called for each connection.
func (i *IAM) authenticate(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
	ctx, cancel := context.WithTimeout(context.Background(), iamTimeout)
	defer cancel()
	token, err := i.token(ctx)
	if err != nil {
		return rueidis.AuthCredentials{}, err
	}
	return rueidis.AuthCredentials{
		Username:     i.User,
		Password:     token,
		RefreshAfter: i.Clock().Add(iamRefresh),
	}, nil
}

// iamTimeout bounds the load of the credentials.
const iamTimeout = 10 * time.Second

// token returns a password: the URL of a signed request for the action connect, without its scheme.
func (i *IAM) token(ctx context.Context) (string, error) {
	credentials, err := i.Credentials(ctx)
	if err != nil {
		return "", fmt.Errorf("the proxy's own credentials for IAM authentication: %w", err)
	}
	query := url.Values{"Action": {"connect"}, "User": {i.User}, "X-Amz-Expires": {iamTokenSeconds}}
	if i.Serverless {
		query.Set("ResourceType", "ServerlessCache")
	}
	u := url.URL{Scheme: "http", Host: i.Cache, Path: "/", RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	empty := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, req, hex.EncodeToString(empty[:]),
		"elasticache", i.Region, i.Clock())
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(signed, "http://"), nil
}
