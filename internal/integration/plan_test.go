package integration

import (
	"testing"
	"time"

	"s3redirect/internal/presign"
)

// The arithmetic of windows, for every range of times that a configuration may have and every instant until 2200: an instant is in
// its window, windows follow each other without a gap, and the URLs of one that a session was fetched for in time live as promised.
func FuzzPlan(f *testing.F) {
	f.Add(int64(1_790_000_000), uint32(45*60), uint32(15*60), uint64(7), uint32(3600), int32(0))
	f.Add(int64(0), uint32(2), uint32(1), uint64(0), uint32(900), int32(-5))
	f.Add(int64(-1), uint32(604800), uint32(1), ^uint64(0), uint32(43200), int32(100))
	f.Add(int64(1<<32), uint32(61), uint32(60), uint64(1<<63), uint32(900), int32(61))
	f.Fuzz(func(t *testing.T, unix int64, lifetime, remaining uint32, digest uint64, lives uint32, late int32) {
		l, r := time.Duration(lifetime%604800+2)*time.Second, time.Duration(remaining)*time.Second
		r = time.Second + r%(l-time.Second) // less than l, a second at least
		now := time.Unix(unix%7_000_000_000, 0)
		var id identity
		for n := range 8 {
			id[n] = byte(digest >> (8 * n))
		}
		p := newPlan(l, r, id)
		k := p.index(now)
		start, end := p.start(k), p.start(k+1)
		if now.Before(start) || !now.Before(end) || end.Sub(start) != l-r || p.index(start) != k || p.index(end) != k+1 || p.index(end.Add(-1)) != k {
			t.Fatalf("%v: window %d from %v to %v, of %v", now, k, start, end, p.period)
		}
		if start.Nanosecond() != 0 || p.phase < 0 || p.phase >= p.period {
			t.Fatalf("window %d starts at %v, phase %v", k, start, p.phase)
		}
		issued := start.Add(time.Duration(late) * time.Second)
		s := &session{window: k, issued: issued, expires: issued.Add(time.Duration(lives) * time.Second), credentials: presign.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}}
		w := p.newWindow(k, s, 0.5)
		switch {
		case w.Expires.After(s.expires), w.Expires.Sub(w.SignedAt) > l, w.SignedAt.Before(issued), w.fresh.After(w.End):
			t.Fatalf("%+v", w)
		case w.fetchAt.Before(start) || w.fetchAt.After(end):
			t.Fatalf("the next session is fetched at %v, of a window from %v to %v", w.fetchAt, start, end)
		}
		// Until the last instant for which a redirect may be kept, the URL has r left.
		if age := w.MaxAge(now); age > 0 && w.Remaining(now.Add(age)) < r {
			t.Fatalf("kept for %v from %v, the URL has %v left, not %v", age, now, w.Remaining(now.Add(age)), r)
		}
		if w.usable(now) && w.Remaining(now) < p.floor {
			t.Fatalf("handed out with %v left", w.Remaining(now))
		}
	})
}
