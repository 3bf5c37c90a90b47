//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package terminal

import "golang.org/x/sys/unix"

// Requests for a terminal's attributes (termios(4)); the last throws away what was typed and not read.
const (
	getAttributes = unix.TIOCGETA
	setNow        = unix.TIOCSETA
	setFlushing   = unix.TIOCSETAF
)
