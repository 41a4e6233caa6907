package main

import (
	"fmt"
	"os"
	"slices"
	"time"
)

// contender is a server and a load that take part in a comparison.
type contender struct {
	name    string
	p       *process
	keys    int // number of different keys; 1 means path only
	miss    bool
	path    string
	header  []string   // header lines of each request
	base    *contender // what it is compared with; nil means the first contender
	samples []sample
	ratios  []float64 // of the rate to the base's, by round
}

// compare measures the contenders in turns and prints a table. Each is compared with its base,
// which must come before it.
func (b *bench) compare(contenders []*contender) error {
	needed := map[*contender]bool{}
	for _, c := range slices.Backward(contenders) {
		if c.base == nil {
			c.base = contenders[0]
		}
		if needed[c] || b.only.MatchString(c.name) {
			needed[c], needed[c.base] = true, true
		}
	}
	selected := slices.DeleteFunc(slices.Clone(contenders), func(c *contender) bool {
		return !needed[c]
	})
	for round := range b.rounds {
		for _, c := range selected {
			keys, first := c.keys, 0
			if c.miss {
				keys, first = fillKeys, (round+1)*7_654_321
			}
			s, err := b.load(c.p, keys, first, b.duration, c.path, c.header...)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.samples = append(c.samples, s)
			c.ratios = append(c.ratios, s.rate/c.base.samples[round].rate)
		}
	}
	fmt.Println("| | ratio | min | max | to | requests/s | CPU/request | p99 | p99 ratio |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, c := range selected {
		p99, baseP99 := medianP99(c.samples), medianP99(c.base.samples)
		fmt.Printf("| %s | %.2f | %.2f | %.2f | %s | %.0f | %s | %v | %.2f |\n", c.name,
			median(c.ratios), slices.Min(c.ratios), slices.Max(c.ratios), c.base.name,
			medianRate(c.samples), microseconds(medianCPU(c.samples)),
			p99, float64(p99)/float64(baseP99))
	}
	fmt.Println()
	return nil
}

// browserHeader is what Chromium sends for an image, besides Host.
var browserHeader = []string{
	"Connection: keep-alive",
	`sec-ch-ua-platform: "Linux"`,
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " +
		"Chrome/156.0.0.0 Safari/537.36",
	`sec-ch-ua: "Chromium";v="156", "Not)A;Brand";v="24"`,
	"sec-ch-ua-mobile: ?0",
	"Accept: image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
	"Sec-Fetch-Site: same-origin",
	"Sec-Fetch-Mode: no-cors",
	"Sec-Fetch-Dest: image",
	"Referer: https://app.example.com/albums/2026/a-folder-with-a-name",
	"Accept-Encoding: gzip, deflate, br, zstd",
	"Accept-Language: en-US,en;q=0.9",
}

// redirects compares s3redirect with other servers that answer redirects.
func (b *bench) redirects() error {
	fmt.Printf("## Redirects\n\n%d rounds of %v; server on one core, wrk -t1 -c64 on the other\n\n",
		b.rounds, b.duration)
	const maxKeys = 1_000_000
	id, cookie, err := startIdentityProvider()
	if err != nil {
		return err
	}
	defer id.Close()
	servers, err := b.startRedirectServers(id.URL, maxKeys)
	if err != nil {
		return err
	}
	small, bare := servers["small"], servers["bare"]
	bareKeys := &contender{name: "bare net/http", p: bare, keys: 10_000}
	bareCookie := &contender{name: "bare, with the cookie", p: bare, keys: 10_000,
		header: []string{cookie}}
	bareBrowser := &contender{name: "bare, browser", p: bare, keys: 10_000, header: browserHeader}
	contenders := []*contender{
		bareKeys,
		{name: "raw socket in Go, a constant", p: servers["raw"], keys: 10_000},
		{name: "hit, 1 key", p: small, keys: 1, path: keyPath(0)},
		{name: "hit, 10 k keys", p: small, keys: 10_000},
		{name: "hit, 10 k keys, --wire=false", p: servers["wire off"], keys: 10_000},
		bareBrowser,
		{name: "hit, 10 k keys, browser", p: small, keys: 10_000, header: browserHeader,
			base: bareBrowser},
		{name: "hit, 64 k keys", p: servers["medium"], keys: 64_000},
		{name: "hit, 1 M keys", p: servers["large"], keys: maxKeys},
		{name: "miss, always another key", p: servers["miss"], miss: true},
		{name: "hit, 10 k keys, access log", p: servers["access log"], keys: 10_000},
		bareCookie,
		{name: "hit, 10 k keys, token in the cookie", p: servers["token"], keys: 10_000,
			header: []string{cookie}, base: bareCookie},
		{name: "hit, 10 k keys, rules", p: servers["rules"], keys: 10_000},
		{name: "SDK's presigner per request", p: servers["presigner"], keys: 1, path: keyPath(0)},
	}
	for _, c := range contenders {
		if c.p.admin != "" && c.keys > 1 && b.only.MatchString(c.name) {
			if err := b.fillCache(c.p, c.keys); err != nil {
				return err
			}
		}
	}
	return b.compare(append(contenders, b.startPeers(bare)...))
}

