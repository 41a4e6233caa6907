package wire

import "time"

// deadlineSlack is how much later than necessary a deadline is set. Setting one moves a timer of the
// runtime, so a busy connection does it once per deadlineSlack.
const deadlineSlack = 5 * time.Second

// setReadDeadline sets the deadline of the next read, unless the deadline that is set is good
// enough.
func (c *conn) setReadDeadline() error {
	limit, slack := c.server.IdleTimeout, deadlineSlack
	partial := c.buffer != nil && c.buffer.size > 0
	if partial || c.batches == 0 {
		limit, slack = c.server.HeaderTimeout, 0
	}
	enough := !c.readBy.Before(c.now.Add(limit))
	if partial {
		enough = c.headBegun || c.batches == 0 // the first head has the deadline of the new connection
	}
	c.headBegun = partial
	if enough {
		return nil
	}
	c.readBy = c.now.Add(limit + slack)
	return c.applyReadDeadline()
}

// applyReadDeadline sets readBy, or an earlier deadline if the server drains.
func (c *conn) applyReadDeadline() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// drain sets a short deadline, which must not be replaced:
	//
	//	1: the server does not drain
	//	2: Shutdown: draining is set; drain sets a short deadline
	//	1: sets a long one; Shutdown waits for it
	//
	// With mu held, either the short deadline comes last or the loop sees that the server drains.
	by := c.readBy
	if c.server.draining.Load() {
		if soon := time.Now().Add(drainGrace); soon.Before(by) {
			by = soon
		}
	}
	return c.SetReadDeadline(by)
}

// drain lets a read in progress end soon.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.leaving {
		_ = c.SetReadDeadline(time.Now().Add(drainGrace))
	}
}

// wake makes the loop read again if it waits.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.leaving && !c.server.draining.Load() {
		c.woken.Store(true)
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

// leave sets a last deadline, and keeps drain and wake from setting others.
func (c *conn) leave(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	return c.SetDeadline(deadline)
}
