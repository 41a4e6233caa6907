package integration

import (
	"testing"
	"time"

	"s3redirect/internal/presign"
)

// FuzzPlan checks the window arithmetic for all durations that a configuration may have, and
// instants until about 2190: an instant is in its window, windows have no gaps between them, and
// URLs are valid as long as promised.
func FuzzPlan(f *testing.F) {
	f.Add(int64(1_790_000_000), uint32(45*60), uint32(15*60), uint64(7), uint32(3600), int32(0))
	f.Add(int64(0), uint32(2), uint32(1), uint64(0), uint32(900), int32(-5))
	f.Add(int64(-1), uint32(604800), uint32(1), ^uint64(0), uint32(43200), int32(100))
	f.Add(int64(1<<32), uint32(61), uint32(60), uint64(1<<63), uint32(900), int32(61))
	f.Fuzz(testPlan)
}

func testPlan(
	t *testing.T, unix int64, lifetime, remaining uint32, digest uint64, lives uint32, late int32,
) {
	l := time.Duration(lifetime%604800+2) * time.Second
	r := time.Duration(remaining) * time.Second
	r = time.Second + r%(l-time.Second) // from 1s to less than l
	now := time.Unix(unix%7_000_000_000, 0)
	var id identity
	for n := range 8 {
		id[n] = byte(digest >> (8 * n))
	}
	p := newPlan(l, r, id)
	k := p.index(now)
	start, end := p.start(k), p.start(k+1)
	if now.Before(start) || !now.Before(end) || end.Sub(start) != l-r {
		t.Fatalf("index(%v) = %d, a window from %v to %v, want %v", now, k, start, end, l-r)
	}
	if p.index(start) != k || p.index(end) != k+1 || p.index(end.Add(-1)) != k {
		t.Fatalf("window %d: index of its start, end, and end - 1ns = %d, %d, %d",
			k, p.index(start), p.index(end), p.index(end.Add(-1)))
	}
	if start.Nanosecond() != 0 || p.phase < 0 || p.phase >= p.period {
		t.Fatalf("start(%d) = %v, phase %v, want whole seconds and 0 to %v",
			k, start, p.phase, p.period)
	}
	issued := start.Add(time.Duration(late) * time.Second)
	s := &session{
		window:      k,
		issued:      issued,
		expires:     issued.Add(time.Duration(lives) * time.Second),
		credentials: presign.Credentials{AccessKeyID: "a", SecretAccessKey: "b"},
	}
	w := p.newWindow(k, s, 0.5)
	if w.Expires.After(s.expires) || w.Expires.Sub(w.SignedAt) > l ||
		w.SignedAt.Before(issued) || w.fresh.After(w.End) {
		t.Fatalf("newWindow of a session from %v to %v = %+v", issued, s.expires, w)
	}
	if w.fetchAt.Before(start) || w.fetchAt.After(end) {
		t.Fatalf("fetchAt = %v, want from %v to %v", w.fetchAt, start, end)
	}
	// When a redirect leaves a client's cache, its URL has r left.
	if age := w.MaxAge(now); age > 0 && w.Remaining(now.Add(age)) < r {
		t.Fatalf("cached for %v from %v, the URL has %v left, want %v",
			age, now, w.Remaining(now.Add(age)), r)
	}
	if w.usable(now) && w.Remaining(now) < p.floor {
		t.Fatalf("usable with %v left, want at least %v", w.Remaining(now), p.floor)
	}
}
