package sim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// apply makes a step happen. It returns when its requests have been sent; some may still wait.
func (w *world) apply(s *Step) {
	w.note(time.Now(), "step %s replica %d integration %d browser %d count %d %s %v", s.Kind, s.Replica,
		s.Integration, s.Browser, s.Count, s.Fault, time.Duration(s.By))
	rnd := source(s.Draw, uint64(s.At))
	r := w.replicas[s.Replica%len(w.replicas)]
	number := s.Integration % len(w.settings.integrations)
	b := w.browsers[s.Browser%len(w.browsers)]
	switch s.Kind {
	case Visit:
		w.visit(b, s.Count, number, rnd)
	case Return:
		w.goBack(b, r, rnd)
	case Burst:
		w.burst(r, number, s.Count, rnd)
	case Batch:
		w.presign(r, number, s.Count, rnd)
	case Hostile:
		w.attack(r, number, s.Count, rnd)
	case Purge:
		w.purge(r, number)
	case Reload:
		w.reload(s.Fault, number, r, rnd)
	case Mistake:
		w.mistake(r, rnd)
	case Stop:
		if r.app != nil {
			w.model.died(r)
			r.die()
		}
	case Start:
		if r.app == nil {
			w.model.started()
			w.launch(r)
		}
	case Clock:
		w.model.disturbed(allRoles, "clock")
		r.setClock(time.Duration(s.By), 0)
	case Drift:
		r.setClock(r.clockError(time.Now()), time.Duration(s.By))
	case Groups:
		b.groups, b.stale = nil, true
		if b.user != "" && rnd.IntN(3) > 0 {
			b.groups = []string{groupNames[rnd.IntN(len(groupNames))]}
		}
	default:
		w.fault(s, r, number)
	}
	w.settle()
}

// fault makes a service fail, or work again.
func (w *world) fault(s *Step, r *replica, number int) {
	switch s.Kind {
	case STSFault:
		w.setSTSFault(number, stsFault{s.Fault, time.Duration(s.By)})
	case STSHeal:
		w.setSTSFault(number, stsFault{})
	case Revoke:
		w.cloud.RevokeSessions(w.settings.integrations[number].arn())
		w.revoked = append(w.revoked, number)
		w.model.revoked[number] = time.Now()
		w.model.disturbed(number, "revoked")
	case S3Fault, S3Heal:
		w.mu.Lock()
		w.s3Fault = s.Kind == S3Fault
		w.mu.Unlock()
		w.model.setFault("s3", allRoles, s.Kind == S3Fault)
	case IDFault, IDHeal:
		w.mu.Lock()
		w.providerFault = s.Kind == IDFault
		w.mu.Unlock()
		w.model.providerChanged(s.Kind == IDFault)
	case Rotate:
		w.mu.Lock()
		w.provider.rotate()
		w.mu.Unlock()
		w.model.providerChanged(w.model.providerFails)
	}
	if w.store == nil {
		return
	}
	switch s.Kind {
	case StoreFault:
		w.store.setFault(s.Fault, r.number)
		w.model.setFault("store", allRoles, true)
	case StoreHeal:
		w.store.setFault("", 0)
		w.model.setFault("store", allRoles, false)
	case Flush:
		w.store.flush()
		w.model.disturbed(allRoles, "flush")
	case Restore:
		w.store.restore()
		w.model.disturbed(allRoles, "restore")
	}
}

func (w *world) setSTSFault(number int, f stsFault) {
	w.mu.Lock()
	w.faults[number] = f
	w.mu.Unlock()
	w.model.setFault("sts", number, f.kind != "")
}

// anyObject returns an object that an integration serves.
func (w *world) anyObject(number int, rnd *rand.Rand) (bucket, key string) {
	bucket, key = bucketOf(number), objectKeys[rnd.IntN(len(objectKeys))]
	if rnd.IntN(4) == 0 {
		return []string{"team-a", "team-b"}[rnd.IntN(2)], key
	}
	if o := w.settings.integrations[number].scope; o.on {
		within := slices.DeleteFunc(slices.Clone(objectKeys), func(key string) bool {
			return !strings.HasPrefix(key, o.prefix)
		})
		return scopedBucket, within[rnd.IntN(len(within))]
	}
	return bucket, key
}

// visit loads some objects, each from some replica that lives.
func (w *world) visit(b *browser, count, number int, rnd *rand.Rand) {
	for range count {
		bucket, key := w.anyObject(number, rnd)
		if r := w.anyReplica(rnd); r != nil {
			w.load(b, r, bucket, key, rnd)
		}
		w.tick(rnd)
	}
}

