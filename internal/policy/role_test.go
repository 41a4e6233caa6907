package policy

import "testing"

func TestRoleOf(t *testing.T) {
	for arn, want := range map[string][2]string{
		"arn:aws:iam::123456789012:role/r":       {"/", "r"},
		"arn:aws:iam::123456789012:role/a/b/r.1": {"/a/b/", "r.1"},
		"arn:aws:iam:::role/reader":              {"/", "reader"},
	} {
		if path, name := RoleOf(arn); path != want[0] || name != want[1] {
			t.Errorf("%s: %q %q", arn, path, name)
		}
	}
}
