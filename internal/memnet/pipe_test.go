package memnet_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/twinfleet/twinfleet/internal/memnet"
)

// The suite that the Go project holds connections to.
func TestConnectionsAreSuch(t *testing.T) {
	nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
		a, b = memnet.Pipe()
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}
