package proxy

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// A line is written lineDelay after it was added, or as soon as lineBatch bytes are waiting.
	lineDelay = 200 * time.Millisecond
	lineBatch = 64 << 10
	// maxLines bounds the bytes that wait for a slow or failing writer. Requests do not wait: lines
	// beyond the bound are dropped and counted.
	maxLines = 4 << 20
	// lineRetry is the time between two attempts after a failed write.
	lineRetry = time.Second
)

// lineLog writes lines in batches, because a write per line would cost more than the redirect. A
// failed write is repeated while the buffer has room.
type lineLog struct {
	name  string // in messages
	level slog.Level
	out   io.Writer
	log   *slog.Logger
	lost  prometheus.Counter

	mu      sync.Mutex // guards the fields below
	pending []byte     // lines to write
	writing int        // bytes that are being written
	dropped int        // lines lost since the last write
	closed  bool

	first chan struct{} // pending is not empty any more
	full  chan struct{} // pending has reached lineBatch
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when run has returned
}

// newLineLog returns a log that writes to out. lost counts the lines that were dropped, which are
// also logged at a level. The caller must call Close.
func newLineLog(
	name string, level slog.Level, out io.Writer, log *slog.Logger, lost prometheus.Counter,
) *lineLog {
	l := &lineLog{
		name:    name,
		level:   level,
		out:     out,
		log:     log,
		lost:    lost,
		pending: make([]byte, 0, 2*lineBatch),
		first:   make(chan struct{}, 1),
		full:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go l.run()
	return l
}

// Close writes the pending lines and stops the log. Lines added later are dropped. Close may be
// called more than once.
func (l *lineLog) Close() {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	l.mu.Unlock()
	if !again {
		close(l.stop)
	}
	<-l.done
}

// add adds a copy of a line.
func (l *lineLog) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed { // run may not come to report it
		l.reportLost(1)
		return
	}
	if len(l.pending)+l.writing+len(line) > maxLines {
		l.dropped++
		return
	}
	if len(l.pending) == 0 {
		wake(l.first)
	}
	l.pending = append(l.pending, line...)
	if len(l.pending) >= lineBatch {
		wake(l.full)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *lineLog) run() {
	defer close(l.done)
	var spare []byte
	failing := false
	for stopped := false; !stopped; {
		if !failing {
			select {
			case <-l.first:
			case <-l.stop:
			}
		}
		stopped = l.pause(failing)
		var err error
		spare, err = l.write(spare)
		if err != nil && !failing {
			l.log.Error("cannot write the "+l.name+"; retrying", "error", err.Error())
		} else if err == nil && failing {
			l.log.Info("the " + l.name + " is written again")
		}
		failing = err != nil
	}
	l.mu.Lock()
	lines := bytes.Count(l.pending, []byte("\n"))
	l.mu.Unlock()
	l.reportLost(lines)
}

// pause waits until the pending lines should be written, and reports whether the log stops.
func (l *lineLog) pause(failing bool) (stopped bool) {
	delay, full := lineDelay, l.full
	if failing {
		delay, full = lineRetry, nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-full:
	case <-timer.C:
	case <-l.stop:
		return true
	}
	return false
}

// write writes the pending lines. New lines are collected in spare meanwhile. write returns the
// buffer that is the spare of the next call. After an error, what was not written is pending again.
func (l *lineLog) write(spare []byte) (_ []byte, err error) {
	l.mu.Lock()
	lines, dropped := l.pending, l.dropped
	l.pending, l.dropped, l.writing = spare[:0], 0, len(lines)
	l.mu.Unlock()
	written := 0
	if len(lines) > 0 {
		if written, err = l.out.Write(lines); err == nil && written < len(lines) {
			err = io.ErrShortWrite
		}
	}
	l.mu.Lock()
	l.writing = 0
	if err != nil {
		added := l.pending
		l.pending, lines = append(lines[written:], added...), added
	}
	l.mu.Unlock()
	l.reportLost(dropped)
	return lines, err
}

// reportLost counts and logs lost lines.
func (l *lineLog) reportLost(lines int) {
	if lines == 0 {
		return
	}
	l.lost.Add(float64(lines))
	l.log.Log(context.Background(), l.level, "the "+l.name+" cannot keep up and dropped lines; "+
		"write it to a faster device with free space, or switch it off", "lost", lines)
}
