//go:build !linux || portable

package host

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/process"
)

// Read reads the facts of this process.
func Read() (Facts, error) {
	f := Facts{Cores: runtime.GOMAXPROCS(0), Ports: ephemeralPorts(), Unknown: UnknownSteal}
	if m, err := mem.VirtualMemory(); err == nil {
		f.Memory, f.MemoryAvailable = m.Total, m.Available
	} else {
		f.Unknown |= UnknownMemory
	}
	if f.Ports == 0 {
		f.Unknown |= UnknownPorts
	}
	if countNow().Count == 0 {
		f.Unknown |= UnknownProcessors
	}
	var err error
	f.Descriptors, err = descriptorLimit()
	return f, err
}

// Use reads what the process uses now.
func Use() (Usage, error) {
	u := Usage{CPU: OwnTime()}
	p := process.Process{Pid: int32(os.Getpid())}
	m, err := p.MemoryInfo()
	if err != nil {
		return u, fmt.Errorf("reading the memory used: %w", err)
	}
	n, err := p.NumFDs()
	if err != nil {
		return u, fmt.Errorf("counting descriptors: %w", err)
	}
	u.Memory, u.Descriptors = m.RSS, int(n)
	return u, nil
}

func countNow() Processors {
	times, err := cpu.Times(false)
	if err != nil || len(times) != 1 {
		return Processors{}
	}
	t := times[0]
	busy := t.User + t.System + t.Nice + t.Irq + t.Softirq
	// The clock on the wall goes on while the machine is suspended, that of the process does not (package time).
	return Processors{Count: runtime.NumCPU(), Busy: time.Duration(busy * float64(time.Second)), Uptime: time.Duration(time.Now().UnixNano())}
}

// awake is the process's clock.
func awake() time.Time { return time.Now() }
