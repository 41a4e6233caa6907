package viewer

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"s3redirect/internal/config"
)

func bcryptOf(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestPasswords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	at := now
	write := func(text string) {
		t.Helper()
		at = at.Add(time.Minute)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	ann := "ann:" + strings.Replace(bcryptOf(t, "canary: a:b"), "$2a$", "$2y$", 1) // as htpasswd writes it
	write("# users\n\n" + ann + "\nübob:" + bcryptOf(t, "b") + "\n")
	var log strings.Builder
	g, err := New(&config.Viewers{Basic: &config.Basic{HtpasswdFile: file}}, Options{Clock: func() time.Time { return at }, Log: newLog(&log)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	want := func(what, authorization, id string) {
		t.Helper()
		r := request("192.0.2.1:1", "Authorization", authorization)
		for range 2 { // the second time from memory
			v, err := g.Identify(r, at)
			if v.ID != id || (err == nil) != (id != "") || err != nil && !errors.Is(err, ErrUnknown) {
				t.Errorf("%s: %q, %v, want %q", what, v.ID, err, id)
			}
		}
	}
	want("the password", basic("ann", "canary: a:b"), "ann")
	want("a small scheme", "basic "+basic("ann", "canary: a:b")[6:], "ann")
	want("a name that is not ASCII", basic("übob", "b"), "übob")
	want("another password", basic("ann", "canary: a:c"), "")
	want("no password", basic("ann", ""), "")
	want("another's password", basic("übob", "canary: a:b"), "")
	want("nobody's", basic("eve", "nobody"), "") // the one that the file's stranger is compared with
	want("no user", basic("", "nobody"), "")
	want("no colon", "Basic "+base64.StdEncoding.EncodeToString([]byte("ann")), "")
	want("no base64", "Basic ann:canary", "")
	want("nothing", "Basic", "")
	want("another scheme", "Bearer x", "")
	want("longer than bcrypt looks at", basic("ann", "canary: a:b"+strings.Repeat("x", 100)), "")
	r := request("192.0.2.1:1", "Authorization", basic("ann", "canary: a:b"), "Authorization", basic("übob", "b"))
	if _, err := g.Identify(r, at); !errors.Is(err, ErrUnknown) {
		t.Errorf("two at once: %v", err)
	}

	write(ann[:len(ann)-3] + "\n") // broken
	want("after a broken version", basic("ann", "canary: a:b"), "ann")
	if !strings.Contains(log.String(), "htpasswd:1: the hash of ann is not a bcrypt hash") {
		t.Errorf("it said %s", log.String())
	}
	write("ann:" + bcryptOf(t, "new") + "\n")
	want("the old password, which was remembered", basic("ann", "canary: a:b"), "")
	want("the new password", basic("ann", "new"), "ann")
	want("who is gone", basic("übob", "b"), "")
	if strings.Contains(log.String(), "canary") {
		t.Error("the password is in the log")
	}
}

// The time of an answer must not reveal which users exist: every check takes as many rounds of
// bcrypt as the file's most expensive hash, whichever user it names.
func TestPasswordChecksTakeTheSameTime(t *testing.T) {
	hash := func(password string, cost int) string {
		h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
		if err != nil {
			t.Fatal(err)
		}
		return string(h)
	}
	const highest = bcrypt.MinCost + 3
	file := filepath.Join(t.TempDir(), "htpasswd")
	text := "cheap:" + hash("a", bcrypt.MinCost) + "\nmiddle:" + hash("b", bcrypt.MinCost+1) + "\ndear:" + hash("c", highest) + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := newPasswordVerifier(file, Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	rounds := 0
	p.compare = func(hash, password []byte) error {
		err := bcrypt.CompareHashAndPassword(hash, password)
		if cost, costErr := bcrypt.Cost(hash); costErr == nil && (err == nil || errors.Is(err, bcrypt.ErrMismatchedHashAndPassword)) {
			rounds += 1 << cost
		}
		return err
	}
	for _, c := range []struct {
		user, password string
		good           bool
	}{
		{"cheap", "a", true}, {"middle", "b", true}, {"dear", "c", true},
		{"cheap", "x", false}, {"middle", "x", false}, {"dear", "x", false},
		{"nobody", "x", false}, {"nobody", "a", false}, {"", "x", false}, {"cheap", "", false}, {"dear", "a", false},
	} {
		rounds = 0
		_, err := p.verify(t.Context(), basic(c.user, c.password)[6:], time.Now())
		if (err == nil) != c.good || rounds != 1<<highest {
			t.Errorf("%s:%s took %d rounds, %v; want %d, accepted: %v", c.user, c.password, rounds, err, 1<<highest, c.good)
		}
	}
}

// Bcrypt ignores what follows 72 bytes: a longer password is rejected, and not taken for the one
// that it begins with.
func TestLongPasswords(t *testing.T) {
	password := strings.Repeat("x", 72)
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("ann:"+bcryptOf(t, password)), 0o600); err != nil {
		t.Fatal(err)
	}
	if bcrypt.CompareHashAndPassword([]byte(bcryptOf(t, password)), []byte(password+"y")) != nil {
		t.Fatal("bcrypt no longer ignores what follows 72 bytes")
	}
	g := newGate(t, &config.Viewers{Basic: &config.Basic{HtpasswdFile: file}}, nil)
	for text, good := range map[string]bool{password: true, password + "y": false, password + password: false, password[1:]: false} {
		_, err := g.Identify(request("192.0.2.1:1", "Authorization", basic("ann", text)), now)
		if (err == nil) != good || err != nil && !errors.Is(err, ErrUnknown) {
			t.Errorf("%d bytes: %v, want accepted: %v", len(text), err, good)
		}
	}
}

// What was verified is remembered: bcrypt is too slow for every image of a page.
func TestPasswordsAreRemembered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("ann:"+bcryptOf(t, "a")), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, &config.Viewers{Basic: &config.Basic{HtpasswdFile: file}}, nil)
		p := g.basic
		verify := func() error {
			_, err := g.Identify(request("192.0.2.1:1", "Authorization", basic("ann", "a")), time.Now())
			return err
		}
		if err := verify(); err != nil {
			t.Fatal(err)
		}
		for range cap(p.slots) {
			p.slots <- struct{}{} // nobody may compute now
		}
		time.Sleep(passwordTTL - time.Second)
		if err := verify(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		var done atomic.Bool
		go func() {
			if err := verify(); err != nil {
				t.Error(err)
			}
			done.Store(true)
		}()
		synctest.Wait()
		if done.Load() {
			t.Error("remembered for ever")
		}
		for range cap(p.slots) {
			<-p.slots
		}
		synctest.Wait()
		if !done.Load() {
			t.Error("still waiting")
		}
	})
}

func TestHtpasswdMistakes(t *testing.T) {
	good := bcryptOf(t, "x")
	for text, want := range map[string]string{
		"":                                      "the file has no users",
		"# nobody\n":                            "the file has no users",
		"ann":                                   ":1: ",
		"ann:" + good + "\nbob":                 ":2: the hash of bob is not a bcrypt hash",
		":" + good:                              ":1: the line is not user:hash",
		"ann:{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=": ":1: the hash of ann is not a bcrypt hash; create it with htpasswd -B",
		"ann:$apr1$x$y":                         "not a bcrypt hash",
		"ann:" + good + "\nann:" + good:         ":2: duplicate user ann",
		"ann:" + strings.Replace(good, "$04$", "$31$", 1): "cost 31",
	} {
		file := filepath.Join(t.TempDir(), "htpasswd")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readHtpasswd(file); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), good) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
