//go:build !unix

package nearby

import (
	"io/fs"
	"os"
)

// alive reports whether there is a process: elsewhere than on Unix, finding one fails when there is none.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	return p.Release() == nil
}

// writable is told by no mode on these systems: the user's cache is the user's alone.
func writable(fs.FileMode) bool { return false }
