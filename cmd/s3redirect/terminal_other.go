//go:build !unix

package main

import "os"

// columnsOf is how wide a terminal is, 0 where it does not say.
func columnsOf(*os.File) int { return 0 }
