//go:build !linux

package main

import "syscall"

// dieWithParent returns nil: only Linux has a signal for it.
func dieWithParent() *syscall.SysProcAttr { return nil }
