package terminal

import "golang.org/x/sys/unix"

// Requests for a terminal's attributes (ioctl_tty(2)); the last throws away what was typed and not read.
const (
	getAttributes = unix.TCGETS
	setNow        = unix.TCSETS
	setFlushing   = unix.TCSETSF
)