// anyReplica returns a replica that lives, or nil.
func (w *world) anyReplica(rnd *rand.Rand) *replica {
	first := rnd.IntN(len(w.replicas))
	for n := range w.replicas {
		if r := w.replicas[(first+n)%len(w.replicas)]; r.app != nil {
			return r
		}
	}
	return nil
}

// burst sends requests of many clients within some microseconds.
func (w *world) burst(r *replica, number, count int, rnd *rand.Rand) {
	for range count {
		bucket, key := w.anyObject(number, rnd)
		v := w.viewerOf(w.browsers[rnd.IntN(linkBrowser)], rnd)
		w.ask(w.newRequest(v, r, bucket, key))
		w.tick(rnd)
	}
}

// presign asks a replica for the URLs of some objects at once.
func (w *world) presign(r *replica, number, count int, rnd *rand.Rand) {
	v := w.viewerOf(w.browsers[rnd.IntN(linkBrowser)], rnd)
	var requests []*request
	for range count {
		bucket, key := w.anyObject(number, rnd)
		requests = append(requests, w.newRequest(v, r, bucket, key))
	}
	w.askBatch(requests)
	w.tick(rnd)
}

// purge purges one integration at one replica, or all.
func (w *world) purge(r *replica, number int) {
	if r.app == nil {
		return
	}
	name := w.roleOf(r, number)
	w.model.purged(r, number)
	if _, err := r.app.Purge(name, ""); err != nil && name != "" {
		w.note(time.Now(), "purge r%d %s: %v", r.number, name, err)
	}
	w.model.disturbed(number, "purge")
}

// roleOf returns the name of an integration in a replica's configuration.
func (w *world) roleOf(r *replica, number int) string {
	return r.settings.integrations[number].name
}

// reload changes the configuration of all replicas or, during a rollout, of one.
func (w *world) reload(kind string, number int, only *replica, rnd *rand.Rand) {
	next := w.settings.change(kind, number, rnd)
	if key := next.integrations[number].key; key > w.keys[number] {
		w.keys[number] = key
		w.addKey(number, key)
	}
	w.settings = next
	rollout := rnd.IntN(4) == 0
	for _, r := range w.replicas {
		if r.app == nil || rollout && r != only {
			continue
		}
		w.replace(r, next)
		w.tick(rnd)
	}
}

// replace makes a replica use other settings.
func (w *world) replace(r *replica, next *settings) {
	for n := range next.integrations {
		if next.integrations[n].identity() != r.settings.integrations[n].identity() {
			w.model.disturbed(n, "reload")
		}
	}
	r.settings = next
	if err := r.reload(next.text()); err != nil {
		w.model.violate(Available, "replica %d rejects a valid configuration: %v", r.number, err)
	}
}

// mistake tries to load a configuration that must be rejected as a whole.
func (w *world) mistake(r *replica, rnd *rand.Rand) {
	if r.app == nil {
		return
	}
	text := r.settings.text()
	switch rnd.IntN(4) {
	case 0:
		text = text[:len(text)*3/4] + "\n  ]"
	case 1:
		text = strings.Replace(text, "anonymous: ", "anonymus: ", 1)
	case 2:
		text = strings.Replace(text, "name: ", "name: x\n    name: ", 1)
	case 3:
		text += "url_lifetime: 1h\nmin_remaining: 2h\n"
	}
	if err := r.reload(text); err == nil && text != r.settings.text() {
		w.model.violate(Access, "replica %d accepts a configuration with a mistake", r.number)
	}
}

