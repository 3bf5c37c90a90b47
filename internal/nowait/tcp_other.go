//go:build !linux

package nowait

import "net"

// TCP leaves a connection as it is: only on Linux is there what it takes to wait for many at once.
func TCP(nc net.Conn) net.Conn { return nc }
