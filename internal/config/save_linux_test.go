package config

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// setFileUser makes the kernel check the file accesses of the calling thread against a user,
// without root's capabilities.
func setFileUser(uid, gid int) {
	_, _, _ = unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
	_ = unix.Setfsgid(gid)
	_ = unix.Setfsuid(uid)
}

// asUser runs f on a thread that accesses files as a user other than root.
func asUser(t *testing.T, uid, gid int, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can act as another user")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		setFileUser(uid, gid)
		f()
	}()
	<-done
}

// Save fails if it cannot keep the file's group and the file would become readable by others.
func TestSaveKeepsGroup(t *testing.T) {
	const user, ownGroup, foreignGroup = 65534, 65534, 4242
	for _, c := range []struct {
		mode  os.FileMode
		group int
		saved bool
	}{
		{0o640, ownGroup, true}, {0o640, foreignGroup, false}, {0o660, foreignGroup, false},
		{0o604, foreignGroup, false},
		// The group has no more permissions than others.
		{0o600, foreignGroup, true}, {0o644, foreignGroup, true},
	} {
		path := savedFile(t)
		for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		err := errors.Join(os.Chmod(path, c.mode), os.Chown(path, user, c.group))
		if err != nil && os.Geteuid() == 0 {
			t.Fatal(err)
		}
		asUser(t, user, ownGroup, func() {
			err := Save(t.Context(), path, []byte("old"), []byte("new"))
			if c.saved != (err == nil) || err != nil &&
				!strings.Contains(err.Error(), "its group 4242 cannot be kept") {
				t.Errorf("mode %o, group %d: Save() = %v, want success: %v",
					c.mode, c.group, err, c.saved)
			}
			if err := Writable(path); c.saved != (err == nil) {
				t.Errorf("mode %o, group %d: Writable() = %v, want success: %v",
					c.mode, c.group, err, c.saved)
			}
		})
		wantFile(t, path, map[bool]string{true: "new", false: "old"}[c.saved])
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != c.mode {
			t.Errorf("mode %o, group %d: the mode is %o afterwards", c.mode, c.group, got)
		}
	}
}

// acl returns the list user::rw-, user:NUMBER:r--, group::---, mask::r--, other::---.
// https://github.com/torvalds/linux/blob/master/include/uapi/linux/posix_acl_xattr.h
func acl(user uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{
		{0x01, 6, ^uint32(0)}, {0x02, 4, user}, {0x04, 0, ^uint32(0)},
		{0x10, 4, ^uint32(0)}, {0x20, 0, ^uint32(0)},
	} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func setACL(t *testing.T, path, attribute string, list []byte) {
	t.Helper()
	if err := unix.Setxattr(path, attribute, list, 0); err == unix.ENOTSUP {
		t.Skip("the file system of the temporary directory has no access control lists")
	} else if err != nil {
		t.Fatal(err)
	}
}

func aclOf(t *testing.T, path string) []byte {
	t.Helper()
	b := make([]byte, 1024)
	n, err := unix.Getxattr(path, accessACL, b)
	if err == unix.ENODATA {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// A file keeps its access control list, or its lack of one, and does not inherit the directory's
// default.
func TestSaveKeepsAccessControlLists(t *testing.T) {
	for name, c := range map[string]struct{ own, inherited []byte }{
		"no list": {}, "its own": {own: acl(4242)}, "the directory's default": {inherited: acl(4243)},
		"both": {own: acl(4242), inherited: acl(4243)},
	} {
		path := savedFile(t)
		if c.own != nil {
			setACL(t, path, accessACL, c.own)
		} else if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if c.inherited != nil {
			setACL(t, filepath.Dir(path), defaultACL, c.inherited)
		}
		if err := Save(t.Context(), path, []byte("old"), []byte("new")); err != nil {
			t.Errorf("%s: Save() = %v, want success", name, err)
		}
		wantFile(t, path, "new")
		if got := aclOf(t, path); !bytes.Equal(got, c.own) {
			t.Errorf("%s: list after Save = %x, want %x", name, got, c.own)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: mode after Save = %v, %v, want 640", name, info.Mode(), err)
		}
	}
}

// Save fails if it cannot keep the group of a file with an access control list, regardless of the
// mode.
func TestSaveKeepsGroupOfAccessControlList(t *testing.T) {
	path := savedFile(t)
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	list := acl(4242)
	list[len(list)-6] = 4 // other::r--, so that the mode is 644
	setACL(t, path, accessACL, list)
	if err := os.Chown(path, 65534, 4242); err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	asUser(t, 65534, 65534, func() {
		if err := Save(t.Context(), path, []byte("old"), []byte("new")); err == nil ||
			!strings.Contains(err.Error(), "its group 4242 cannot be kept") {
			t.Errorf("Save() = %v, want an error about the group", err)
		}
	})
	wantFile(t, path, "old")
}

// Access control lists that cannot be read or written are an error.
func TestAccessControlListErrors(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := writeACLs(f, map[string][]byte{"system.no_such_list": {1}}); err == nil ||
		!strings.Contains(err.Error(), "system.no_such_list") {
		t.Errorf("writeACLs() = %v, want an error about system.no_such_list", err)
	}
	if _, err := readACLs(f.Name() + "/nothing"); err == nil {
		t.Error("readACLs() = nil for an invalid path, want an error")
	}
	if err := keepAccess(f, f.Name()+"/nothing", nil); err == nil ||
		!strings.Contains(explain("config.yaml", err).Error(),
			"config.yaml was not written: its access control list cannot be kept") {
		t.Errorf("keepAccess() = %v, want an error about the access control list", err)
	}
	list := func(b []byte) (int, error) {
		const names = "user.comment\x00security.selinux\x00system.posix_acl_access\x00"
		copy(b, names)
		return len(names), nil
	}
	get := func(name string, b []byte) (int, error) {
		copy(b, name)
		return len(name), nil
	}
	got, err := attributes(list, get)
	if err != nil || len(got) != 1 || string(got[accessACL]) != accessACL {
		t.Errorf("attributes() = %q, %v, want %s alone", got, err, accessACL)
	}
}
