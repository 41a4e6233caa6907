package wire

import (
	"net/netip"
	"runtime"
	"syscall"
	"testing"
)

// An idle connection that has served requests takes at most 8 kB, its goroutine included.
func TestMemoryOfIdleConnections(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs additional memory")
	}
	const most = 8 << 10
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	connections := min(10_000, int(limit.Max)/2-100) // both ends are in this process
	address := netip.MustParseAddrPort(newServer(echo{}).startOn(t, listen(t)))
	before := inUse()
	for range connections {
		// A socket without Go's network poller takes no memory of the heap.
		fd := rawDial(t, address)
		defer func() { _ = syscall.Close(fd) }()
		for range 2 * trustedAfter {
			rawAsk(t, fd)
		}
	}
	per := (inUse() - before) / int64(connections)
	t.Logf("%d idle connections take %d bytes each", connections, per)
	if per > most {
		t.Errorf("an idle connection takes %d bytes, want at most %d", per, most)
	}
}

func rawDial(t *testing.T, address netip.AddrPort) (fd int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	to := &syscall.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	if err := syscall.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	return fd
}

func rawAsk(t *testing.T, fd int) {
	t.Helper()
	if _, err := syscall.Write(fd, []byte(clients["Chromium"])); err != nil {
		t.Fatal(err)
	}
	var b [2048]byte
	if n, err := syscall.Read(fd, b[:]); n == 0 || err != nil {
		t.Fatalf("read: %d bytes, %v", n, err)
	}
}

// inUse returns the memory of live objects and of goroutines' stacks.
func inUse() int64 {
	var m runtime.MemStats
	for range 3 { // the first collections empty the pools and shrink stacks
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
