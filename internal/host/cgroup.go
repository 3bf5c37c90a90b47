package host

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// group is a control group that bounds the memory of the process.
type group struct {
	dir         string
	limit, used string // names of files
	reclaimable string // the line of memory.stat with what the kernel would give back at once
}

// groupsOf are the control groups of the process and those above them, of both versions. In a
// container the paths of the outside are not to be seen; then the root of the tree is the container's own.
func groupsOf(root fs.FS) []group {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var all []group
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		top, names := "sys/fs/cgroup", group{limit: "memory.max", used: "memory.current", reclaimable: "inactive_file"}
		switch {
		case parts[0] == "0" && parts[1] == "":
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			top, names = "sys/fs/cgroup/memory", group{limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", reclaimable: "total_inactive_file"}
		default:
			continue
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			names.dir = path.Join(top, dir)
			all = append(all, names)
			if dir == "/" {
				break
			}
		}
	}
	return all
}

// memory is what a group allows and uses, in bytes; ok is false when it sets no bound.
func (g group) memory(root fs.FS) (limit, used uint64, ok bool) {
	limit, ok = number(root, path.Join(g.dir, g.limit))
	if !ok {
		return 0, 0, false
	}
	used, _ = number(root, path.Join(g.dir, g.used))
	b, err := fs.ReadFile(root, path.Join(g.dir, "memory.stat"))
	if err != nil {
		return limit, used, true
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == g.reclaimable {
			n, _ := strconv.ParseUint(value, 10, 64)
			used -= min(used, n)
		}
	}
	return limit, used, true
}

// number reads a file that holds one number; "max" is none.
func number(root fs.FS, name string) (uint64, bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
