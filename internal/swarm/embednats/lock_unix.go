//go:build unix

package embednats

import (
	"os"
	"syscall"
)

// lock keeps other servers from a folder until the file is closed or the process ends; false when another has it.
func lock(f *os.File) bool { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil }
