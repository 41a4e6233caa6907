//go:build !unix

package wire

// prepareRaw does nothing: an idle connection keeps its buffer.
func (c *conn) prepareRaw() {}
