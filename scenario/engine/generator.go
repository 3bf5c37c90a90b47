package engine

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// Sampler measures the generator itself: what came since the last sample, of a fleet that holds so many
// connections and whose operations started by lag late (99th percentile).
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
	bad   time.Duration // time of samples that a rule found bad
	cpu   time.Duration // processors' time since the first sample
}

// newSelf begins to measure. Without a sampler it measures this process.
func newSelf(sampler Sampler, sc *scenario.Scenario) (*self, error) {
	s := &self{sampler: sampler}
	s.judge.Shared = sc.Target.Kind == scenario.Embedded
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
	name := ""
	switch t.Kind {
	case scenario.Embedded:
		return true
	case scenario.Broker:
		if u, err := url.Parse(t.Hub); err == nil {
			name = u.Hostname()
		}
	case scenario.IoTHub:
		if c, err := iothub.ParseServiceConnectionString(t.Hub); err == nil {
			name, _, _ = strings.Cut(c.HostName, ":")
		}
	}
	ip := net.ParseIP(name)
	return name == "localhost" || (ip != nil && ip.IsLoopback())
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

// sample takes the next sample, over the same time as an interval of the Recorder.
func (s *self) sample(interval *metrics.Snapshot, counts map[string]int) error {
	var lag metrics.Histogram
	for i := range interval.Series {
		lag = lag.Merge(interval.Series[i].Lag)
	}
	x, err := s.sampler.Sample(counts[fleet.StateConnected]+counts[fleet.StateConnecting], lag.Quantile(0.99))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge.Add(x)
	s.last = x
	s.cpu += time.Duration(x.CPU * float64(x.Elapsed))
	if s.judge.Bad() {
		s.bad += x.Elapsed
	}
	return nil
}

// health is the judgement so far; nil when nothing was measured.
func (s *self) health() *generator.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.judge.Health()
	if h.Measured == 0 {
		return nil
	}
	return &h
}

// register shows the last sample on /metrics.
func (s *self) register(rec *metrics.Recorder) {
	show := func(name, help string, read func(x *generator.Sample) float64) {
		rec.Register("twinfleet_generator_"+name, help, nil, func() []metrics.Sample {
			s.mu.Lock()
			defer s.mu.Unlock()
			return []metrics.Sample{{Value: read(&s.last)}}
		})
	}
	show("cores", "Processors that there are for this process.", func(x *generator.Sample) float64 { return float64(x.Cores) })
	show("cpu_seconds_total", "Processors' time that this process used since the fleet started.", func(*generator.Sample) float64 { return s.cpu.Seconds() })
	show("cpu_ratio", "Share of the processors in use by this process over the last second.", func(x *generator.Sample) float64 { return x.CPU / float64(max(1, x.Cores)) })
	show("gc_cpu_ratio", "Share of the processors' time that went into collecting garbage, when a collection ended in the last second.", func(x *generator.Sample) float64 { return x.GC })
	show("gc_pause_seconds", "Longest pause for collecting garbage in the last second.", func(x *generator.Sample) float64 { return x.GCPause.Seconds() })
	show("memory_bytes", "Resident memory of this process.", func(x *generator.Sample) float64 { return float64(x.Memory) })
	show("memory_limit_bytes", "Memory that this process may have.", func(x *generator.Sample) float64 { return float64(x.MemoryLimit) })
	show("descriptors", "Open descriptors of this process.", func(x *generator.Sample) float64 { return float64(x.Descriptors) })
	show("descriptors_limit", "Descriptors that this process may have.", func(x *generator.Sample) float64 { return float64(x.MaxDescriptors) })
	show("ports", "Local ports in use towards the target.", func(x *generator.Sample) float64 { return float64(x.Ports) })
	show("ports_limit", "Local ports that there are towards the target, of all source addresses.", func(x *generator.Sample) float64 { return float64(x.MaxPorts) })
	show("timer_lateness_seconds", "By how much timers of this process fired late over the last second: the 99th percentile.", func(x *generator.Sample) float64 { return x.Late.Seconds() })
	show("schedule_lag_seconds", "By how much operations started late over the last second: the 99th percentile.", func(x *generator.Sample) float64 { return x.Lag.Seconds() })
	show("saturated_seconds_total", "Time in which a rule found this process the bottleneck.", func(*generator.Sample) float64 { return s.bad.Seconds() })
}

// saturated reports whether the generator was the bottleneck and the run must not pass for that.
func (e *Engine) saturated() bool {
	h := e.record.whole().Generator
	return h != nil && h.Saturated && !e.opts.AllowSaturated && !e.sc.Generator.AllowSaturated
}
