package engine

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Sampler measures the generator itself: what came since the last sample, of a fleet that holds so many
// connections and whose operations started by lag late (99th percentile) by the generator's own doing.
type Sampler interface {
	Sample(connections int, lag time.Duration) (generator.Sample, error)
}

// self is what the run knows of the generator that makes it.
type self struct {
	sampler Sampler
	meter   *generator.Meter // nil when others sample

	mu    sync.Mutex // protects the following fields
	judge generator.Judge
	last  generator.Sample
	own   metrics.Histogram // by how much operations started late until the last sample
	bad   time.Duration     // time of samples that a rule found bad
	cpu   time.Duration     // processors' time since the first sample
}

// newSelf begins to measure. Without a sampler it measures this process.
func newSelf(sampler Sampler, sc *scenario.Scenario) (*self, error) {
	s := &self{sampler: sampler}
	s.judge.Shared = sc.Target.Can().InProcess
	if sampler != nil {
		return s, nil
	}
	facts, err := host.Read()
	if err == nil {
		s.meter, err = generator.NewMeter(generator.Options{Facts: facts, Sources: len(sc.Fleet.SourceAddresses), Loopback: onLoopback(&sc.Target)})
	}
	if err != nil {
		return nil, fmt.Errorf("measuring the generator: %w", err)
	}
	s.sampler = s.meter
	return s, nil
}

// onLoopback reports whether the target is plainly on this machine.
func onLoopback(t *scenario.Target) bool {
	x, err := t.Endpoint()
	if err != nil {
		return false
	}
	ip := net.ParseIP(x.Host)
	return x.Host == "localhost" || (ip != nil && ip.IsLoopback())
}

// watch notes connections that fail for want of what the generator should have.
func (s *self) watch(dial link.Dialer) link.Dialer {
	if s.meter == nil {
		return dial
	}
	return func(ctx context.Context) (net.Conn, error) {
		nc, err := dial(ctx)
		if err != nil {
			s.meter.Failed(err)
		}
		return nc, err
	}
}

// begin starts the probe and leaves out what came before; the returned function waits for its end.
func (s *self) begin(ctx context.Context) (wait func()) {
	if s.meter == nil {
		return func() {}
	}
	var running sync.WaitGroup
	running.Go(func() { s.meter.Run(ctx) })
	_, _ = s.meter.Sample(0, 0) // provisioning is no load; an error comes again with the next sample
	return running.Wait
}

// sample takes the next sample, until the figures now.
func (s *self) sample(now *metrics.Snapshot, counts map[string]int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(now, counts)
}

// stage begins a stage: what was measured until now is of the one before. With an empty name the last stage is over.
func (s *self) stage(name string, now *metrics.Snapshot, counts map[string]int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.take(now, counts)
	s.judge.Stage(name)
	return err
}

// wait takes a sample of the wait for the last answers.
func (s *self) wait(counts map[string]int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.sampler.Sample(counts[fleet.StateConnected]+counts[fleet.StateConnecting], 0)
	if err == nil {
		s.judge.AddWait(x)
	}
	return err
}

// take takes the next sample. The caller holds the lock.
func (s *self) take(now *metrics.Snapshot, counts map[string]int) error {
	var own metrics.Histogram
	for i := range now.Series {
		own = own.Merge(now.Series[i].OwnLag)
	}
	x, err := s.sampler.Sample(counts[fleet.StateConnected]+counts[fleet.StateConnecting], own.Sub(s.own).Quantile(0.99))
	if err != nil {
		return err
	}
	s.judge.Add(x)
	s.last, s.own = x, own
	s.cpu += time.Duration(x.CPU * float64(x.Elapsed))
	if s.judge.Bad() {
		s.bad += x.Elapsed
	}
	return nil
}

// health is the judgement so far of the stages that a Recorder tells apart; nil when nothing was measured.
func (s *self) health(rec *metrics.Recorder) *generator.Health {
	started := startedByStage(rec)
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.judge.Health(started)
	if h.Measured == 0 {
		return nil
	}
	return &h
}

// doubt says why the last stage of a name was not delivered as asked so far; "" when it was.
func (s *self) doubt(name string, stage *metrics.Snapshot) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.judge.Stages()
	for i := len(names) - 1; i >= 0 && stage != nil; i-- {
		if names[i] == name {
			if x := s.judge.JudgeStage(i, startedIn(stage)); !x.AsAsked {
				return x.String()
			}
			break
		}
	}
	return ""
}

// startedByStage is how operations started, by the stage in which they were intended.
func startedByStage(rec *metrics.Recorder) [][]generator.Started {
	var all [][]generator.Started
	for _, s := range rec.Stages() {
		if s.Stage != "" {
			all = append(all, startedIn(s))
		}
	}
	return all
}

// startedIn is how the operations of a stage started, those of all groups together.
func startedIn(stage *metrics.Snapshot) []generator.Started {
	var all []generator.Started
	for i := range stage.Series {
		x := &stage.Series[i]
		if n := len(all); n == 0 || all[n-1].Operation != string(x.Operation) {
			all = append(all, generator.Started{Operation: string(x.Operation)})
		}
		o := &all[len(all)-1]
		o.Asked += x.Scheduled()
		o.Started += x.Started()
		o.Late += x.LateOwn
		o.VeryLate += x.OwnLag.Count - x.OwnLag.Below(generator.VeryLate)
		o.Worst = max(o.Worst, x.OwnLag.Maximum())
	}
	return all
}

