package main

import (
	"encoding/json"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// The linked version comes first, then the main module's. What the build did not record is empty.
func TestDescribeBuild(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting {
		return debug.BuildSetting{Key: key, Value: value}
	}
	dependency := func(path, version string, replace *debug.Module) *debug.Module {
		return &debug.Module{Path: path, Version: version, Replace: replace}
	}
	complete := &debug.BuildInfo{
		GoVersion: "go1.26.8",
		Main: debug.Module{
			Path: "s3redirect", Version: "v0.1.1-0.20261126220000-0123456789ab+dirty",
		},
		Settings: []debug.BuildSetting{
			setting("-buildmode", "exe"),
			setting("vcs", "git"),
			setting("vcs.revision", "0123456789abcdef0123456789abcdef01234567"),
			setting("vcs.time", "2026-11-26T22:00:00Z"),
			setting("vcs.modified", "true"),
		},
		Deps: []*debug.Module{
			dependency("example.org/a", "v1.2.3", nil),
			dependency("example.org/b", "v1.0.0", dependency("example.org/fork", "v1.0.1", nil)),
			dependency("example.org/c", "v2.0.0", dependency("../c", "", nil)),
		},
	}
	for _, c := range []struct {
		name   string
		linked string
		info   *debug.BuildInfo
		want   string
	}{
		{
			"all", "", complete, `{
  "version": "v0.1.1-0.20261126220000-0123456789ab+dirty",
  "go_version": "go1.26.8",
  "revision": "0123456789abcdef0123456789abcdef01234567",
  "revision_time": "2026-11-26T22:00:00Z",
  "modified": true,
  "os": "linux",
  "arch": "arm64",
  "dependencies": [
    {
      "module": "example.org/a",
      "version": "v1.2.3"
    },
    {
      "module": "example.org/b",
      "version": "v1.0.0",
      "replaced_by": {
        "module": "example.org/fork",
        "version": "v1.0.1"
      }
    },
    {
      "module": "example.org/c",
      "version": "v2.0.0",
      "replaced_by": {
        "module": "../c",
        "version": ""
      }
    }
  ]
}
`,
		},
		{
			"a linked version, no repository", "v0.1.0", &debug.BuildInfo{
				GoVersion: "go1.26.8", Main: debug.Module{Version: "(devel)"},
			}, `{
  "version": "v0.1.0",
  "go_version": "go1.26.8",
  "revision": "",
  "revision_time": "",
  "modified": false,
  "os": "linux",
  "arch": "arm64",
  "dependencies": []
}
`,
		},
		{
			"no build information", "", nil, `{
  "version": "(devel)",
  "go_version": "` + runtime.Version() + `",
  "revision": "",
  "revision_time": "",
  "modified": false,
  "os": "linux",
  "arch": "arm64",
  "dependencies": []
}
`,
		},
	} {
		b := describeBuild(c.linked, c.info)
		b.OS, b.Arch = "linux", "arm64"
		var out strings.Builder
		if err := writeJSON(&out, b); err != nil || out.String() != c.want {
			t.Errorf("%s: %v,\n%swant\n%s", c.name, err, &out, c.want)
		}
	}
}

// The command prints the running program's build.
func TestVersion(t *testing.T) {
	code, stdout, stderr := running("version", "--json")
	if code != 0 || stderr != "" {
		t.Fatalf("version --json: exit code %d, standard error %q", code, stderr)
	}
	var got build
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v:\n%s", err, stdout)
	}
	info, _ := debug.ReadBuildInfo()
	if want := describeBuild(version, info); !reflect.DeepEqual(got, want) {
		t.Errorf("version --json = %+v, want %+v", got, want)
	}
	if got.OS != runtime.GOOS || got.Arch != runtime.GOARCH || got.Go != runtime.Version() {
		t.Errorf("version --json = %s/%s, %s, want %s/%s, %s", got.OS, got.Arch, got.Go,
			runtime.GOOS, runtime.GOARCH, runtime.Version())
	}
	want := "s3redirect " + got.Version + "\n"
	if code, stdout, stderr := running("version"); code != 0 || stdout != want || stderr != "" {
		t.Errorf("version: exit code %d, %q, %q, want 0, %q", code, stdout, stderr, want)
	}
}
