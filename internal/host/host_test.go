package host

import (
	"os"
	"testing"
	"testing/fstest"
)

func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{
		"proc/meminfo":                              {Data: []byte("MemTotal:       16000 kB\nMemFree:  100 kB\nMemAvailable:   9000 kB\n")},
		"proc/sys/net/ipv4/ip_local_port_range":     {Data: []byte("32768\t60999\n")},
		"proc/sys/net/ipv4/ip_local_reserved_ports": {Data: []byte("\n")},
		"proc/sys/net/ipv4/tcp_tw_reuse":            {Data: []byte("2\n")},
		"proc/self/statm":                           {Data: []byte("900 25 7 1 0 2 0\n")},
		"proc/self/fd/0":                            {},
		"proc/self/fd/1":                            {},
		"proc/net/sockstat":                         {Data: []byte("sockets: used 12\nTCP: inuse 1 orphan 0 tw 8161 alloc 1 mem 164\n")},
	}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

func TestFacts(t *testing.T) {
	const mib = 1 << 20
	for name, tt := range map[string]struct {
		files fstest.MapFS
		want  Facts
	}{
		"no control group": {files(), Facts{Memory: 16000 << 10, MemoryAvailable: 9000 << 10, Ports: 28232, Reuse: ReuseLoopback}},
		"version 2, of the container itself": {
			files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "8388608\n", "sys/fs/cgroup/memory.current", "6291456", "sys/fs/cgroup/memory.stat", "anon 5\ninactive_file 1048576\n"),
			Facts{Memory: 8 * mib, MemoryAvailable: 3 * mib, Ports: 28232, Reuse: ReuseLoopback},
		},
		"version 2, the bound is above": {
			files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "max\n", "sys/fs/cgroup/a/memory.max", "8388608", "sys/fs/cgroup/a/memory.current", "1048576"),
			Facts{Memory: 8 * mib, MemoryAvailable: 7 * mib, Ports: 28232, Reuse: ReuseLoopback},
		},
		"version 1": {
			files("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n0::/\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes", "4194304\n",
				"sys/fs/cgroup/memory/x/memory.usage_in_bytes", "3145728", "sys/fs/cgroup/memory/x/memory.stat", "inactive_file 9\ntotal_inactive_file 1048576\n"),
			Facts{Memory: 4 * mib, MemoryAvailable: 2 * mib, Ports: 28232, Reuse: ReuseLoopback},
		},
		"a bound above the machine's memory is none": {
			files("proc/self/cgroup", "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
			Facts{Memory: 16000 << 10, MemoryAvailable: 9000 << 10, Ports: 28232, Reuse: ReuseLoopback},
		},
		"reserved ports": {
			files("proc/sys/net/ipv4/ip_local_reserved_ports", "8080,40000-40009,60999", "proc/sys/net/ipv4/tcp_tw_reuse", "0"),
			Facts{Memory: 16000 << 10, MemoryAvailable: 9000 << 10, Ports: 28221},
		},
	} {
		var got Facts
		if err := got.read(tt.files); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, tt.want)
		}
	}
	for name, broken := range map[string]fstest.MapFS{
		"no memory": files("proc/meminfo", "none"), "no range": files("proc/sys/net/ipv4/ip_local_port_range", "many"),
	} {
		var f Facts
		if err := f.read(broken); err == nil {
			t.Errorf("%s: read as %+v", name, f)
		}
	}
}

func TestUsage(t *testing.T) {
	var u Usage
	if err := u.read(files(), 4096); err != nil || u != (Usage{Memory: 25 * 4096, Descriptors: 2, TimeWait: 8161}) {
		t.Errorf("usage = %+v, %v", u, err)
	}
	if err := u.read(files("proc/self/statm", "1"), 4096); err == nil {
		t.Error("statm with one number was read")
	}
}

// What is read of this process itself is of a plausible size, and a file more is a descriptor more.
func TestThisProcess(t *testing.T) {
	f, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	if f.Cores < 1 || f.Memory < 1<<26 || f.MemoryAvailable > f.Memory || f.Descriptors < 64 || f.Ports < 1000 {
		t.Errorf("facts = %+v", f)
	}
	before, err := Use()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
	}
	after, err := Use()
	if err != nil || after.Descriptors < before.Descriptors+10 || after.CPU < before.CPU || after.Memory < 1<<20 {
		t.Errorf("usage = %+v, then %+v with ten more files (%v)", before, after, err)
	}
}

func TestReuse(t *testing.T) {
	for _, tt := range []struct {
		r        Reuse
		loopback bool
		want     bool
	}{{ReuseNever, true, false}, {ReuseAlways, false, true}, {ReuseLoopback, true, true}, {ReuseLoopback, false, false}} {
		if got := tt.r.Applies(tt.loopback); got != tt.want {
			t.Errorf("%d.Applies(%t) = %t", tt.r, tt.loopback, got)
		}
	}
}
