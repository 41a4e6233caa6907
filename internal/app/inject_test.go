package app

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/fakeaws"
	"s3redirect/internal/integration"
)

// noStore is a session store that is always unreachable. It counts the operations.
type noStore struct{ calls atomic.Int64 }

func (s *noStore) Get(context.Context, string) ([]byte, error) {
	s.calls.Add(1)
	return nil, io.ErrUnexpectedEOF
}

func (s *noStore) Add(context.Context, string, []byte, time.Duration) (bool, error) {
	s.calls.Add(1)
	return false, io.ErrUnexpectedEOF
}

func (s *noStore) Delete(context.Context, string) error {
	s.calls.Add(1)
	return io.ErrUnexpectedEOF
}

func (s *noStore) Lease(context.Context, string, time.Duration) (func(), bool, error) {
	s.calls.Add(1)
	return nil, false, io.ErrUnexpectedEOF
}

var _ integration.Shared = (*noStore)(nil)

// TestInjectedDependencies runs an App with another clock, source of randomness, network and store.
func TestInjectedDependencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ahead = 3 * time.Minute
		cloud := fakeaws.NewCloud(time.Now)
		cloud.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret})
		cloud.AddRole(fakeaws.Role{
			ARN:         mediaRole,
			Trusts:      []string{testKey},
			Buckets:     []string{"demo-media"},
			MaxDuration: 400 * time.Hour,
		})
		hosts := http.NewServeMux()
		hosts.Handle("sts.localhost/", cloud.STS())
		hosts.Handle("s3.localhost/", cloud.S3())
		text := configFor("http://s3.localhost", "http://sts.localhost")
		c, err := config.Parse("demo", []byte(text), os.LookupEnv)
		if err != nil {
			t.Fatal(err)
		}
		var random atomic.Int64
		store := &noStore{}
		log := &logBuffer{}
		a, err := New(Options{
			Config:    c,
			Stderr:    log,
			Clock:     func() time.Time { return time.Now().Add(ahead) },
			Random:    func() float64 { random.Add(1); return 0.5 },
			Transport: fakeaws.InMemory{Handler: hosts},
			Shared:    store,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		test := &testApp{App: a, t: t, cloud: cloud, log: log}
		status, location := test.get(mediaObject)
		if status != http.StatusFound || !strings.HasPrefix(location, "http://s3.localhost/") {
			t.Errorf("GET = %d, %q, want 302 to http://s3.localhost/; log: %s", status, location, log)
		}
		want := "X-Amz-Date=" + time.Now().Add(ahead).UTC().Format("20060102T150405Z")
		if !strings.Contains(location, want) {
			t.Errorf("Location %q, want it to contain %s", location, want)
		}
		if random.Load() == 0 || store.calls.Load() == 0 {
			t.Errorf("Random was called %d times, the store %d times, want at least once each",
				random.Load(), store.calls.Load())
		}
		if n := cloud.Calls().AssumeRole; n != 1 {
			t.Errorf("%d AssumeRole calls, want 1", n)
		}
	})
}
