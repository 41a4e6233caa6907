package viewer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// bcryptOf returns a bcrypt hash of a password.
func bcryptOf(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// basic returns the value of Authorization for Basic authentication.
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
	// htpasswd writes the prefix $2y$.
	ann := "ann:" + strings.Replace(bcryptOf(t, "canary: a:b"), "$2a$", "$2y$", 1)
	write("# users\n\n" + ann + "\nübob:" + bcryptOf(t, "b") + "\n")
	var log strings.Builder
	clock := func() time.Time { return at }
	g, err := New(basicViewers(file), Options{Clock: clock, Log: newLog(&log)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	want := func(name, authorization, id string) {
		t.Helper()
		r := request("192.0.2.1:1", "Authorization", authorization)
		for range 2 { // the second time, a valid password comes from the cache
			v, err := g.Identify(NewRequest(r), at)
			if v.ID != id || (id == "") != errors.Is(err, ErrUnknown) || id != "" && err != nil {
				t.Errorf("%s: Identify = %q, %v, want %q", name, v.ID, err, id)
			}
		}
	}
	want("the password", basic("ann", "canary: a:b"), "ann")
	want("a scheme in lower case", "basic "+basic("ann", "canary: a:b")[6:], "ann")
	want("a name that is not ASCII", basic("übob", "b"), "übob")
	want("another password", basic("ann", "canary: a:c"), "")
	want("no password", basic("ann", ""), "")
	want("another user's password", basic("übob", "canary: a:b"), "")
	want("an unknown user", basic("eve", "nobody"), "")
	want("no user", basic("", "nobody"), "")
	want("no colon", "Basic "+base64.StdEncoding.EncodeToString([]byte("ann")), "")
	want("not base64", "Basic ann:canary", "")
	want("no credential", "Basic", "")
	want("another scheme", "Bearer x", "")
	want("longer than bcrypt reads", basic("ann", "canary: a:b"+strings.Repeat("x", 100)), "")
	r := request("192.0.2.1:1",
		"Authorization", basic("ann", "canary: a:b"),
		"Authorization", basic("übob", "b"))
	if _, err := g.Identify(NewRequest(r), at); !errors.Is(err, ErrUnknown) {
		t.Errorf("two Authorization headers: Identify = %v, want %v", err, ErrUnknown)
	}

	write(ann[:len(ann)-3] + "\n")
	want("after an invalid version of the file", basic("ann", "canary: a:b"), "ann")
	const message = "line 1: the hash is not a bcrypt hash"
	if !strings.Contains(log.String(), message) {
		t.Errorf("the log is %q, want it to contain %q", log.String(), message)
	}
	if strings.Contains(log.String(), file) || !strings.Contains(log.String(), HtpasswdKey) {
		t.Errorf("the log is %q, want %s without the path", log.String(), HtpasswdKey)
	}
	write("ann:" + bcryptOf(t, "new") + "\n")
	want("the old password, which was cached", basic("ann", "canary: a:b"), "")
	want("the new password", basic("ann", "new"), "ann")
	want("a removed user", basic("übob", "b"), "")
	if strings.Contains(log.String(), "canary") {
		t.Errorf("the log contains the password: %s", log.String())
	}
}

// The response time must not reveal which users exist: the check of any user takes as many rounds
// of bcrypt as the file's most expensive hash.
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
	text := "cheap:" + hash("a", bcrypt.MinCost) + "\n" +
		"middle:" + hash("b", bcrypt.MinCost+1) + "\n" +
		"dear:" + hash("c", highest) + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := newPasswordVerifier(file, Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	rounds := 0
	p.compare = func(hash, password []byte) error {
		err := bcrypt.CompareHashAndPassword(hash, password)
		compared := err == nil || errors.Is(err, bcrypt.ErrMismatchedHashAndPassword)
		if cost, err := bcrypt.Cost(hash); err == nil && compared {
			rounds += 1 << cost
		}
		return err
	}
	for _, c := range []struct {
		user, password string
		good           bool
	}{
		{"cheap", "a", true},
		{"middle", "b", true},
		{"dear", "c", true},
		{"cheap", "x", false},
		{"middle", "x", false},
		{"dear", "x", false},
		{"nobody", "x", false},
		{"nobody", "a", false},
		{"", "x", false},
		{"cheap", "", false},
		{"dear", "a", false},
	} {
		rounds = 0
		_, err := p.verify(t.Context(), basic(c.user, c.password)[6:], time.Now())
		if (err == nil) != c.good || rounds != 1<<highest {
			t.Errorf("verify(%s:%s) took %d rounds and returned %v, want %d and accepted: %v",
				c.user, c.password, rounds, err, 1<<highest, c.good)
		}
	}
}

// bcrypt ignores everything after 72 bytes. A longer password is rejected, even if it begins with
// the user's password.
func TestLongPasswordsAreRejected(t *testing.T) {
	password := strings.Repeat("x", 72)
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("ann:"+bcryptOf(t, password)), 0o600); err != nil {
		t.Fatal(err)
	}
	if bcrypt.CompareHashAndPassword([]byte(bcryptOf(t, password)), []byte(password+"y")) != nil {
		t.Fatal("bcrypt does not ignore what follows 72 bytes")
	}
	g := newGate(t, basicViewers(file), nil)
	for text, good := range map[string]bool{
		password:            true,
		password + "y":      false,
		password + password: false,
		password[1:]:        false,
	} {
		_, err := g.Identify(NewRequest(withPassword("192.0.2.1:1", "ann", text)), now)
		if (err == nil) != good || err != nil && !errors.Is(err, ErrUnknown) {
			t.Errorf("%d bytes: Identify = %v, want accepted: %v", len(text), err, good)
		}
	}
}

// Verified passwords are cached, since bcrypt is too slow for every image of a page.
func TestVerifiedPasswordsAreCached(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("ann:"+bcryptOf(t, "a")), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, basicViewers(file), nil)
		p := g.basic
		verify := func() error {
			_, err := g.Identify(NewRequest(withPassword("192.0.2.1:1", "ann", "a")), time.Now())
			return err
		}
		if err := verify(); err != nil {
			t.Fatal(err)
		}
		for range cap(p.slots) {
			p.slots <- struct{}{} // no check may run
		}
		time.Sleep(passwordTTL - time.Second)
		if err := verify(); err != nil {
			t.Errorf("a second before the TTL ends: Identify = %v, want nil", err)
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
			t.Error("Identify returned without a check after the TTL")
		}
		for range cap(p.slots) {
			<-p.slots
		}
		synctest.Wait()
		if !done.Load() {
			t.Error("Identify still waits with free slots")
		}
	})
}

