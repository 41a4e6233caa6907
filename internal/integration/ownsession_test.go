package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// ownCredentials returns an integration that signs with the process's own credentials.
func ownCredentials(name, bucket string) config.Integration {
	return config.Integration{
		Name:           name,
		Bucket:         bucket,
		Region:         "us-east-1",
		OwnCredentials: true,
		URLLifetime:    45 * time.Minute,
		MinRemaining:   15 * time.Minute,
	}
}

// The session of own credentials expires when they do, also if that is later than any session of a
// role would.
func TestOwnCredentialsExpire(t *testing.T) {
	for _, lives := range []time.Duration{20 * time.Minute, time.Hour, 6 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
				return 0, lives, nil
			}}
			w := newWorld(t, sts, []config.Integration{ownCredentials("own", "bucket")})
			w.sleepUntilTurn("bucket")
			first := w.mustWindow("bucket")
			want := earlier(first.Start.Add(45*time.Minute), sts.expiry(first))
			if !first.Expires.Equal(want) {
				t.Errorf("credentials for %v: URLs expire at %v, want %v", lives, first.Expires, want)
			}
			w.sleepUntilTurn("bucket")
			if second := w.mustWindow("bucket"); second.session == first.session {
				t.Errorf("credentials for %v: the next window has the same session", lives)
			}
		})
	}
}

// neverExpires is an STS that returns credentials without an expiry.
type neverExpires struct{ fakeSTS }

func (n *neverExpires) AssumeRole(
	ctx context.Context, in *AssumeRoleInput,
) (c presign.Credentials, _ time.Time, err error) {
	c, _, err = n.fakeSTS.AssumeRole(ctx, in)
	return c, time.Time{}, err
}

// Own credentials without an expiry sign from the window's start on, as static keys do.
func TestOwnCredentialsThatDoNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &neverExpires{}
		i := ownCredentials("own", "bucket")
		i.URLLifetime = 160 * time.Hour
		w := newWorld(t, &sts.fakeSTS, []config.Integration{i},
			func(_ *config.Config, o *Options) { o.STS = sts })
		time.Sleep(w.keeper("bucket").plan.period / 2)
		win := w.mustWindow("bucket")
		if !win.SignedAt.Equal(win.Start) || win.Expires.Sub(win.Start) != i.URLLifetime {
			t.Errorf("the window from %v signs at %v to %v, want from its start for %v",
				win.Start, win.SignedAt, win.Expires, i.URLLifetime)
		}
	})
}

// Credentials that are about to expire are not used.
func TestOwnCredentialsAboutToExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return 0, 30 * time.Second, nil
		}}
		w := newWorld(t, sts, []config.Integration{ownCredentials("own", "bucket")})
		if _, err := w.window("bucket"); Classify(err) != OwnCredentials {
			t.Errorf("Classify(%v) = %s, want %s", err, Classify(err), OwnCredentials)
		}
	})
}

// AssumeRole returns the credentials of the SDK's chain, and their true expiry.
func TestOwnSession(t *testing.T) {
	ownEnvironment(t)
	i := ownCredentials("own", "bucket")
	setOwnKey(t, testKey)
	c, expires, err := (&AWSSTS{}).AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
	if err != nil || c.AccessKeyID != testKey || c.SessionToken != "" || !expires.IsZero() {
		t.Errorf("static keys: AssumeRole = %s until %v, %v, want %s without expiry",
			c.AccessKeyID, expires, err, testKey)
	}

	ownEnvironment(t)
	calls, end := 0, time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		fmt.Fprintf(w, `{"AccessKeyId": "ASIA%d", "SecretAccessKey": "s", "Token": "t", `+
			`"Expiration": %q}`, calls, end.Format(time.RFC3339))
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL)
	sts := &AWSSTS{}
	want := func(id string) {
		t.Helper()
		c, expires, err := sts.AssumeRole(context.Background(), &AssumeRoleInput{Integration: &i})
		if err != nil || c.AccessKeyID != id || c.SessionToken != "t" || !expires.Equal(end) {
			t.Errorf("AssumeRole = %s until %v, %v, want %s until %v",
				c.AccessKeyID, expires, err, id, end)
		}
	}
	want("ASIA1")
	want("ASIA1")
	sts.own.loaded = sts.own.loaded.Add(-ownReuse)
	want("ASIA2")
}
