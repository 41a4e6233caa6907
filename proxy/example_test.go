package proxy_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/integration"
	"s3redirect/internal/viewer"
	"s3redirect/metrics"
	"s3redirect/proxy"
)

const exampleConfig = `
listen: 127.0.0.1:8080
viewers: {anonymous: true}
integrations:
  - name: photos
    bucket: photos
    region: us-east-1
    role_arn: arn:aws:iam::123456789012:role/photos
    external_id: example
    access_key_id: AKIAIOSFODNN7EXAMPLE
    secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
`

// A Handler redirects to a presigned URL. Here STS is a stand-in in memory.
func Example() {
	clock := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	log := slog.New(slog.DiscardHandler)

	cloud := fakeaws.NewCloud(clock)
	cloud.AddUser(fakeaws.User{
		AccessKeyID:     "AKIAIOSFODNN7EXAMPLE",
		SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	})
	cloud.AddRole(fakeaws.Role{
		ARN:        "arn:aws:iam::123456789012:role/photos",
		ExternalID: "example",
		Trusts:     []string{"AKIAIOSFODNN7EXAMPLE"},
		Buckets:    []string{"photos"},
	})

	noEnvironment := func(string) (string, bool) { return "", false }
	c, err := config.Parse("config.yaml", []byte(exampleConfig), noEnvironment)
	if err != nil {
		panic(err)
	}
	m := metrics.New("example")
	sts := &http.Client{Transport: fakeaws.InMemory{Handler: cloud.STS()}}
	set, err := integration.NewSet(c, integration.Options{
		Clock:   clock,
		Log:     log,
		Metrics: m,
		STS:     &integration.AWSSTS{HTTPClient: sts},
	})
	if err != nil {
		panic(err)
	}
	defer set.Close()
	gate, err := viewer.New(&c.Viewers, viewer.Options{Clock: clock, Log: log})
	if err != nil {
		panic(err)
	}
	defer gate.Close()

	handler, err := proxy.New(proxy.Options{
		Integrations:   set,
		Metrics:        m,
		Clock:          clock,
		Log:            log,
		URLs:           c.Cache.URLs,
		ReferrerPolicy: c.ReferrerPolicy,
		Gate:           gate,
	})
	if err != nil {
		panic(err)
	}

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/s3/photos/2026/beach.jpg", nil))
	url, err := w.Result().Location()
	if err != nil {
		panic(err)
	}
	fmt.Println(w.Code, url.Host, url.Path)
	fmt.Println("Cache-Control:", w.Header().Get("Cache-Control"))

	w = httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/s3/videos/beach.mp4", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))

	// Output:
	// 302 photos.s3.us-east-1.amazonaws.com /2026/beach.jpg
	// Cache-Control: private, max-age=1256
	// 404 application/problem+json
}