// startRedirectServers starts s3redirect with the configurations that redirects compares, and this
// program. It returns the servers by name. The largest URL cache has room for maxKeys.
func (b *bench) startRedirectServers(issuer string, maxKeys int) (map[string]*process, error) {
	servers := map[string]*process{}
	for _, s := range []struct{ name, config, viewers string }{
		{name: "small"},
		{name: "miss"}, // misses would evict the keys of the hits of the next round
		{name: "medium", config: "cache: {urls: 80000}\n"},
		{name: "large", config: fmt.Sprintf("cache: {urls: %d}\n", maxKeys*5/4)},
		{name: "access log", config: "log: {access: true}\n"},
		{name: "token", viewers: fmt.Sprintf("{anonymous: true, jwt: {issuer: '%[1]s', "+
			"jwks_url: '%[1]s', audience: media, cookie: session}}", issuer)},
		{name: "rules", viewers: "{anonymous: true, rules: [" +
			"{known: true, locators: ['s3://bucket/users/{user}/*', 's3://other-*/*']}, " +
			"{anonymous: true, locators: ['s3://bucket/albums/*']}]}"},
	} {
		p, err := b.startProxy(s.name, s.config, s.viewers)
		if err != nil {
			return nil, err
		}
		servers[s.name] = p
	}
	off, err := b.startBuild(b.proxy, "wire off", "", "", "--wire=false")
	if err != nil {
		return nil, err
	}
	servers["wire off"] = off
	for _, kind := range []string{"bare", "presigner", "raw"} {
		if servers[kind], err = b.startSelf(kind); err != nil {
			return nil, err
		}
	}
	return servers, nil
}

// startPeers starts other programs, and returns a contender for each. It skips those that are
// missing. bare is the upstream of the caches.
func (b *bench) startPeers(bare *process) (contenders []*contender) {
	for _, peer := range []struct {
		name  string
		start func() (*process, error)
	}{
		{"nginx, proxy_cache hit", func() (*process, error) { return b.startNginx(bare) }},
		{"nginx, return 302", func() (*process, error) { return b.startNginx(nil) }},
		{"HAProxy, redirect", b.startHAProxy},
		{"Varnish hit", func() (*process, error) { return b.startVarnish(bare) }},
	} {
		if !b.only.MatchString(peer.name) {
			continue
		}
		if p, err := peer.start(); err == nil {
			contenders = append(contenders,
				&contender{name: peer.name, p: p, keys: 1, path: keyPath(0)})
		} else {
			fmt.Printf("skipped %s: %v\n\n", peer.name, err)
		}
	}
	const registry = "distribution's registry, MinIO"
	if !b.only.MatchString(registry) {
		return contenders
	}
	if p, path, err := b.startRegistry(); err == nil {
		contenders = append(contenders, &contender{name: registry, p: p, keys: 1, path: path})
	} else {
		fmt.Printf("skipped %s: %v\n\n", registry, err)
	}
	return contenders
}

