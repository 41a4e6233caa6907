package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// hangingSTS hangs for those whose name begins with "hangs", and counts who is there at once.
type hangingSTS struct {
	fakeSTS
	mu         sync.Mutex
	here, most int
}

func (h *hangingSTS) AssumeRole(ctx context.Context, in *AssumeRoleInput) (presign.Credentials, time.Time, error) {
	h.mu.Lock()
	h.here++
	h.most = max(h.most, h.here)
	h.mu.Unlock()
	defer func() { h.mu.Lock(); h.here--; h.mu.Unlock() }()
	if strings.HasPrefix(in.Integration.Name, "hangs") {
		<-ctx.Done()
		return presign.Credentials{}, time.Time{}, ctx.Err()
	}
	return h.fakeSTS.AssumeRole(ctx, in)
}

// Ten thousand integrations whose STS hangs make no more than so many calls at once, and whoever was served before has its next
// session as if they were not there; at another STS, so has who comes for the first time.
func TestHangingSTSOfThousandsStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const thousands = 10_000
		integrations := []config.Integration{role("warm", "warm-bucket"), role("new", "new-bucket")}
		integrations[1].Region = "eu-central-1" // another STS
		for n := range thousands {
			integrations = append(integrations, role("hangs"+strconv.Itoa(n), "bucket-"+strconv.Itoa(n)))
		}
		sts := &hangingSTS{}
		w := newWorld(t, &sts.fakeSTS, integrations, func(c *config.Config, o *Options) { o.STS = sts; c.Cache.Credentials = 2 * thousands })
		defer w.Close()
		first := w.mustWindow("warm-bucket")
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for n := range thousands {
			i := w.bucket("bucket-" + strconv.Itoa(n)).Integration
			wg.Go(func() {
				for ctx.Err() == nil {
					_, _, _ = i.Window(ctx, time.Now()) // it fails, after a while
					time.Sleep(30 * time.Second)
				}
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		w.mustWindow("new-bucket")
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the first session of another STS took %v", took)
		}
		time.Sleep(time.Until(first.End) + time.Minute) // nobody asked, so nothing was fetched ahead
		began = time.Now()
		if got := w.mustWindow("warm-bucket"); got.session == first.session || time.Since(began) > 100*time.Millisecond {
			t.Errorf("the next session: %v, after %v", got.session != first.session, time.Since(began))
		}
		stop()
		wg.Wait()
		time.Sleep(fetchTimeout)
		if sts.most > maxCalls/4+2 {
			t.Errorf("%d calls were on their way at once", sts.most)
		}
		if got := w.waiters.Load(); got != 0 {
			t.Errorf("%d are waiting still", got)
		}
		if got := len(w.calls.endpoints); got != 0 {
			t.Errorf("%d servers are kept", got)
		}
	})
}

// One server has half of the places at most, and doubtful calls a quarter there, and three quarters of all.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(8)
		var left []func()
		enter := func(server string, proven bool) error {
			began := time.Now()
			leave, err := b.enter(t.Context(), server, proven)
			if err == nil {
				left = append(left, leave)
			} else if time.Since(began) != busyWait {
				t.Errorf("it waited %v", time.Since(began))
			}
			return err
		}
		for n, c := range []struct {
			server string
			proven bool
			want   error
		}{
			{"a", false, nil}, {"a", false, nil}, {"a", false, errBusy}, // a quarter
			{"a", true, nil}, {"a", true, nil}, {"a", true, errBusy}, // half
			{"b", false, nil}, {"b", false, nil}, {"b", false, errBusy},
			{"c", false, nil}, {"c", false, nil}, {"d", true, errBusy}, // all
		} {
			if err := enter(c.server, c.proven); !errors.Is(err, c.want) {
				t.Errorf("%d: %s: %v", n, c.server, err)
			}
		}
		// Who waits is let in when somebody leaves, and who goes away is told why.
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := b.enter(ctx, "d", true); !errors.Is(err, context.Canceled) {
				t.Errorf("who went away: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		wg.Go(func() {
			if err := enter("d", true); err != nil {
				t.Errorf("who waited: %v", err)
			}
		})
		synctest.Wait()
		left[0]()
		wg.Wait()
		for _, leave := range left[1:] {
			leave()
		}
		if len(b.endpoints) != 0 || !b.all.TryAcquire(8) || !b.unproven.TryAcquire(6) {
			t.Error("places were lost")
		}
	})
}

// Of those who wait, one integration may have half, two a third each; there is always room for one more.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) { return time.Second, time.Hour, nil }},
			[]config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		var turnedAway atomic.Int64
		var wg sync.WaitGroup
		crowd := func(bucket string, n int) (waiting int64) {
			turnedAway.Store(0)
			for range n {
				wg.Go(func() {
					_, err := w.window(bucket)
					var failed *AssumeRoleError
					if errors.As(err, &failed) && errors.Is(err, errTooManyWaiters) && failed.RetryAfter > 0 && failed.Result == Unavailable {
						turnedAway.Add(1)
					} else if err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			return int64(n) - turnedAway.Load()
		}
		if got := crowd("bucket", maxWaiters); got != maxWaiters/2 {
			t.Errorf("one may have %d waiting", got)
		}
		if got := crowd("other-bucket", maxWaiters); got != maxWaiters/4 {
			t.Errorf("beside it, another may have %d waiting", got)
		}
		wg.Wait()
		if w.waiters.Load() != 0 || w.bucket("bucket").Integration.keeper.waiting.Load() != 0 {
			t.Error("some are waiting still")
		}
	})
}

// Whoever may ask for any bucket that a pattern matches cannot have the store asked without bounds, and another integration's
// question is asked at once.
func TestQuestionsForRegionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var here, most atomic.Int64
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Host, "quick") {
				return &http.Response{StatusCode: 403, Header: http.Header{"X-Amz-Bucket-Region": {"eu-west-3"}}, Body: http.NoBody, Request: r}, nil
			}
			most.Store(max(most.Load(), here.Add(1)))
			defer here.Add(-1)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		slow, quick := role("slow", ""), role("quick", "quick")
		slow.PermittedBuckets, slow.Region, quick.Region = []string{"team-*"}, config.RegionAuto, config.RegionAuto
		w := newWorld(t, &fakeSTS{}, []config.Integration{slow, quick}, func(_ *config.Config, o *Options) { o.Transport = transport })
		defer w.Close()
		var wg sync.WaitGroup
		for n := range 5000 {
			b := w.bucket(fmt.Sprintf("team-%d", n))
			wg.Go(func() {
				if _, _, err := b.Place(t.Context(), time.Now()); !errors.Is(err, ErrRegionUnavailable) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if p, _, err := w.bucket("quick").Place(t.Context(), time.Now()); err != nil || p.Region != "eu-west-3" || time.Since(began) > 0 {
			t.Errorf("another integration's: %v after %v", err, time.Since(began))
		}
		wg.Wait()
		if most.Load() > maxQuestions/2 {
			t.Errorf("%d questions at once", most.Load())
		}
	})
}
