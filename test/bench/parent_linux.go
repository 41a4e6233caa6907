package main

import (
	"runtime"
	"syscall"
)

// The kernel kills a server when the thread that started it ends. All servers are started by the
// main goroutine, which therefore keeps the main thread.
func init() { runtime.LockOSThread() }

// dieWithParent makes the kernel kill a server when this program ends, however it ends.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
