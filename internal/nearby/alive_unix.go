//go:build unix

package nearby

import (
	"errors"
	"io/fs"
	"syscall"
)

// alive reports whether there is a process; one of another user is there too.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// writable reports whether others than the owner may write a file.
func writable(m fs.FileMode) bool { return m.Perm()&0o022 != 0 }
