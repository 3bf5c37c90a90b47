package generator

import (
	"fmt"
	"time"
)

// Bounds of the rules. A second is bad when one of its rules finds it so:
//
//	cpu          more than busy of the processors in use, and timers or operations more than late behind
//	timers       the probe's timers and the operations both more than robbed behind: other programs took the processors
//	gc           more than collecting of the processors' time went into collecting garbage
//	memory       more than full of what the process may have
//	descriptors  more than full of the limit
//	ports        more than full of those of all source addresses
//
// A rule's bad seconds count when they came sustained on end and make up share of the run, or when they
// came long on end. A connection that failed for want of a descriptor or of a local port counts by itself.
// Operations that start late while timers are punctual and processors are free are the target's doing.
const (
	busy       = 0.90
	late       = 10 * time.Millisecond
	robbed     = 50 * time.Millisecond // larger: on a machine with other programs ten milliseconds are common
	collecting = 0.25
	full       = 0.95

	sustained = 5 * time.Second
	share     = 0.10
	long      = time.Minute
)

// rule finds bad seconds and says what was bad about the worst of them.
type rule struct {
	bad  func(s *Sample) bool
	size func(s *Sample) float64 // the larger, the worse
	text func(worst *Sample, lasted time.Duration) string
}

func rules() []rule {
	return []rule{
		{
			bad: func(s *Sample) bool {
				return s.Cores > 0 && s.CPU > busy*float64(s.Cores) && (s.Late > late || s.Lag > late)
			},
			size: func(s *Sample) float64 { return float64(max(s.Late, s.Lag)) },
			text: func(s *Sample, d time.Duration) string {
				return fmt.Sprintf("%.1f of %d processors were in use for %s while operations started up to %s late (p99); give it more processors, or less to do",
					s.CPU, s.Cores, seconds(d), milliseconds(max(s.Late, s.Lag)))
			},
		},
		{
			bad: func(s *Sample) bool {
				return s.Late > robbed && s.Lag > robbed && s.CPU <= busy*float64(s.Cores)
			},
			size: func(s *Sample) float64 { return float64(s.Late) },
			text: func(s *Sample, d time.Duration) string {
				return fmt.Sprintf("timers fired up to %s late (p99) for %s, and operations started up to %s late, while the process used %.1f of %d processors; keep other programs off the machine",
					milliseconds(s.Late), seconds(d), milliseconds(s.Lag), s.CPU, s.Cores)
			},
		},
		{
			bad:  func(s *Sample) bool { return s.GC > collecting },
			size: func(s *Sample) float64 { return s.GC },
			text: func(s *Sample, d time.Duration) string {
				return fmt.Sprintf("collecting garbage took up to %.0f %% of the processors' time for %s; give it more memory, or raise GOGC", s.GC*100, seconds(d))
			},
		},
		filling("memory", "give it more memory, or fewer devices", func(s *Sample) (float64, float64) { return mega(s.Memory), mega(s.MemoryLimit) }, " MB"),
		filling("descriptors", "raise ulimit -n", func(s *Sample) (float64, float64) { return float64(s.Descriptors), float64(s.MaxDescriptors) }, ""),
		filling("local ports", "name more fleet.source_addresses", func(s *Sample) (float64, float64) { return float64(s.Ports), float64(s.MaxPorts) }, ""),
	}
}

// filling is the rule for something of which there is a limited number.
func filling(what, remedy string, of func(*Sample) (used, limit float64), unit string) rule {
	return rule{
		bad: func(s *Sample) bool {
			used, limit := of(s)
			return limit > 0 && used > full*limit
		},
		size: func(s *Sample) float64 { used, _ := of(s); return used },
		text: func(s *Sample, d time.Duration) string {
			used, limit := of(s)
			return fmt.Sprintf("%.0f of %.0f%s %s were in use for %s; %s", used, limit, unit, what, seconds(d), remedy)
		},
	}
}

func mega(bytes uint64) float64 { return float64(bytes) / 1e6 }

func seconds(d time.Duration) string      { return fmt.Sprintf("%.0f s", d.Seconds()) }
func milliseconds(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/1e6) }

// Judge holds samples to the rules. It keeps a few numbers, however long the run. The zero Judge is ready.
// It is for one goroutine.
type Judge struct {
	// Shared says that the embedded hub runs in this process, which its reasons then mention.
	Shared bool

	rules  []rule
	found  []finding
	health Health
	cpu    float64 // seconds of processors
	now    bool
}

// finding is what one rule found so far.
type finding struct {
	streak, longest, total time.Duration
	worst                  Sample
}

// Add takes the next sample.
func (j *Judge) Add(s Sample) {
	if j.rules == nil {
		j.rules = rules()
		j.found = make([]finding, len(j.rules))
	}
	j.note(&s)
	j.now = false
	for i, r := range j.rules {
		f := &j.found[i]
		if !r.bad(&s) {
			f.streak = 0
			continue
		}
		j.now = true
		if f.total == 0 || r.size(&s) > r.size(&f.worst) {
			f.worst = s
		}
		f.streak += s.Elapsed
		f.total += s.Elapsed
		f.longest = max(f.longest, f.streak)
	}
}

// note keeps the worst of each figure.
func (j *Judge) note(s *Sample) {
	h := &j.health
	h.Measured += s.Elapsed
	j.cpu += s.CPU * s.Elapsed.Seconds()
	h.Cores, h.MemoryLimit, h.MaxDescriptors, h.MaxPorts = s.Cores, s.MemoryLimit, s.MaxDescriptors, s.MaxPorts
	h.CPUPeak = max(h.CPUPeak, s.CPU)
	h.Late, h.Lag = max(h.Late, s.Late), max(h.Lag, s.Lag)
	h.GCPeak, h.GCPause = max(h.GCPeak, s.GC), max(h.GCPause, s.GCPause)
	h.MemoryPeak = max(h.MemoryPeak, s.Memory)
	h.Descriptors, h.Ports = max(h.Descriptors, s.Descriptors), max(h.Ports, s.Ports)
	h.NoDescriptor += s.NoDescriptor
	h.NoPort += s.NoPort
}

// Bad reports whether the last sample was bad by any rule. One bad second does not make a verdict.
func (j *Judge) Bad() bool { return j.now }

// Health is the judgement of the samples so far.
func (j *Judge) Health() Health {
	h := j.health
	if h.Measured > 0 {
		h.CPUMean = j.cpu / h.Measured.Seconds()
	}
	for i, r := range j.rules {
		f := &j.found[i]
		if f.longest >= long || (f.longest >= sustained && f.total.Seconds() >= share*h.Measured.Seconds()) {
			h.Reasons = append(h.Reasons, r.text(&f.worst, f.total))
		}
	}
	if h.NoDescriptor > 0 {
		h.Reasons = append(h.Reasons, fmt.Sprintf("%d connections failed for want of a descriptor; raise ulimit -n", h.NoDescriptor))
	}
	if h.NoPort > 0 {
		h.Reasons = append(h.Reasons, fmt.Sprintf("%d connections failed for want of a local port; name more fleet.source_addresses", h.NoPort))
	}
	h.Saturated = len(h.Reasons) > 0
	if h.Saturated && j.Shared {
		h.Reasons = append(h.Reasons, "the embedded hub ran in this process and had its share; run twinfleet hub in another process, or on another machine")
	}
	return h
}
