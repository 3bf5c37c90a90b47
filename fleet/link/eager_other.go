//go:build !unix

package link

import "net"

// eagerly leaves a connection as it is: this system has no writes that take what they can.
func eagerly(nc net.Conn) net.Conn { return nc }