// hostilePaths are what a client may send instead of the path of an object. BUCKET is a bucket.
var hostilePaths = []string{
	"/s3/BUCKET/public/../private/b.jpg",
	"/s3/BUCKET/public/%2e%2e/private/b.jpg",
	"/s3/BUCKET//private/b.jpg",
	"/s3/BUCKET/private//b.jpg",
	"/s3/BUCKET/private%2Fb.jpg",
	"/s3/BUCKET/private%5Cb.jpg",
	"/s3/BUCKET/%2Fprivate/b.jpg",
	"/s3/BUCKET%2Fprivate/b.jpg",
	"/s3//BUCKET/private/b.jpg",
	"/s3/./BUCKET/private/b.jpg",
	"/s3/../s3/BUCKET/private/b.jpg",
	"/s3/BUCKET/private/b.jpg%00",
	"/s3/BUCKET/PRIVATE/b.jpg",
	"/s3/BUCKET/private/deep/c.txt",
	"/s3/BUCKET//private//deep/c.txt",
	"/s3/BUCKET/private%5Cdeep%5Cc.txt",
	"/s3/BUCKET/private/deep/../b.jpg",
	"/s3/BUCKET/private/deep__XLDIR__",
	"/s3/BUCKET/users__XLDIR__",
	"/s3/BUCKET/%2Fusers%2Fann//raw/d",
	"/s3/BUCKET/users//ann/x",
	"/s3/BUCKET/users/ann%2Fx",
	"/s3/BUCKET/users%5Cann%5Cx",
	"/s3/BUCKET/lab/",
	"/s3/BUCKET/private/b.jpg/",
	"/s3/BUCKET/private/b.jpg?x=1",
	"/s3/BUCKET/public/a.jpg?versionId=x",
	"/s3/BUCKET/public/a.jpg?response-content-type=text/html",
	"/s3/BUCKET/users/ann/x",
	"/s3/BUCKET/users/bob/../ann/x",
	"/s3/BUCKET/private/b.jpg;x",
	"/s3/BUCKET/private/%62.jpg",
	"/s3/BUCKET",
	"/s3/nobody/BUCKET",
	"//s3/BUCKET/private/b.jpg",
	"http://evil.example/s3/BUCKET/private/b.jpg",
	"/authorize" + authorizedPath,
}

// authorizedPath is what /authorize is asked for.
const authorizedPath = "/s3/BUCKET/" + authorizedKey

const authorizedKey = "private/b.jpg"

// attack sends hostile paths, forged headers and altered links.
func (w *world) attack(r *replica, number, count int, rnd *rand.Rand) {
	for range count {
		bucket, _ := w.anyObject(number, rnd)
		q := w.newRequest(w.viewerOf(w.browsers[rnd.IntN(linkBrowser)], rnd), r, bucket, "")
		q.target = strings.Replace(hostilePaths[rnd.IntN(len(hostilePaths))], "BUCKET", bucket, 1)
		switch rnd.IntN(5) {
		case 0: // the headers do not come from the reverse proxy
			q.peer, q.viewer = "192.0.2.66:6666", &viewer{}
			q.lines = []string{"X-User: ann", "X-Groups: lab", "X-Forwarded-For: 10.0.0.1"}
		case 1:
			q.lines = slices.DeleteFunc(q.lines, func(line string) bool {
				return strings.HasPrefix(line, "X-Groups")
			})
		case 2:
			forged := newProvider(rnd.Uint64()).issue("ann", []string{"lab"}, time.Now().Add(time.Hour))
			q.viewer, q.lines = &viewer{}, []string{"Authorization: Bearer " + forged.text}
		case 3:
			if l := w.browsers[linkBrowser].link; l != nil {
				q.target, _, _ = strings.Cut(q.target, "?")
				q.target += "?" + l.query
				q.viewer = &viewer{link: l}
			}
		}
		w.ask(q)
		w.tick(rnd)
	}
}

// recover ends all faults, waits, and checks that everything works again: at first soon, and then for
// some windows.
func (w *world) recover() {
	rnd := source(w.seed, streamRecovery)
	w.note(time.Now(), "recover")
	for n := range w.settings.integrations {
		w.setSTSFault(n, stsFault{})
	}
	w.fault(&Step{Kind: StoreHeal}, w.replicas[0], 0)
	w.fault(&Step{Kind: S3Heal}, w.replicas[0], 0)
	w.fault(&Step{Kind: IDHeal}, w.replicas[0], 0)
	for _, r := range w.replicas {
		r.setClock(0, 0)
		if r.app == nil {
			w.launch(r)
		} else {
			w.replace(r, w.settings)
		}
		w.tick(rnd)
		for _, n := range w.revoked { // while a replica was dead, perhaps
			w.purge(r, n)
			w.tick(rnd)
		}
	}
	w.model.disturbed(allRoles, "recover")
	pauses := []time.Duration{recoveryTime, recoveryTime, 2 * time.Hour}
	for range 4 {
		pauses = append(pauses, time.Minute+time.Duration(rnd.Int64N(int64(20*time.Minute))))
	}
	for _, pause := range pauses {
		w.until(time.Now().Add(pause))
		w.model.recovered = true
		w.askAll(rnd)
		if w.model.violation != nil {
			return
		}
	}
}

// askAll asks every replica for an object of every integration, and lets it answer.
func (w *world) askAll(rnd *rand.Rand) {
	for _, r := range w.replicas {
		for n := range w.settings.integrations {
			v := w.viewerOf(w.browsers[n%linkBrowser], rnd)
			bucket, key := w.settings.object(n)
			w.ask(w.newRequest(v, r, bucket, key))
			w.tick(rnd)
		}
	}
	w.until(time.Now().Add(served))
}
