package host

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// Usage is what the process uses now.
type Usage struct {
	CPU         time.Duration // of all processors, since the process began
	Memory      uint64        // bytes that are resident
	Descriptors int           // that are open
	TimeWait    int           // ports of all processes whose connection ended less than a minute ago
}

// readFiles reads what the files below a root tell.
func (u *Usage) readFiles(root fs.FS, pageSize int) error {
	b, err := fs.ReadFile(root, "proc/self/statm")
	if err != nil {
		return fmt.Errorf("reading the memory used: %w", err)
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return fmt.Errorf("reading the memory used: %q has no second number", b)
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return fmt.Errorf("reading the memory used: %w", err)
	}
	u.Memory = pages * uint64(pageSize)
	if u.Descriptors, err = openDescriptors(root); err != nil {
		return err
	}
	u.TimeWait = timeWait(root)
	return nil
}

// openDescriptors counts open files and sockets: since Linux 6.2 the directory's size is their number,
// before that its entries must be counted.
func openDescriptors(root fs.FS) (int, error) {
	info, err := fs.Stat(root, "proc/self/fd")
	if err == nil && info.Size() > 0 {
		return int(info.Size()), nil
	}
	entries, err := fs.ReadDir(root, "proc/self/fd")
	if err != nil {
		return 0, fmt.Errorf("counting descriptors: %w", err)
	}
	return len(entries), nil
}

// timeWait is the number after "tw" in the line "TCP: inuse 5 orphan 0 tw 3 …".
func timeWait(root fs.FS) int {
	b, err := fs.ReadFile(root, "proc/net/sockstat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(fields); i += 2 {
			if fields[i] == "tw" {
				n, _ := strconv.Atoi(fields[i+1])
				return n
			}
		}
	}
	return 0
}
