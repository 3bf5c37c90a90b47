// Package host tells what the machine, or the container, allows this process: processors, memory, descriptors and
// ephemeral ports, and how much of them it uses. On Linux it reads /proc and control groups; elsewhere a library tells less,
// and Facts says what is not told.
package host

import (
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
)

// Facts are what the process may use. They hardly change while it runs. What the system does not tell is 0, and Unknown has it.
type Facts struct {
	Cores           int     // processors that Go uses at once; it heeds control groups
	Memory          uint64  // bytes that the process may have: the machine's, or its control group's if that is less
	MemoryAvailable uint64  // bytes of them that nobody uses
	Descriptors     int     // open files and sockets (ulimit -n); 0 also where there is no limit
	Ports           int     // ephemeral ports of one source address towards one target
	Reuse           Reuse   // of ports whose connection ended
	Unknown         Unknown // what the system does not tell
}

// Unknown is a set of what a system does not tell; the zero value is that it tells all.
type Unknown uint8

// What a system may not tell.
const (
	UnknownProcessors Unknown = 1 << iota // how many of the machine's processors all programs use
	UnknownSteal                          // what a hypervisor gives to other machines
	UnknownMemory                         // how much there is
	UnknownPorts                          // the range of ephemeral ports
)

// Has reports whether something is in the set.
func (u Unknown) Has(x Unknown) bool { return u&x != 0 }

// Names are what is in the set, in words: "the range of local ports".
func (u Unknown) Names() []string {
	var all []string
	for i, name := range []string{
		"the use of the machine's processors by other programs", "processors' time given to other machines", "memory", "the range of local ports",
	} {
		if u.Has(1 << i) {
			all = append(all, name)
		}
	}
	return all
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

// facts reads what the files below a root tell.
func facts(root fs.FS) Facts {
	f := Facts{Cores: runtime.GOMAXPROCS(0)}
	total, available, err := meminfo(root)
	if err != nil {
		f.Unknown |= UnknownMemory
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
	if first, last, err := portRange(root); err == nil {
		f.Ports = last - first + 1 - reserved(root, first, last)
	} else {
		f.Unknown |= UnknownPorts
	}
	if b, err := fs.ReadFile(root, "proc/sys/net/ipv4/tcp_tw_reuse"); err == nil {
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		f.Reuse = Reuse(n)
	}
	if count(root).Count == 0 {
		f.Unknown |= UnknownProcessors | UnknownSteal
	}
	return f
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
