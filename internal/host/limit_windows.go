package host

import (
	"time"

	"golang.org/x/sys/windows"
)

// descriptorLimit is 0: Windows bounds handles by memory alone.
func descriptorLimit() (int, error) { return 0, nil }

// OwnTime is the processors' time that this process used since it began.
func OwnTime() time.Duration {
	var created, ended, kernel, user windows.Filetime
	// It cannot fail for the process itself.
	_ = windows.GetProcessTimes(windows.CurrentProcess(), &created, &ended, &kernel, &user)
	return duration(kernel) + duration(user)
}

// duration is a time that is counted in units of 100 ns.
func duration(f windows.Filetime) time.Duration {
	return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
}
