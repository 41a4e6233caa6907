package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"s3redirect/internal/fakeaws"
)

const (
	testKey    = "AKIATESTTESTTESTTEST"
	testSecret = "test/secret"
	mediaRole  = "arn:aws:iam::123456789012:role/media"
	teamRole   = "arn:aws:iam::123456789012:role/teams"
)

// configFor returns the text of a configuration with a scoped integration and one for a pattern of
// buckets. Its windows last for
// days, so that none ends during a test.
func configFor(s3, sts string) string {
	integration := func(name, buckets, role string) string {
		return fmt.Sprintf("  - name: %s\n    %s\n    role_arn: %s\n    session_duration: 400h\n    "+
			"file_versioning: true\n    endpoint: %s\n"+
			"    sts_endpoint: %s\n    path_style: true\n    access_key_id: %s\n    secret_access_key: %s\n",
			name, buckets, role, s3, sts, testKey, testSecret)
	}
	return "\nlisten: \"127.0.0.1:0\"\nadmin_listen: \"127.0.0.1:0\"\nurl_lifetime: " +
		"160h\nmin_remaining: 1h\nintegrations:\n" +
		integration("media", "bucket: demo-media", mediaRole) + integration("teams",
		`permitted_buckets: ["team-*"]`, teamRole) +
		"viewers: {anonymous: true}\nlog: {level: warn, format: text}\n"
}

// startStores starts stand-ins of S3 and STS, and returns them with the text of a configuration that uses them.
func startStores(t *testing.T) (cloud *fakeaws.Cloud, text string) {
	t.Helper()
	const long = 400 * time.Hour
	cloud = fakeaws.NewCloud(time.Now)
	cloud.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret})
	cloud.AddRole(fakeaws.Role{ARN: mediaRole, Trusts: []string{testKey},
		Buckets: []string{"demo-media"}, MaxDuration: long})
	cloud.AddRole(fakeaws.Role{ARN: teamRole, Trusts: []string{testKey},
		Buckets: []string{"team-*"}, Versions: true, MaxDuration: long})
	var urls []string
	for _, h := range []http.Handler{cloud.S3(), cloud.STS()} {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		urls = append(urls, s.URL)
	}
	return cloud, configFor(urls[0], urls[1])
}
