package host

import "golang.org/x/sys/unix"

// ephemeralPorts is how many ports the system chooses from; 0 when it does not tell.
func ephemeralPorts() int {
	first, err1 := unix.SysctlUint32("net.inet.ip.portrange.first")
	last, err2 := unix.SysctlUint32("net.inet.ip.portrange.last")
	if err1 != nil || err2 != nil || last < first {
		return 0
	}
	return int(last-first) + 1
}