// turn compares the seconds in which a window ends, and 100,000 hot keys get new URLs, with others.
func (b *bench) turn() error {
	const keys, seconds = 100_000, 36
	fmt.Printf("## Turn of the window\n\n%d hot keys, a window of 12 s, measured every second\n\n",
		keys)
	config := fmt.Sprintf("url_lifetime: 60s\nmin_remaining: 48s\ncache: {urls: %d}\n", keys*5/4)
	p, err := b.startProxy("turn", config, "")
	if err != nil {
		return err
	}
	if err := b.fillCache(p, keys); err != nil {
		return err
	}
	const misses = `cache_lookups_total{cache="urls",integration="bench",result="miss"}`
	var hitting, signing []sample
	for second := range seconds {
		before, err := p.metric(misses)
		if err != nil {
			return err
		}
		s, err := b.load(p, keys, second*31, time.Second, "")
		if err != nil {
			return err
		}
		after, err := p.metric(misses)
		if err != nil {
			return err
		}
		// Most keys are signed in the first second of a window.
		if after-before > s.rate/2 {
			signing = append(signing, s)
		} else {
			hitting = append(hitting, s)
		}
	}
	if len(signing) == 0 || len(hitting) == 0 {
		return fmt.Errorf("%d seconds with mostly misses and %d with mostly hits; want both",
			len(signing), len(hitting))
	}
	fmt.Println("| | seconds | requests/s | p99 |\n|---|---|---|---|")
	for _, row := range []struct {
		name    string
		samples []sample
	}{{"all keys hit", hitting}, {"most keys are signed", signing}} {
		fmt.Printf("| %s | %d | %.0f | %v |\n", row.name, len(row.samples),
			medianRate(row.samples), medianP99(row.samples))
	}
	fmt.Println()
	return nil
}

// start measures the time from exec to the first redirect, the resident memory after it, and the
// size of the binary.
func (b *bench) start() error {
	fmt.Printf("## Start, size and memory\n\n")
	var proxyTimes, bareTimes []time.Duration
	var resident int
	for range b.rounds * 4 {
		began := time.Now()
		p, err := b.startProxy("start", "", "")
		if err != nil {
			return err
		}
		proxyTimes = append(proxyTimes, time.Since(began))
		if resident, err = p.residentBytes(); err != nil {
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
		bareTimes = append(bareTimes, time.Since(began))
		b.stopAll()
	}
	info, err := os.Stat(b.proxy)
	if err != nil {
		return err
	}
	proxyTime, bareTime := median(proxyTimes), median(bareTimes)
	fmt.Println("| | |\n|---|---|")
	fmt.Printf("| exec to first redirect, including AssumeRole | %v |\n",
		proxyTime.Round(100*time.Microsecond))
	fmt.Printf("| bare net/http, exec to first response | %v |\n",
		bareTime.Round(100*time.Microsecond))
	fmt.Printf("| ratio | %.2f |\n", float64(proxyTime)/float64(bareTime))
	fmt.Printf("| binary, stripped | %.1f MB |\n", float64(info.Size())/1e6)
	fmt.Printf("| resident after one redirect | %.1f MB |\n\n", float64(resident)/(1<<20))
	return nil
}

// median returns the median of at least one value. The upper of two middle values would be the rate
// of a fast round, but the CPU time of a slow one.
func median[T int | float64 | time.Duration](values []T) T {
	sorted, n := slices.Sorted(slices.Values(values)), len(values)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func medianRate(samples []sample) float64 {
	return medianOf(samples, func(s sample) float64 { return s.rate })
}

func medianP99(samples []sample) time.Duration {
	return medianOf(samples, func(s sample) time.Duration { return s.p99 })
}

func medianCPU(samples []sample) time.Duration {
	return medianOf(samples, func(s sample) time.Duration { return s.cpu })
}

func medianOf[T float64 | time.Duration](samples []sample, field func(sample) T) T {
	var values []T
	for _, s := range samples {
		values = append(values, field(s))
	}
	return median(values)
}

func microseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f us", float64(d.Nanoseconds())/1000)
}
