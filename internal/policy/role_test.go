package policy

import "testing"

func TestRoleOf(t *testing.T) {
	for _, c := range []struct{ arn, path, name string }{
		{"arn:aws:iam::123456789012:role/r", "/", "r"},
		{"arn:aws:iam::123456789012:role/a/b/r.1", "/a/b/", "r.1"},
		{"arn:aws:iam:::role/reader", "/", "reader"},
	} {
		if path, name := RoleOf(c.arn); path != c.path || name != c.name {
			t.Errorf("RoleOf(%q) = %q, %q, want %q, %q", c.arn, path, name, c.path, c.name)
		}
	}
}
