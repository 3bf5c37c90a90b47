package host

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
	"time"
)

// Processors is what the kernel counts of processors since the machine started, for all programs together. What it does not
// tell is 0.
type Processors struct {
	Count int           // that this process may run on; the next two are of them
	Busy  time.Duration // in use
	Steal time.Duration // wanted, and given to other machines by the hypervisor

	Limit         float64       // processors that a control group leaves this process; 0 for no limit
	Periods, Held uint64        // of that limit, and those in which it held the process up
	Waiting       time.Duration // in which something waited for a processor (/proc/pressure/cpu, "some")
	Uptime        time.Duration // of a clock that goes on while the machine is suspended
	At            time.Time     // of these figures, by a clock that stands still meanwhile, of no date
}

// Count reads what the kernel counts. It is cheap enough for several times a second.
func Count() Processors {
	var p Processors
	for range 3 { // a process that is stopped between the two clocks would take itself for a machine that was suspended
		began := awake()
		p = countNow()
		if p.At = awake(); p.At.Sub(began) < atOnce {
			break
		}
	}
	return p
}

// atOnce is how long reading the figures may take for them to be of one time.
const atOnce = 50 * time.Millisecond

// userTick is the unit of /proc/stat (proc(5), USER_HZ).
const userTick = 10 * time.Millisecond

func count(root fs.FS) Processors {
	var p Processors
	p.readStat(root, allowed(root))
	p.readLimit(root)
	if b, err := fs.ReadFile(root, "proc/pressure/cpu"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "some "); ok {
			p.Waiting = time.Duration(value(strings.Fields(rest), "total=")) * time.Microsecond
		}
	}
	if b, err := fs.ReadFile(root, "proc/uptime"); err == nil {
		if fields := strings.Fields(string(b)); len(fields) > 0 {
			seconds, _ := strconv.ParseFloat(fields[0], 64)
			p.Uptime = time.Duration(seconds * float64(time.Second))
		}
	}
	return p
}

// value is the number after a prefix in one of the words.
func value(words []string, prefix string) uint64 {
	for _, w := range words {
		if text, ok := strings.CutPrefix(w, prefix); ok {
			n, _ := strconv.ParseUint(text, 10, 64)
			return n
		}
	}
	return 0
}

// readStat adds up the lines of the processors that the process may run on: "cpu1 user nice system idle iowait irq softirq steal".
func (p *Processors) readStat(root fs.FS, may func(cpu int) bool) {
	b, err := fs.ReadFile(root, "proc/stat")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		name, isCPU := strings.CutPrefix(line, "cpu")
		if !isCPU {
			return // they come first
		}
		fields := strings.Fields(name)
		if name[0] == ' ' || len(fields) < 9 {
			continue // of all, or of a kernel before 2.6.11
		}
		cpu, err := strconv.Atoi(fields[0])
		if err != nil || !may(cpu) {
			continue
		}
		p.Count++
		for _, i := range []int{1, 2, 3, 6, 7} {
			p.Busy += ticks(fields[i])
		}
		p.Steal += ticks(fields[8])
	}
}

func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Duration(n) * userTick
}

// allowed tells which processors the process may run on; all when that is not to be seen.
func allowed(root fs.FS) func(cpu int) bool {
	all := func(int) bool { return true }
	b, err := fs.ReadFile(root, "proc/self/status")
	if err != nil {
		return all
	}
	_, rest, ok := strings.Cut(string(b), "\nCpus_allowed_list:")
	if !ok {
		return all
	}
	list, _, _ := strings.Cut(rest, "\n")
	return func(cpu int) bool {
		for r := range ranges(list) {
			if r[0] <= cpu && cpu <= r[1] {
				return true
			}
		}
		return false
	}
}

// readLimit reads the tightest limit of the control groups, and how often it held the process up.
func (p *Processors) readLimit(root fs.FS) {
	tightest := math.Inf(1)
	for _, g := range controlGroups(root, "cpu") {
		limit, ok := g.processors(root)
		if !ok || limit >= tightest {
			continue
		}
		tightest = limit
		p.Limit = limit
		b, _ := fs.ReadFile(root, path.Join(g.dir, "cpu.stat"))
		words := strings.Split(string(b), "\n")
		p.Periods, p.Held = value(words, "nr_periods "), value(words, "nr_throttled ")
	}
}

// processors is how many a group allows; ok is false when it sets no limit.
func (g controlGroup) processors(root fs.FS) (n float64, ok bool) {
	if g.second {
		b, err := fs.ReadFile(root, path.Join(g.dir, "cpu.max"))
		fields := strings.Fields(string(b))
		if err != nil || len(fields) != 2 {
			return 0, false
		}
		quota, err1 := strconv.ParseFloat(fields[0], 64) // "max" is none
		period, err2 := strconv.ParseFloat(fields[1], 64)
		return quota / period, err1 == nil && err2 == nil && period > 0
	}
	quota, ok1 := number(root, path.Join(g.dir, "cpu.cfs_quota_us")) // -1 is none
	period, ok2 := number(root, path.Join(g.dir, "cpu.cfs_period_us"))
	return float64(quota) / float64(max(1, period)), ok1 && ok2 && period > 0
}
