//go:build unix

package host

import (
	"fmt"
	"math"
	"syscall"
	"time"
)

// descriptorLimit is how many files and sockets the process may open.
func descriptorLimit() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("reading the limit of descriptors: %w", err)
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)), nil
}

// OwnTime is the processors' time that this process used since it began.
func OwnTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // cannot fail with this argument and a valid pointer (getrusage(2))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
