package integration

import (
	"context"
	"regexp"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"s3redirect/internal/config"
	"s3redirect/internal/partition"
)

// Region returns the region in which an integration's role is assumed. It makes no calls: the
// instance's region counts once the process's own credentials have been loaded from the instance.
//
// The process's own region is preferred to the buckets'. An opt-in region rejects callers whose
// account has not enabled it, and isolated networks reach only their own region's endpoint. Tokens
// of a regional STS are valid in every region of the partition; those of the global STS are not.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html
func (a *AWSSTS) Region(c *config.Integration) string { return regionOfSTS(c, a.processRegion) }

// regionOfSTS returns the region in which an integration's role is assumed. process returns the
// process's own region.
func regionOfSTS(c *config.Integration, process func() string) string {
	home := c.HomeRegion()
	switch {
	case c.STSRegion != "":
		return c.STSRegion
	case c.STSEndpointRegion() != "": // AWS accepts only signatures for the host's region
		return c.STSEndpointRegion()
	case c.STSEndpoint != "":
		return home
	}
	own := process()
	if awsRegion.MatchString(own) && partition.Of(own).Name == partition.Of(home).Name {
		return own
	}
	return home
}

// awsRegion matches the names of AWS's regions. Other stores use AWS_REGION for names such as auto.
var awsRegion = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// processRegion returns the process's own region: from the environment, the shared files or the
// instance. It returns "" if it is unknown.
func (a *AWSSTS) processRegion() string {
	env, _ := awsconfig.NewEnvConfig() // an error is about another variable
	if env.Region != "" {
		return env.Region
	}
	if region := sharedProfile(env).Region; region != "" {
		return region
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.own != nil {
		return a.own.region
	}
	return ""
}

// instanceRegion asks the instance for its region. It returns "" if the instance does not tell.
func instanceRegion(ctx context.Context) string {
	c, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithLogger(logging.Nop{}), awsconfig.WithEC2IMDSRegion())
	if err != nil {
		return ""
	}
	return c.Region
}