// Editors on Windows write a byte order mark, and lines that end with CR and LF.
func TestHtpasswdFilesOfWindows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	text := "\ufeffann:" + bcryptOf(t, "a") + "\r\nbob:" + bcryptOf(t, "b") + "\r\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGate(t, basicViewers(file), nil)
	for user, password := range map[string]string{"ann": "a", "bob": "b"} {
		r := NewRequest(request("192.0.2.1:1", "Authorization", basic(user, password)))
		if v, err := g.Identify(r, now); err != nil || v.ID != user {
			t.Errorf("Identify = %q, %v, want %s", v.ID, err, user)
		}
	}
}

// The user field of a line may be a hash or a password, and the path may come from a variable that
// holds a secret. Errors contain neither.
func TestInvalidHtpasswdFiles(t *testing.T) {
	good := bcryptOf(t, "x")
	const create = "create the file with htpasswd -B"
	for text, want := range map[string]string{
		"":                        "the file has no users; add one with htpasswd -B",
		"# nobody\n":              "the file has no users; add one with htpasswd -B",
		"canary":                  "line 1: the hash is not a bcrypt hash; " + create,
		"canary canary":           "line 1: the hash is not a bcrypt hash; " + create,
		good:                      "line 1: the hash is not a bcrypt hash; " + create,
		"ann:" + good + "\nbob":   "line 2: the hash is not a bcrypt hash; " + create,
		":" + good:                "line 1: the line is not user:hash; " + create,
		good + ":canary":          "line 1: the hash is not a bcrypt hash; " + create,
		"canary:$apr1$x$y":        "line 1: the hash is not a bcrypt hash; " + create,
		"canary:{SHA}fEqNCco3Yq9": "line 1: the hash is not a bcrypt hash; " + create,
		"canary:" + good + "\n\ncanary:" + good: "line 3: the user has an earlier line; " +
			"keep one of them",
		"canary:" + strings.Replace(good, "$04$", "$31$", 1): "line 1: the hash has cost 31, " +
			"which is too slow; use at most 14",
		"\xff\xfec\x00a\x00":             "the file is in UTF-16; save it in UTF-8",
		"\xfe\xff\x00c\x00a":             "the file is in UTF-16; save it in UTF-8",
		strings.Repeat("canary", 20_000): "bufio.Scanner: token too long",
	} {
		file := filepath.Join(t.TempDir(), "canary")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(basicViewers(file), Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
		if got := fmt.Sprint(err); got != HtpasswdKey+": "+want {
			t.Errorf("New with %.60q = %v, want %s: %s", text, err, HtpasswdKey, want)
		}
	}
}

func TestUnreadableHtpasswdFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "canary")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "missing"): "no such file or directory; create the file with htpasswd -B",
		dir:                           "is a directory",
		"canary\x00":                  "invalid argument",
		strings.Repeat("canary", 999): "file name too long",
	} {
		_, err := New(basicViewers(file), Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
		if got := fmt.Sprint(err); got != HtpasswdKey+": "+want {
			t.Errorf("New with %.60q = %v, want %s: %s", file, err, HtpasswdKey, want)
		}
	}
	o := Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler)}
	_, err := New(basicViewers(filepath.Join(dir, "x")), o)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("New with a missing file = %v, want an error that wraps fs.ErrNotExist", err)
	}
}
