package main

import (
	"fmt"
	"os"
	"time"
)

// contender is what takes its turn in each round.
type contender struct {
	name  string
	p     *process
	keys  int // 1: always the same path
	miss  bool
	path  string
	lines []string // of each request's header
	took  []sample
	ratio []float64 // to the first contender, in the same round
}

// takeTurns measures all in turn, the first of them being what the others are compared with.
func (b *bench) takeTurns(contenders []*contender) error {
	kept := contenders[:1]
	for _, c := range contenders[1:] {
		if b.only.MatchString(c.name) {
			kept = append(kept, c)
		}
	}
	for round := range b.rounds {
		for _, c := range kept {
			keys, first := c.keys, 0
			if c.miss {
				keys, first = 2_000_000_000, (round+1)*7_654_321
			}
			s, err := b.load(c.p, keys, first, b.duration, c.path, c.lines...)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.took = append(c.took, s)
			c.ratio = append(c.ratio, s.rate/kept[0].took[round].rate)
		}
	}
	fmt.Printf("| | ratio | min | max | requests/s | CPU/request | p99 | p99 ratio |\n|---|---|---|---|---|---|---|---|\n")
	p99 := median(each(kept[0].took, func(s sample) time.Duration { return s.p99 }))
	for _, c := range kept {
		sorted := sortedCopy(c.ratio)
		own := median(each(c.took, func(s sample) time.Duration { return s.p99 }))
		fmt.Printf("| %s | %.2f | %.2f | %.2f | %.0f | %.1f us | %v | %.2f |\n", c.name, median(c.ratio), sorted[0], sorted[len(sorted)-1],
			median(each(c.took, func(s sample) float64 { return s.rate })),
			float64(median(each(c.took, func(s sample) time.Duration { return s.cpu })).Nanoseconds())/1000, own, float64(own)/float64(p99))
	}
	fmt.Println()
	return nil
}

// redirects compares who answers redirects.
func (b *bench) redirects() error {
	fmt.Printf("## Redirects\n\n%d rounds of %v; server on one core, wrk -t1 -c64 on the other\n\n", b.rounds, b.duration)
	const most = 1_000_000
	small, err := b.startProxy("small", "")
	if err != nil {
		return err
	}
	medium, err := b.startProxy("medium", "cache: {urls: 80000}\n")
	if err != nil {
		return err
	}
	large, err := b.startProxy("large", fmt.Sprintf("cache: {urls: %d}\n", most*5/4))
	if err != nil {
		return err
	}
	logged, err := b.startProxy("logged", "log: {access: true}\n")
	if err != nil {
		return err
	}
	id, cookie, err := startIdentityProvider()
	if err != nil {
		return err
	}
	defer id.Close()
	known, err := b.startProxy("known", "", fmt.Sprintf("{jwt: {issuer: '%[1]s', jwks_url: '%[1]s', audience: media, cookie: session}, anonymous: true}", id.URL))
	if err != nil {
		return err
	}
	ruled, err := b.startProxy("ruled", "", "{anonymous: true, rules: [{known: true, locators: ['s3://bucket/users/{user}/*', 's3://other-*/*']}, {anonymous: true, locators: ['s3://bucket/albums/*']}]}")
	if err != nil {
		return err
	}
	bare, err := b.startSelf("bare")
	if err != nil {
		return err
	}
	presigner, err := b.startSelf("presigner")
	if err != nil {
		return err
	}
	contenders := []*contender{
		{name: "bare net/http, a constant", p: bare, keys: 1, path: keyPath(0)},
		{name: "hit, 1 key", p: small, keys: 1, path: keyPath(0)},
		{name: "bare net/http, paths of 10 k keys", p: bare, keys: 10_000},
		{name: "hit, 10 k keys", p: small, keys: 10_000},
		{name: "hit, 64 k keys", p: medium, keys: 64_000},
		{name: "hit, 1 M keys", p: large, keys: most},
		{name: "miss, every key another", p: small, miss: true},
		{name: "hit, 10 k keys, access log", p: logged, keys: 10_000},
		{name: "bare net/http, with the cookie", p: bare, keys: 1, path: keyPath(0), lines: []string{cookie}},
		{name: "hit, 10 k keys, a token in the cookie", p: known, keys: 10_000, lines: []string{cookie}},
		{name: "hit, 10 k keys, rules", p: ruled, keys: 10_000},
		{name: "SDK's presigner per request", p: presigner, keys: 1, path: keyPath(0)},
	}
	for _, c := range contenders {
		if c.p.admin != "" && c.keys > 1 && b.only.MatchString(c.name) {
			if err := b.fillTo(c.p, c.keys); err != nil {
				return err
			}
		}
	}
	if nginx, err := b.startNginx(bare); err == nil {
		contenders = append(contenders, &contender{name: "nginx, proxy_cache hit", p: nginx, keys: 1, path: keyPath(0)})
	} else {
		fmt.Printf("without nginx: %v\n\n", err)
	}
	if registry, path, err := b.startRegistry(); err == nil {
		contenders = append(contenders, &contender{name: "distribution's registry to MinIO", p: registry, keys: 1, path: path})
	} else {
		fmt.Printf("without distribution's registry: %v\n\n", err)
	}
	return b.takeTurns(contenders)
}

