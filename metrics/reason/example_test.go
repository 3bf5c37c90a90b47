package reason_test

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/twinfleet/twinfleet/metrics/reason"
)

// An error's own text names an address, which is different for every device; its reason does not.
func ExampleOf() {
	hub := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 8883}
	err := &net.OpError{Op: "dial", Net: "tcp", Addr: hub, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	fmt.Println(err)
	fmt.Println(reason.Of(err))
	// Output:
	// dial tcp 10.0.0.7:8883: connect: connection refused
	// nothing listens at the target
}
