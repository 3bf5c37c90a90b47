// Package host tells what the machine, or the container, allows this process: processors, memory, descriptors and
// ephemeral ports, and how much of them it uses. It reads /proc and control groups, as Linux has them.
package host

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Facts are what the process may use. They hardly change while it runs.
type Facts struct {
	Cores           int    // processors that Go uses at once; it heeds control groups
	Memory          uint64 // bytes that the process may have: the machine's, or its control group's if that is less
	MemoryAvailable uint64 // bytes of them that nobody uses
	Descriptors     int    // open files and sockets (ulimit -n)
	Ports           int    // ephemeral ports of one source address towards one target
	Reuse           Reuse  // of ports whose connection ended
}

// Reuse says whether ports whose connection ended can be used again before their minute of waiting is
// over (tcp_tw_reuse).
type Reuse uint8

// The values of tcp_tw_reuse (Linux, ip-sysctl).
const (
	ReuseNever    Reuse = 0
	ReuseAlways   Reuse = 1
	ReuseLoopback Reuse = 2
)

// Applies reports whether ports of connections to a target are used again at once.
func (r Reuse) Applies(loopback bool) bool {
	return r == ReuseAlways || (r == ReuseLoopback && loopback)
}

// Read reads the facts of this process.
func Read() (Facts, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return Facts{}, fmt.Errorf("reading the limit of descriptors: %w", err)
	}
	f := Facts{Cores: runtime.GOMAXPROCS(0), Descriptors: int(min(limit.Cur, math.MaxInt32))}
	return f, f.read(os.DirFS("/"))
}

// read completes facts from the files below a root.
func (f *Facts) read(root fs.FS) error {
	total, available, err := meminfo(root)
	if err != nil {
		return err
	}
	f.Memory, f.MemoryAvailable = total, available
	for _, g := range controlGroups(root, "memory") {
		limit, used, ok := g.memory(root)
		if !ok || limit >= f.Memory {
			continue
		}
		f.Memory = limit
		f.MemoryAvailable = min(f.MemoryAvailable, limit-min(limit, used))
	}
	first, last, err := portRange(root)
	if err != nil {
		return err
	}
	f.Ports = last - first + 1 - reserved(root, first, last)
	if b, err := fs.ReadFile(root, "proc/sys/net/ipv4/tcp_tw_reuse"); err == nil {
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		f.Reuse = Reuse(n)
	}
	return nil
}

// meminfo is the memory of the machine in bytes.
func meminfo(root fs.FS) (total, available uint64, err error) {
	b, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, 0, fmt.Errorf("reading the machine's memory: %w", err)
	}
	values := make(map[string]uint64)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			values[f[0]] = n << 10 // written in KiB
		}
	}
	if values["MemTotal:"] == 0 {
		return 0, 0, fmt.Errorf("reading the machine's memory: proc/meminfo has no MemTotal")
	}
	return values["MemTotal:"], values["MemAvailable:"], nil
}

// portRange is the first and the last ephemeral port.
func portRange(root fs.FS) (first, last int, err error) {
	b, err := fs.ReadFile(root, "proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, 0, fmt.Errorf("reading the range of ephemeral ports: %w", err)
	}
	if _, err := fmt.Sscan(string(b), &first, &last); err != nil || last < first {
		return 0, 0, fmt.Errorf("reading the range of ephemeral ports: %q is no range", strings.TrimSpace(string(b)))
	}
	return first, last, nil
}

// reserved counts the ports of a range that the kernel hands out to nobody: "8080,9000-9100".
func reserved(root fs.FS, first, last int) int {
	b, err := fs.ReadFile(root, "proc/sys/net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return 0
	}
	n := 0
	for r := range ranges(string(b)) {
		n += max(0, min(r[1], last)-max(r[0], first)+1)
	}
	return n
}
