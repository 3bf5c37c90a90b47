package watch

import (
	"github.com/twinfleet/twinfleet/metrics"

	"github.com/twinfleet/twinfleet/report"
)

// figures are those of the last sample, and which stages were not delivered as asked so far.
func (w *Watch) figures() []metrics.Figure {
	figures := w.lastFigures()
	if f, ok := notAsAsked(w.Health()); ok {
		figures = append(figures, f)
	}
	return figures
}

func (w *Watch) lastFigures() []metrics.Figure {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := &w.last
	one := func(name, help string, value float64) metrics.Figure {
		return metrics.One("twinfleet_generator_"+name, help, value)
	}
	return []metrics.Figure{
		one("cores", "Processors that there are for this process.", float64(x.Cores)),
		one("cpu_seconds_total", "Processors' time that this process used since the fleet started.", w.cpu.Seconds()),
		one("cpu_ratio", "Share of the processors in use by this process over the last second.", x.CPU/float64(max(1, x.Cores))),
		one("machine_cpu_ratio", "Share of the machine's processors in use by all programs, in the busiest quarter of the last second.",
			x.Machine/float64(max(1, x.Processors))),
		one("steal_ratio", "Share of the machine's processors that the hypervisor gave to other machines over the last second.",
			x.Steal/float64(max(1, x.Processors))),
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
		one("ports_limit", "Local ports that there are towards the target, of all source addresses and towards all its hubs.", float64(x.MaxPorts)),
		one("timer_lateness_seconds", "By how much timers of this process fired late over the last second: the 99th percentile.", x.Late.Seconds()),
		one("schedule_lag_seconds", "By how much operations started late over the last second by the generator's own doing: the 99th percentile.", x.Lag.Seconds()),
		one("saturated_seconds_total", "Time in which a rule found this process the bottleneck.", w.bad.Seconds()),
	}
}

// notAsAsked tells the stages apart that were not delivered as asked so far; false when nothing is known of any.
func notAsAsked(h *report.Health) (f metrics.Figure, ok bool) {
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
