// Package meter measures what the process and the machine did since the last sample.
package meter

import (
	"context"
	"fmt"
	"math"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/oserr"
)

// Options of a Meter.
type Options struct {
	// Facts are what the process may use.
	Facts host.Facts
	// Sources is how many local addresses devices connect from; at least one.
	Sources int
	// Destinations is to how many addresses and ports they connect, evenly; at least one. Each source has its ports towards each of them.
	Destinations int
	// Beside is how many processes like this one there are on this machine, itself among them, whose connections leave from the same
	// addresses for the same destinations; at least one.
	Beside int
	// Loopback says that the target is on this machine: its ports are reused sooner.
	Loopback bool
}

// Meter takes samples of this process and of the machine. Sample is for one goroutine.
type Meter struct {
	opts  Options
	probe probe
	peaks peaks

	noDescriptor, noPort atomic.Uint64

	at      time.Time
	usage   host.Usage
	kernel  host.Processors
	gc      gcTime
	pauses  []uint64
	failedD uint64
	failedP uint64
}

// gcTime is the processors' time, in seconds, as the Go runtime counts it.
type gcTime struct{ collecting, all float64 }

// New makes a Meter; its first sample stands for the time from now on.
func New(o Options) (*Meter, error) {
	m := &Meter{opts: o, at: time.Now()}
	var err error
	if m.usage, err = host.Use(); err != nil {
		return nil, fmt.Errorf("measuring the generator: %w", err)
	}
	m.kernel = host.Count()
	m.gc, m.pauses, _ = readRuntime(nil)
	return m, nil
}

// Run probes the clock, and finds the busiest quarter of a second, until ctx ends.
func (m *Meter) Run(ctx context.Context) {
	var looking sync.WaitGroup
	looking.Go(func() { m.peaks.run(ctx) })
	m.probe.run(ctx)
	looking.Wait()
}

// Unmeasured is what the system does not tell, in words.
func (m *Meter) Unmeasured() []string { return m.opts.Facts.Unknown.Names() }

// ports is how many local ports there are for this process towards the target.
func (o *Options) ports() int {
	return o.Facts.Ports * max(1, o.Sources) * max(1, o.Destinations) / max(1, o.Beside)
}

// Failed takes note of a connection that could not be opened. Errors that are not the generator's
// own are passed over.
func (m *Meter) Failed(err error) {
	switch {
	case exhausted(err):
		m.noDescriptor.Add(1)
	case oserr.Is(err, oserr.NoAddress):
		m.noPort.Add(1)
	}
}

// exhausted reports whether an error says that there is no descriptor left.
func exhausted(err error) bool {
	return oserr.Is(err, oserr.NoDescriptor)
}

// Sample measures what came since the last one. connections is how many the fleet holds towards the
// target, lag the 99th percentile of the schedule lag meanwhile.
func (m *Meter) Sample(connections int, lag time.Duration) (generator.Sample, error) {
	now := time.Now()
	usage, err := host.Use()
	if exhausted(err) { // not even one is left to measure with
		usage.Memory, usage.Descriptors, err = m.usage.Memory, m.opts.Facts.Descriptors, nil
	}
	if err != nil {
		return generator.Sample{}, fmt.Errorf("measuring the generator: %w", err)
	}
	gc, pauses, longest := readRuntime(m.pauses)
	kernel := host.Count()
	f := &m.opts.Facts
	s := generator.Sample{
		Elapsed: now.Sub(m.at), Cores: f.Cores, Lag: lag,
		Memory: usage.Memory, MemoryLimit: f.Memory, Descriptors: usage.Descriptors, MaxDescriptors: f.Descriptors,
		Ports: connections, MaxPorts: m.opts.ports(), GCPause: longest,
	}
	if !f.Reuse.Applies(m.opts.Loopback) {
		s.Ports += usage.TimeWait
	}
	s.Late, s.Stopped = m.probe.take(now)
	if s.Elapsed > 0 {
		s.CPU = float64(usage.CPU-m.usage.CPU) / float64(s.Elapsed)
		s.Machine, s.Own = m.peaks.take()
		ofMachine(&s, kernel, m.kernel)
	}
	if all := gc.all - m.gc.all; all > 0 { // the runtime brings these up to date when a collection ends
		s.GC = (gc.collecting - m.gc.collecting) / all
	}
	d, p := m.noDescriptor.Load(), m.noPort.Load()
	s.NoDescriptor, s.NoPort = d-m.failedD, p-m.failedP
	m.at, m.usage, m.kernel, m.gc, m.pauses, m.failedD, m.failedP = now, usage, kernel, gc, pauses, d, p
	return s, nil
}

// ofMachine takes what the kernel counted since an earlier time. Without descriptors it could not be asked.
func ofMachine(s *generator.Sample, now, earlier host.Processors) {
	if now.Uptime == 0 || earlier.Uptime == 0 {
		return
	}
	elapsed := float64(s.Elapsed)
	if average := float64(now.Busy-earlier.Busy) / elapsed; average > s.Machine { // too short for a quarter of a second
		s.Machine, s.Own = average, s.CPU
	}
	s.Processors, s.Limit = now.Count, now.Limit
	s.Steal = min(float64(now.Steal-earlier.Steal)/elapsed, float64(now.Count))
	s.Waiting = min(float64(now.Waiting-earlier.Waiting)/elapsed, 1)
	if periods := now.Periods - min(now.Periods, earlier.Periods); periods > 0 {
		s.Held = float64(now.Held-min(now.Held, earlier.Held)) / float64(periods)
	}
	// The process's clock stands still while the machine is suspended, that of the machine does not (clock_gettime(2)).
	const coarse = 100 * time.Millisecond
	if asleep := now.Uptime - earlier.Uptime - now.At.Sub(earlier.At); asleep > coarse {
		s.Suspended = asleep
	}
}

// readRuntime reads the time spent on garbage, and the longest pause for it that is not in an earlier count.
func readRuntime(earlier []uint64) (t gcTime, counts []uint64, longest time.Duration) {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}, // time that nobody else wanted
		{Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/sched/pauses/total/gc:seconds"},
	}
	metrics.Read(samples)
	t = gcTime{samples[0].Value.Float64() - samples[1].Value.Float64(), samples[2].Value.Float64()}
	h := samples[3].Value.Float64Histogram()
	counts = append(counts, h.Counts...)
	for i, n := range counts {
		if i < len(earlier) && n == earlier[i] || n == 0 {
			continue
		}
		edge := h.Buckets[i+1]
		if math.IsInf(edge, 1) {
			edge = h.Buckets[i]
		}
		longest = time.Duration(edge * float64(time.Second))
	}
	return t, counts, longest
}
