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

// hangingSTS hangs for integrations whose name begins with "hangs". It records the largest number
// of calls in flight.
type hangingSTS struct {
	fakeSTS
	mu             sync.Mutex
	inFlight, most int
}

func (h *hangingSTS) AssumeRole(
	ctx context.Context, in *AssumeRoleInput,
) (presign.Credentials, time.Time, error) {
	h.mu.Lock()
	h.inFlight++
	h.most = max(h.most, h.inFlight)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.inFlight--
		h.mu.Unlock()
	}()
	if strings.HasPrefix(in.Integration.Name, "hangs") {
		<-ctx.Done()
		return presign.Credentials{}, time.Time{}, ctx.Err()
	}
	return h.fakeSTS.AssumeRole(ctx, in)
}

// The STS of 10,000 integrations hangs. Their calls are bounded. A healthy integration at the same
// STS, and a new one at another STS, get their session as if they were alone.
func TestHangingSTSOfThousandsStarvesNoIntegration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const thousands = 10_000
		integrations := []config.Integration{role("warm", "warm-bucket"), role("new", "new-bucket")}
		integrations[1].Region = "eu-central-1" // another STS
		for n := range thousands {
			name := strconv.Itoa(n)
			integrations = append(integrations, role("hangs"+name, "bucket-"+name))
		}
		sts := &hangingSTS{}
		w := newWorld(t, &sts.fakeSTS, integrations, func(c *config.Config, o *Options) {
			o.STS = sts
			c.Cache.Credentials = 2 * thousands
		})
		defer w.Close()
		first := w.mustWindow("warm-bucket")
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for n := range thousands {
			i := w.bucket("bucket-" + strconv.Itoa(n)).Integration
			wg.Go(func() {
				for ctx.Err() == nil {
					_, _, _ = i.Window(ctx, time.Now(), 0) // fails after a while
					time.Sleep(30 * time.Second)
				}
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		w.mustWindow("new-bucket")
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the first session at another STS took %v, want 100ms", took)
		}
		// Without requests, nothing is fetched ahead of the next window.
		time.Sleep(time.Until(first.End) + time.Minute)
		began = time.Now()
		got := w.mustWindow("warm-bucket")
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the next session of a healthy integration took %v, want 100ms", took)
		}
		if got.session == first.session {
			t.Error("the next window has the session of the first")
		}
		stop()
		wg.Wait()
		time.Sleep(fetchTimeout)
		if sts.most > maxCalls/4+2 {
			t.Errorf("%d calls in flight, want at most %d", sts.most, maxCalls/4+2)
		}
		if got := w.waiters.Load(); got != 0 {
			t.Errorf("%d waiters are left, want none", got)
		}
		if got := len(w.calls.endpoints); got != 0 {
			t.Errorf("%d endpoints are left, want none", got)
		}
	})
}

// One endpoint gets half of the slots, unproven callers a quarter there and three quarters in
// total.
func TestBudgetBoundsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(8)
		var leaves []func()
		enter := func(endpoint string, healthy bool) error {
			began := time.Now()
			leave, err := b.enter(t.Context(), endpoint, healthy)
			if err == nil {
				leaves = append(leaves, leave)
			} else if waited := time.Since(began); waited != busyWait {
				t.Errorf("enter waited %v, want %v", waited, busyWait)
			}
			return err
		}
		for n, c := range []struct {
			endpoint string
			healthy  bool
			want     error
		}{
			{"a", false, nil}, {"a", false, nil}, {"a", false, errBusy}, // a quarter
			{"a", true, nil}, {"a", true, nil}, {"a", true, errBusy}, // half
			{"b", false, nil}, {"b", false, nil}, {"b", false, errBusy},
			{"c", false, nil}, {"c", false, nil}, {"d", true, errBusy}, // all
		} {
			if err := enter(c.endpoint, c.healthy); !errors.Is(err, c.want) {
				t.Errorf("call %d: enter(%s, %v) = %v, want %v",
					n, c.endpoint, c.healthy, err, c.want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := b.enter(ctx, "d", true); !errors.Is(err, context.Canceled) {
				t.Errorf("enter of a cancelled caller = %v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		wg.Go(func() {
			if err := enter("d", true); err != nil {
				t.Errorf("enter after another caller left = %v, want nil", err)
			}
		})
		synctest.Wait()
		leaves[0]()
		wg.Wait()
		for _, leave := range leaves[1:] {
			leave()
		}
		if n := len(b.endpoints); n != 0 {
			t.Errorf("%d endpoints are left, want none", n)
		}
		if !b.all.TryAcquire(8) || !b.unproven.TryAcquire(6) {
			t.Error("not all slots are free in the end")
		}
	})
}

