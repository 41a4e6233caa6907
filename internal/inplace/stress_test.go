package inplace

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slowBody is a body whose reads take time. It ends with an error if its request is canceled.
type slowBody struct {
	ctx  context.Context
	left int
	step time.Duration
	tail error
}

func (b *slowBody) Read(p []byte) (int, error) {
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(b.step):
	}
	n := min(b.left, len(p), 300)
	if b.left -= n; b.left == 0 {
		return n, b.tail
	}
	return n, nil
}

// TestRandomCancels runs requests of several integrations that are canceled at random, against
// stores that are slow, fail, break off or send too much. Whatever happens, no more is in use than
// the bounds allow, a request gets the document of its own URL, and in the end nothing is in use.
func TestRandomCancels(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { stress(t, rand.New(rand.NewPCG(seed, 19))) })
	}
}

func stress(t *testing.T, random *rand.Rand) {
	const most = 2000 // bytes of a document
	var mu sync.Mutex // guards random
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	f, _ := newFetcher(&store{answer: func(r *http.Request) (*http.Response, error) {
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(time.Duration(roll(3000)) * time.Millisecond):
		}
		size, err := strconv.Atoi(r.URL.Query().Get("size"))
		if err != nil {
			t.Error(err)
		}
		length, tail := int64(size), io.EOF
		switch roll(8) {
		case 0:
			return nil, io.ErrUnexpectedEOF
		case 1:
			return response(500, http.NoBody, 0), nil
		case 2:
			return response(404, http.NoBody, 0), nil
		case 3:
			tail = io.ErrUnexpectedEOF
		case 4, 5:
			length = -1
		}
		step := time.Duration(roll(2000)) * time.Millisecond
		return response(200, &slowBody{r.Context(), size, step, tail}, length), nil
	}})
	var all sync.WaitGroup
	for range 300 {
		all.Go(func() {
			time.Sleep(time.Duration(roll(10_000)) * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(roll(8000))*time.Millisecond)
			defer cancel()
			size, integration := 1+roll(most+100), []string{"lab", "films", "maps"}[roll(3)]
			size -= size % 100 // so that requests share documents
			size = max(size, 100)
			d, release, err := f.Fetch(ctx, integration,
				"https://"+integration+".localhost/?size="+strconv.Itoa(size), most)
			f.mu.Lock()
			if f.fetches.total > maxFetches || f.held.total < 0 || f.held.total > maxHeld {
				t.Errorf("%d fetches and %d bytes are in use", f.fetches.total, f.held.total)
			}
			f.mu.Unlock()
			status, _ := errors.AsType[*StatusError](err)
			switch {
			case err == nil && len(d.Body) != size:
				t.Errorf("got %d bytes, want %d", len(d.Body), size)
			case err == nil:
				time.Sleep(time.Duration(roll(5000)) * time.Millisecond)
				release()
			case errors.Is(err, ErrTooLarge) && size <= most,
				!errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrUnavailable) &&
					!errors.Is(err, ErrOverloaded) && !errors.Is(err, context.DeadlineExceeded) &&
					status == nil:
				t.Errorf("%d bytes: Fetch = %v", size, err)
			}
		})
	}
	all.Wait()
	synctest.Wait()
	checkUnused(t, f)
}
