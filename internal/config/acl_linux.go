package config

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// systemAttributes is the prefix of the extended attributes that grant access:
// system.posix_acl_access, and those of network file systems.
// https://man7.org/linux/man-pages/man7/xattr.7.html
const systemAttributes = "system."

// readACLs returns the access control lists of the file at path, by the names of their attributes.
func readACLs(path string) (map[string][]byte, error) {
	return attributes(func(b []byte) (int, error) { return unix.Listxattr(path, b) },
		func(name string, b []byte) (int, error) { return unix.Getxattr(path, name, b) })
}

// writeACLs gives a file these access control lists and no others: a new file may have inherited
// one from its directory.
func writeACLs(f *os.File, lists map[string][]byte) error {
	fd := int(f.Fd())
	has, err := attributes(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
	if err != nil {
		return err
	}
	for name := range has {
		if _, keep := lists[name]; !keep {
			if err := unix.Fremovexattr(fd, name); err != nil {
				return &os.PathError{Op: "fremovexattr " + name, Path: f.Name(), Err: err}
			}
		}
	}
	for name, value := range lists {
		if bytes.Equal(has[name], value) {
			continue
		}
		if err := unix.Fsetxattr(fd, name, value, 0); err != nil {
			return &os.PathError{Op: "fsetxattr " + name, Path: f.Name(), Err: err}
		}
	}
	return nil
}

// attributes returns the extended attributes of a file that grant access. list and get call
// listxattr and getxattr for the file.
func attributes(
	list func([]byte) (int, error),
	get func(string, []byte) (int, error),
) (map[string][]byte, error) {
	names, err := sized(list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	} else if err != nil {
		return nil, os.NewSyscallError("listxattr", err)
	}
	found := map[string][]byte{}
	for name := range strings.SplitSeq(string(names), "\x00") {
		if !strings.HasPrefix(name, systemAttributes) {
			continue
		}
		value, err := sized(func(b []byte) (int, error) { return get(name, b) })
		if err != nil {
			return nil, os.NewSyscallError("getxattr "+name, err)
		}
		found[name] = value
	}
	return found, nil
}

// sized calls read with a buffer of the size that read reports.
func sized(read func([]byte) (int, error)) ([]byte, error) {
	n, err := read(nil)
	if err != nil || n == 0 {
		return nil, err
	}
	b := make([]byte, n)
	n, err = read(b)
	return b[:max(n, 0)], err
}
