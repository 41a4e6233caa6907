package proxy

import (
	"sync"

	"s3redirect/internal/viewer"
)

// clientShare is the part of a budget that one client may hold: a quarter. Otherwise one client
// that sends many bodies slowly would keep all others from sending theirs.
const clientShare = 4

// budget bounds the bytes that all requests hold together, and those of each client.
type budget struct {
	total, client int64

	mu      sync.Mutex // guards the fields below
	held    int64
	clients map[viewer.Client]int64 // bytes held by each client that holds any
}

// newBudget returns a budget of which a client may hold a quarter.
func newBudget(total int64) *budget {
	return &budget{
		total:   total,
		client:  total / clientShare,
		clients: map[viewer.Client]int64{},
	}
}

// take takes n bytes for c, and reports whether as many were left.
func (b *budget) take(c viewer.Client, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held+n > b.total || b.clients[c]+n > b.client {
		return false
	}
	b.held += n
	b.clients[c] += n
	return true
}

// release returns n bytes that c has taken.
func (b *budget) release(c viewer.Client, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if b.clients[c] -= n; b.clients[c] == 0 {
		delete(b.clients, c)
	}
}
