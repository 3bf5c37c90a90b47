package host

import (
	"io/fs"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
)

// controlGroup is a control group that the process is in.
type controlGroup struct {
	dir    string
	second bool // of version 2
}

// controlGroups are the control groups of the process for a controller and those above them, of both versions. In a
// container the paths of the outside are not to be seen; then the root of the tree is the container's own.
func controlGroups(root fs.FS, controller string) []controlGroup {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var all []controlGroup
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		second := parts[0] == "0" && parts[1] == ""
		top := "sys/fs/cgroup"
		if !second {
			if !slices.Contains(strings.Split(parts[1], ","), controller) {
				continue
			}
			top = path.Join(top, controller)
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			all = append(all, controlGroup{path.Join(top, dir), second})
			if dir == "/" {
				break
			}
		}
	}
	return all
}

// memory is what a group allows and uses, in bytes; ok is false when it sets no bound.
func (g controlGroup) memory(root fs.FS) (limit, used uint64, ok bool) {
	// reclaimable is the line of memory.stat with what the kernel would give back at once.
	limitName, usedName, reclaimable := "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "
	if g.second {
		limitName, usedName, reclaimable = "memory.max", "memory.current", "inactive_file "
	}
	limit, ok = number(root, path.Join(g.dir, limitName))
	if !ok {
		return 0, 0, false
	}
	used, _ = number(root, path.Join(g.dir, usedName))
	b, err := fs.ReadFile(root, path.Join(g.dir, "memory.stat"))
	if err != nil {
		return limit, used, true
	}
	used -= min(used, value(strings.Split(string(b), "\n"), reclaimable))
	return limit, used, true
}

// number reads a file that holds one number; "max" and "-1" are none.
func number(root fs.FS, name string) (uint64, bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// ranges are the first and the last number of each part of a list such as "0-3,8".
func ranges(list string) iter.Seq[[2]int] {
	return func(yield func([2]int) bool) {
		for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
			low, high, isRange := strings.Cut(part, "-")
			if !isRange {
				high = low
			}
			from, err1 := strconv.Atoi(low)
			to, err2 := strconv.Atoi(high)
			if err1 == nil && err2 == nil && !yield([2]int{from, to}) {
				return
			}
		}
	}
}