// turn looks at the second in which a window turns over and 100,000 hot keys all get another URL.
func (b *bench) turn() error {
	const keys, seconds = 100_000, 36
	fmt.Printf("## The window's turn\n\n%d hot keys, a window of 12 s, measured second by second\n\n", keys)
	p, err := b.startProxy("turn", fmt.Sprintf("url_lifetime: 60s\nmin_remaining: 48s\ncache: {urls: %d}\n", keys*5/4))
	if err != nil {
		return err
	}
	if err := b.fillTo(p, keys); err != nil {
		return err
	}
	var calm, turning []sample
	for second := range seconds {
		before, err := p.metric(`cache_lookups_total{cache="urls",integration="bench",result="miss"}`)
		if err != nil {
			return err
		}
		s, err := b.load(p, keys, second*31, time.Second, "")
		if err != nil {
			return err
		}
		after, err := p.metric(`cache_lookups_total{cache="urls",integration="bench",result="miss"}`)
		if err != nil {
			return err
		}
		// A window's first second is the one in which most of its keys are signed.
		if after-before > s.rate/2 {
			turning = append(turning, s)
		} else {
			calm = append(calm, s)
		}
	}
	if len(turning) == 0 || len(calm) == 0 {
		return fmt.Errorf("%d seconds with a turn, %d without", len(turning), len(calm))
	}
	fmt.Printf("| | seconds | requests/s | p99 |\n|---|---|---|---|\n")
	for _, row := range []struct {
		name string
		of   []sample
	}{{"all keys hit", calm}, {"most keys are signed anew", turning}} {
		fmt.Printf("| %s | %d | %.0f | %v |\n", row.name, len(row.of), median(each(row.of, func(s sample) float64 { return s.rate })),
			median(each(row.of, func(s sample) time.Duration { return s.p99 })))
	}
	fmt.Println()
	return nil
}

// fill looks for a cliff while the cache grows to a million entries and on, when each new entry drops an old one.
func (b *bench) fill() error {
	fmt.Printf("## Filling the cache\n\nevery key another, room for a million, second by second\n\n")
	p, err := b.startProxy("fill", "cache: {urls: 1000000}\n")
	if err != nil {
		return err
	}
	fmt.Printf("| entries after | requests/s | p99 | resident |\n|---|---|---|---|\n")
	last := 0.0
	for second := 0; second < 60 && last < 1_000_000; second++ {
		s, err := b.load(p, 2_000_000_000, second*7_654_321, time.Second, "")
		if err != nil {
			return err
		}
		entries, err := p.metric(`cache_entries{cache="urls"}`)
		if err != nil {
			return err
		}
		resident, err := p.residentBytes()
		if err != nil {
			return err
		}
		if second%4 == 0 || entries == last {
			fmt.Printf("| %.0f | %.0f | %v | %d MB |\n", entries, s.rate, s.p99, resident>>20)
		}
		if entries == last {
			break
		}
		last = entries
	}
	fmt.Println()
	return nil
}

// start measures from exec to the first redirect, what is resident then, and the binary's size.
func (b *bench) start() error {
	fmt.Printf("## Start, size and memory\n\n")
	var ours, theirs []time.Duration
	var idle int
	for range b.rounds * 4 {
		began := time.Now()
		p, err := b.startProxy("start", "")
		if err != nil {
			return err
		}
		ours = append(ours, time.Since(began))
		if idle, err = p.residentBytes(); err != nil {
			return err
		}
		began = time.Now()
		bare, err := b.startSelf("bare")
		if err != nil {
			return err
		}
		if _, err := locationOf("http://" + bare.address + "/"); err != nil {
			return err
		}
		theirs = append(theirs, time.Since(began))
		b.stopAll()
	}
	info, err := os.Stat(b.proxy)
	if err != nil {
		return err
	}
	fmt.Printf("| | |\n|---|---|\n| exec to first redirect, AssumeRole included | %v |\n| bare net/http, exec to first answer | %v |\n| ratio | %.2f |\n| binary, stripped | %.1f MB |\n| resident after one redirect | %.1f MB |\n\n",
		median(ours).Round(100*time.Microsecond), median(theirs).Round(100*time.Microsecond), float64(median(ours))/float64(median(theirs)), float64(info.Size())/1e6, float64(idle)/(1<<20))
	return nil
}

func each[T, U any](from []T, f func(T) U) []U {
	to := make([]U, len(from))
	for i, v := range from {
		to[i] = f(v)
	}
	return to
}
