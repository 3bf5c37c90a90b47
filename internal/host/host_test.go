package host

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
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

// told adds what tells of processors, unless it is there.
func told(m fstest.MapFS) fstest.MapFS {
	if m["proc/stat"] == nil {
		m["proc/stat"] = &fstest.MapFile{Data: []byte(processors)}
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
			files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "8388608\n", "sys/fs/cgroup/memory.current", "6291456", "sys/fs/cgroup/memory.stat",
				"anon 5\ninactive_file 1048576\n"),
			Facts{Memory: 8 * mib, MemoryAvailable: 3 * mib, Ports: 28232, Reuse: ReuseLoopback},
		},
		"version 2, the bound is above": {
			files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "max\n", "sys/fs/cgroup/a/memory.max", "8388608",
				"sys/fs/cgroup/a/memory.current", "1048576"),
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
		tt.want.Cores = runtime.GOMAXPROCS(0)
		if got := facts(told(tt.files)); got != tt.want {
			t.Errorf("%s: %+v; want %+v", name, got, tt.want)
		}
	}
}

// What a system does not tell is said.
func TestUnknown(t *testing.T) {
	for name, tt := range map[string]struct {
		files fstest.MapFS
		want  []string
	}{
		"all is told":   {files(), nil},
		"no memory":     {files("proc/meminfo", "none"), []string{"memory"}},
		"no range":      {files("proc/sys/net/ipv4/ip_local_port_range", "many"), []string{"the range of local ports"}},
		"no processors": {files("proc/stat", "none"), []string{"the use of the machine's processors by other programs", "processors' time given to other machines"}},
	} {
		if got := facts(told(tt.files)).Unknown.Names(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q; want %q", name, got, tt.want)
		}
	}
}

func TestUsage(t *testing.T) {
	var u Usage
	if err := u.readFiles(files(), 4096); err != nil || u != (Usage{Memory: 25 * 4096, Descriptors: 2, TimeWait: 8161}) {
		t.Errorf("usage = %+v, %v", u, err)
	}
	if err := u.readFiles(files("proc/self/statm", "1"), 4096); err == nil {
		t.Error("statm with one number was read")
	}
}

// What is read of this process itself is of a plausible size, and a file more is a descriptor more.
func TestThisProcess(t *testing.T) {
	f, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	if f.Cores < 1 || f.Memory < 1<<26 || f.MemoryAvailable > f.Memory || f.Descriptors < 64 || (f.Ports < 1000 && !f.Unknown.Has(UnknownPorts)) {
		t.Errorf("facts = %+v", f)
	}
	if p := Count(); p.Count < 1 || p.Busy <= 0 || p.Uptime <= 0 {
		t.Errorf("processors = %+v", p)
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

const processors = `cpu  100 1 50 1000 7 2 3 40 0 0
cpu0 40 0 20 500 3 1 1 10 5 0
cpu1 30 1 10 300 2 1 2 20 0 0
cpu2 30 0 20 200 2 0 0 10 0 0
intr 12345 1 2 3
cpu9 is no processor
`

// What the kernel counts is read of the processors that the process may run on, and of the tightest limit above it.
func TestCount(t *testing.T) {
	const (
		tick = 10 * time.Millisecond
		stat = "proc/stat"
	)
	for name, tt := range map[string]struct {
		files fstest.MapFS
		want  Processors
	}{
		"nothing is told": {files(), Processors{}},
		"all processors":  {files(stat, processors), Processors{Count: 3, Busy: (62 + 44 + 50) * tick, Steal: 40 * tick}},
		"some of them": {
			files(stat, processors, "proc/self/status", "Name:\ttwinfleet\nCpus_allowed:\t6\nCpus_allowed_list:\t1-2\nMems_allowed:\t1\n"),
			Processors{Count: 2, Busy: (44 + 50) * tick, Steal: 30 * tick},
		},
		"old kernel": {files(stat, "cpu  1 2 3 4\ncpu0 1 2 3 4\n"), Processors{}},
		"pressure and the time since the start": {
			files("proc/pressure/cpu", "some avg10=99.05 avg60=98.79 avg300=92.85 total=2075294608\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
				"proc/uptime", "3786.07 2256.40\n"),
			Processors{Waiting: 2075294608 * time.Microsecond, Uptime: 3786070 * time.Millisecond},
		},
		"version 2, the tightest limit is above": {
			files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max", "max 100000\n", "sys/fs/cgroup/a/cpu.max", "150000 100000\n",
				"sys/fs/cgroup/a/cpu.stat", "usage_usec 1\nnr_periods 100\nnr_throttled 30\nthrottled_usec 5\n", "sys/fs/cgroup/cpu.max", "400000 100000"),
			Processors{Limit: 1.5, Periods: 100, Held: 30},
		},
		"version 1": {
			files("proc/self/cgroup", "4:memory:/\n2:cpu,cpuacct:/x\n0::/\n", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "50000\n",
				"sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n",
				"sys/fs/cgroup/cpu/x/cpu.stat", "nr_periods 10\nnr_throttled 4\nthrottled_time 9\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n",
				"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
			Processors{Limit: 0.5, Periods: 10, Held: 4},
		},
		"a limit that cannot be read": {files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/cpu.max", "many\n"), Processors{}},
	} {
		if got := count(tt.files); got != tt.want {
			t.Errorf("%s: %+v; want %+v", name, got, tt.want)
		}
	}
}

// In virtual time a machine that takes long for a second was not suspended.
func TestVirtualTimeIsNoSuspension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := Count()
		for began := OwnTime(); OwnTime()-began < 300*time.Millisecond; {
		}
		after := Count()
		if asleep := after.Uptime - before.Uptime - after.At.Sub(before.At); asleep > 100*time.Millisecond {
			t.Errorf("busy for %s, and suspended for %s", after.Uptime-before.Uptime, asleep)
		}
	})
}
