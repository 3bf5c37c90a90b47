// Package loopback finds addresses for tests that must name one before anybody listens there.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
)

// Free is an address of the loopback interface where nobody listens. Its port is below those that the kernel gives to
// connections and to listeners without a port of their own, so that none of these takes it before the test does.
func Free(tb testing.TB) string {
	tb.Helper()
	const first, last, tries = 10_000, 30_000, 100
	// A process that is started meanwhile holds what this one has open, until it is another program: its port would still be taken.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for range tries {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(last-first)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	tb.Fatalf("no free port in %d tries", tries)
	return ""
}
