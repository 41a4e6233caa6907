package sessionstore

import (
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
)

// FromConfig returns the options of the store that replicas share. With IAM, sts provides the
// process's own credentials.
func FromConfig(r *config.Redis, sts *integration.AWSSTS) Options {
	o := Options{
		URL:       string(r.URL),
		Username:  r.Username,
		Password:  string(r.Password),
		KeyPrefix: r.KeyPrefix,
		Keys:      r.Keys(),
		Clock:     time.Now,
	}
	if t := r.TLS; t != nil {
		o.CAFile, o.CertFile, o.KeyFile = t.CAFile, t.CertFile, t.KeyFile
	}
	if i := r.IAM; i != nil {
		o.IAM = &IAM{Cache: i.Cache, User: i.User, Region: i.Region, Serverless: i.Serverless,
			Credentials: sts.OwnCredentials, Clock: time.Now}
	}
	return o
}
