package link

import "net"

// Eager is a connection whose writes can be made never to wait: what the other side does not take yet is kept, and sent by
// a goroutine of the connection. A driver asks Bottom of a transport for it.
type Eager interface {
	net.Conn
	// SetEager begins it. Close gives up what is kept.
	SetEager()
	// Kept is how many bytes the other side has yet to take; 0 when nothing waits.
	Kept() int
}