// One integration gets half of the places for waiters, two a third each: there is always room for
// another integration's requests.
func TestWaitersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{answer: func(int, string) (time.Duration, time.Duration, error) {
			return time.Second, time.Hour, nil
		}}
		w := newWorld(t, sts,
			[]config.Integration{role("lab", "bucket"), role("other", "other-bucket")})
		defer w.Close()
		w.sleepUntilTurn("bucket")
		var rejected atomic.Int64
		var wg sync.WaitGroup
		request := func(bucket string, n int) (waiting int64) {
			rejected.Store(0)
			for range n {
				wg.Go(func() {
					_, err := w.window(bucket)
					var failed *AssumeRoleError
					if errors.As(err, &failed) && errors.Is(err, errTooManyWaiters) &&
						failed.RetryAfter > 0 && failed.Result == Unavailable {
						rejected.Add(1)
					} else if err != nil {
						t.Errorf("Window() = %v, want nil or %v", err, errTooManyWaiters)
					}
				})
			}
			synctest.Wait()
			return int64(n) - rejected.Load()
		}
		if got := request("bucket", maxWaiters); got != maxWaiters/2 {
			t.Errorf("%d requests of one integration wait, want %d", got, maxWaiters/2)
		}
		if got := request("other-bucket", maxWaiters); got != maxWaiters/4 {
			t.Errorf("%d requests of a second integration wait, want %d", got, maxWaiters/4)
		}
		wg.Wait()
		if all, own := w.waiters.Load(), w.keeper("bucket").waiting.Load(); all != 0 || own != 0 {
			t.Errorf("%d waiters are left, %d of one integration, want none", all, own)
		}
	})
}

// A client requests all buckets that a pattern matches. The requests for their regions are bounded,
// and another integration's request is sent at once.
func TestRegionRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inFlight, most atomic.Int64
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Host, "quick") {
				return hasRegion(r, "eu-west-3"), nil
			}
			most.Store(max(most.Load(), inFlight.Add(1)))
			defer inFlight.Add(-1)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		slow, quick := role("slow", ""), role("quick", "quick")
		slow.PermittedBuckets = []string{"team-*"}
		slow.Region, quick.Region = config.RegionAuto, config.RegionAuto
		w := newWorld(t, &fakeSTS{}, []config.Integration{slow, quick}, withTransport(transport))
		defer w.Close()
		var wg sync.WaitGroup
		for n := range 5000 {
			b := w.bucket(fmt.Sprintf("team-%d", n))
			wg.Go(func() {
				_, _, err := b.locate(t.Context(), time.Now())
				if !errors.Is(err, ErrRegionUnavailable) {
					t.Errorf("Place() = %v, want %v", err, ErrRegionUnavailable)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		p, _, err := w.bucket("quick").locate(t.Context(), time.Now())
		if err != nil || p.Region != "eu-west-3" {
			t.Errorf("another integration's Place() = %+v, %v, want eu-west-3", p, err)
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("another integration's request waited %v, want 0", waited)
		}
		wg.Wait()
		if n := most.Load(); n > maxQuestions/2 {
			t.Errorf("%d requests in flight, want at most %d", n, maxQuestions/2)
		}
	})
}
