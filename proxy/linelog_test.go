package proxy

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// fullDisk is a writer that has room for a number of bytes.
type fullDisk struct {
	room atomic.Int64
	lockedBuffer
}

var errFull = errors.New("no space left on device")

func (w *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), int(w.room.Load()))
	w.room.Add(int64(-n))
	_, _ = w.lockedBuffer.Write(p[:n])
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// newTestLog returns a log, and what it logs about itself.
func newTestLog(out io.Writer) (*lineLog, *lockedBuffer, prometheus.Counter) {
	log, lost := &lockedBuffer{}, newLostCounter()
	l := newLineLog("test log", slog.LevelError, out, slog.New(slog.NewJSONHandler(log, nil)), lost)
	return l, log, lost
}

// A failed write is repeated: when the disk has room again, all lines are complete and in order.
func TestLineLogRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &fullDisk{}
		out.room.Store(25)
		l, log, lost := newTestLog(out)
		var want strings.Builder
		for n := range 9 {
			line := fmt.Sprintf("line %d\n", n)
			want.WriteString(line)
			l.add([]byte(line))
			time.Sleep(lineRetry + time.Millisecond)
			synctest.Wait()
		}
		if got := out.String(); got != want.String()[:25] {
			t.Errorf("a full disk has %q, want %q", got, want.String()[:25])
		}
		out.room.Store(1000)
		time.Sleep(lineRetry + time.Millisecond)
		synctest.Wait()
		if got := out.String(); got != want.String() {
			t.Errorf("got %q, want %q", got, want.String())
		}
		l.Close()
		if got := testutil.ToFloat64(lost); got != 0 {
			t.Errorf("lost %v lines, want 0", got)
		}
		if n := strings.Count(log.String(), "cannot write the test log; retrying"); n != 1 ||
			!strings.Contains(log.String(), "is written again") {
			t.Errorf("got %s, want one error, and that it is over", log)
		}
	})
}

// Lines that find no room, and those that cannot be written in the end, are counted and logged.
func TestLineLogCountsLostLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &fullDisk{}
		l, log, lost := newTestLog(out)
		line := []byte(strings.Repeat("x", 1<<20-1) + "\n")
		for range maxLines>>20 + 3 { // the buffer has room for all but three
			l.add(line)
			time.Sleep(2 * lineRetry)
			synctest.Wait()
		}
		if got := testutil.ToFloat64(lost); got != 3 {
			t.Errorf("lost %v lines beyond the buffer, want 3", got)
		}
		out.room.Store(1<<20 + 10) // one line and a part of the next
		l.Close()
		if got := testutil.ToFloat64(lost); got != 6 {
			t.Errorf("lost %v lines after Close, want 6: all but one", got)
		}
		l.add(line)
		if got := testutil.ToFloat64(lost); got != 7 {
			t.Errorf("lost %v lines after one that was too late, want 7", got)
		}
		if !strings.Contains(log.String(), `"level":"ERROR","msg":"the test log cannot keep up`) ||
			!strings.Contains(log.String(), `"lost":3`) {
			t.Errorf("got %s, want errors that count the lost lines", log)
		}
	})
}
