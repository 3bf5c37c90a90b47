// Package loopback has addresses for tests: of nobody, for those that must name one before anybody listens there, and of little servers.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
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

// Serve answers each connection until the test is over, and returns where. An answer is cut off after ten seconds.
func Serve(tb testing.TB, answer func(nc net.Conn)) (addr string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
				answer(nc)
			})
		}
	})
	tb.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}
