package link

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// lateBind leaves the choice of the source port to the time of connecting, when the kernel knows the
// target and can reuse a port for another one.
func lateBind(_, _ string, raw syscall.RawConn) error {
	var err error
	if outer := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); outer != nil {
		return outer
	}
	return err
}
