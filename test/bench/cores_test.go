package main

import (
	"sync/atomic"
	"testing"

	"s3redirect/internal/wire"
)

// All workers answer at the same time, each its own requests.
func TestAnswerUntil(t *testing.T) {
	workers, err := workersRequests(2, 3)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	started := map[*wire.Request]chan struct{}{}
	for _, requests := range workers {
		started[requests[0]] = make(chan struct{}, 1)
	}
	n, err := answerUntil(func(dst []byte, r *wire.Request) ([]byte, bool) {
		calls.Add(1)
		if c, ok := started[r]; ok {
			select {
			case c <- struct{}{}:
			default:
			}
		}
		return dst, true
	}, workers, func() {
		for _, c := range started {
			<-c
		}
	})
	if err != nil || n != int(calls.Load()) {
		t.Errorf("answerUntil returned %d, %v; want %d responses", n, err, calls.Load())
	}
}

// A request without a response is an error: its time is not a response's.
func TestAnswerUntilFails(t *testing.T) {
	workers, err := workersRequests(2, 3)
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{}, 1)
	if _, err := answerUntil(func(dst []byte, _ *wire.Request) ([]byte, bool) {
		select {
		case called <- struct{}{}:
		default:
		}
		return dst, false
	}, workers, func() { <-called }); err == nil {
		t.Error("answerUntil succeeded without responses; want an error")
	}
}

// The workers request the same keys, but each starts with another.
func TestWorkersRequests(t *testing.T) {
	workers, err := workersRequests(2, 4)
	if err != nil {
		t.Fatal(err)
	}
	for w, first := range []int{0, 2} {
		for n, r := range workers[w] {
			if want := keyPath((first + n) % 4); r.Target != want {
				t.Errorf("request %d of worker %d is for %s, want %s", n, w, r.Target, want)
			}
		}
	}
}
