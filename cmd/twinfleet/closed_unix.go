//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// wasClosed reports whether a standard file was closed when the process began: Go's runtime has put /dev/null in its
// place by now, opened for reading and writing, which "> /dev/null" is not.
func wasClosed(f *os.File) bool {
	var info, null unix.Stat_t
	fd := int(f.Fd())
	if unix.Fstat(fd, &info) != nil || unix.Stat(os.DevNull, &null) != nil || info.Mode&unix.S_IFMT != unix.S_IFCHR || info.Rdev != null.Rdev {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR
}
