//go:build !unix

package config

import (
	"context"
	"io/fs"
	"os"
)

// On other systems files are not locked, directories cannot be synced, and a new file inherits the
// access rights of its directory.
func keepAccess(*os.File, string, fs.FileInfo) error { return nil }
func syncDir(string) error                           { return nil }
func lock(context.Context, string) (func(), error)   { return func() {}, nil }