// register shows the last sample on /metrics.
func (s *self) register(rec *metrics.Recorder) {
	rec.Register(func() []metrics.Figure {
		figures := s.figures()
		if f, ok := notAsAsked(s.health(rec)); ok {
			figures = append(figures, f)
		}
		return figures
	})
}

// figures are those of the last sample.
func (s *self) figures() []metrics.Figure {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.last
	one := func(name, help string, value float64) metrics.Figure {
		return metrics.One("twinfleet_generator_"+name, help, value)
	}
	return []metrics.Figure{
		one("cores", "Processors that there are for this process.", float64(x.Cores)),
		one("cpu_seconds_total", "Processors' time that this process used since the fleet started.", s.cpu.Seconds()),
		one("cpu_ratio", "Share of the processors in use by this process over the last second.", x.CPU/float64(max(1, x.Cores))),
		one("machine_cpu_ratio", "Share of the machine's processors in use by all programs, in the busiest quarter of the last second.", x.Machine/float64(max(1, x.Processors))),
		one("steal_ratio", "Share of the machine's processors that the hypervisor gave to other machines over the last second.", x.Steal/float64(max(1, x.Processors))),
		one("cpu_limited_ratio", "Share of the periods of a control group's limit of processors in which it held this process up, over the last second.", x.Held),
		one("cpu_waiting_ratio", "Share of the last second in which some program of the machine waited for a processor.", x.Waiting),
		one("stopped_seconds", "Longest time for which this process stood still in the last second's sample.", x.Stopped.Seconds()),
		one("gc_cpu_ratio", "Share of the processors' time that went into collecting garbage, when a collection ended in the last second.", x.GC),
		one("gc_pause_seconds", "Longest pause for collecting garbage in the last second.", x.GCPause.Seconds()),
		one("memory_bytes", "Resident memory of this process.", float64(x.Memory)),
		one("memory_limit_bytes", "Memory that this process may have.", float64(x.MemoryLimit)),
		one("descriptors", "Open descriptors of this process.", float64(x.Descriptors)),
		one("descriptors_limit", "Descriptors that this process may have.", float64(x.MaxDescriptors)),
		one("ports", "Local ports in use towards the target.", float64(x.Ports)),
		one("ports_limit", "Local ports that there are towards the target, of all source addresses.", float64(x.MaxPorts)),
		one("timer_lateness_seconds", "By how much timers of this process fired late over the last second: the 99th percentile.", x.Late.Seconds()),
		one("schedule_lag_seconds", "By how much operations started late over the last second by the generator's own doing: the 99th percentile.", x.Lag.Seconds()),
		one("saturated_seconds_total", "Time in which a rule found this process the bottleneck.", s.bad.Seconds()),
	}
}

// notAsAsked tells the stages apart that were not delivered as asked so far; false when nothing is known of any.
func notAsAsked(h *generator.Health) (f metrics.Figure, ok bool) {
	if h == nil {
		return f, false
	}
	f = metrics.Figure{Name: "twinfleet_generator_not_as_asked", Help: "Whether a stage was not delivered as asked so far: 1 or 0.", Labels: []string{"stage"}}
	seen := make(map[string]bool)
	for _, x := range h.Stages {
		if seen[x.Name] {
			continue
		}
		seen[x.Name] = true
		value := 0.0
		if !x.AsAsked {
			value = 1
		}
		f.Samples = append(f.Samples, metrics.Sample{Labels: []string{x.Name}, Value: value})
	}
	return f, true
}

// allowsSaturated reports whether the run is judged although its load was not the one that was asked for.
func (e *Engine) allowsSaturated() bool {
	return e.opts.AllowSaturated || e.sc.Generator.AllowSaturated
}

// doubt says why nothing can be said of a stage so far; "" when something can.
func (e *Engine) doubt(stage string) string {
	if e.self == nil || e.allowsSaturated() {
		return ""
	}
	if why := e.self.doubt(stage, e.rec.StageSnapshot(stage)); why != "" {
		return why
	}
	before, n := e.spills.into(e.rec, stage)
	if n == 0 {
		return ""
	}
	if why := e.self.doubt(before, e.rec.StageSnapshot(before)); why != "" {
		return fmt.Sprintf("%s operations of the stage before it started in it: %s", report.Count(int64(n)), why)
	}
	return ""
}

// measureWait takes a sample of the generator while the last answers are waited for.
func (e *Engine) measureWait() {
	if err := e.self.wait(e.fleet.Counts()); err != nil {
		e.log.Warn("the generator was not measured", "error", err)
	}
}

// measure takes a sample of the generator at the figures now; a stage begins when begin is true.
func (e *Engine) measure(now *metrics.Snapshot, begin bool, stage string) {
	var err error
	if begin {
		err = e.self.stage(stage, now, e.fleet.Counts())
	} else {
		err = e.self.sample(now, e.fleet.Counts())
	}
	if err != nil {
		e.log.Warn("the generator was not measured", "error", err)
	}
}
