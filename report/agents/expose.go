package agents

import (
	"maps"
	"slices"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// Expose is the agents of a run for /metrics. The label agent has as many values as there are agents, which are 1,000 at most; of states there
// are five. Of a lost agent its counters stay, what it used is absent.
func Expose(all []report.Agent) []metrics.Figure {
	figure := func(name, help string, labels ...string) metrics.Figure {
		return metrics.Figure{Name: "twinfleet_agent_" + name, Help: help, Labels: append([]string{"agent"}, labels...)}
	}
	up := figure("up", "Whether an agent is part of the run: 1, or 0 once it was lost.")
	devices := figure("devices", "Devices of an agent by state, as it last said.", "state")
	started := figure("operations_started_total", "Operations that an agent's devices started.")
	ended := figure("operations_ended_total", "Operations of an agent's devices that ended, well or not.")
	dropped := figure("operations_dropped_total", "Operations of an agent's devices that were due and never started.")
	offset := figure("clock_offset_seconds", "How far an agent's clock is ahead of the coordinator's.")
	uncertainty := figure("clock_uncertainty_seconds", "By how much the offset of an agent's clock may be wrong.")
	cpu := figure("cpu_ratio", "Share of its processors that an agent used in the last second.")
	lag := figure("schedule_lag_seconds", "By how much an agent started operations late in the last second by its own doing: the 99th percentile.")
	sent := figure("control_sent_bytes_total", "Bytes that an agent sent for the coordination of the run.")
	received := figure("control_received_bytes_total", "Bytes that an agent received for the coordination of the run.")
	coordination := figure("control_cpu_seconds_total", "Processor time of an agent that went into coordination, at least: what reads and writes its connection is not told apart.")
	for i := range all {
		a := &all[i]
		add := func(f *metrics.Figure, value float64, labels ...string) {
			f.Samples = append(f.Samples, metrics.Sample{Labels: append([]string{a.Name}, labels...), Value: value})
		}
		there := 1.0
		if a.Lost != nil {
			there = 0
		}
		add(&up, there)
		for _, state := range slices.Sorted(maps.Keys(a.States)) {
			add(&devices, float64(a.States[state]), state)
		}
		if t := a.Totals; t != nil {
			add(&started, float64(t.Started))
			add(&ended, float64(t.OK+t.Errors))
			add(&dropped, float64(t.Dropped))
		}
		add(&sent, float64(a.Control.Sent))
		add(&received, float64(a.Control.Received))
		add(&coordination, a.Control.CPU.Seconds())
		if a.Lost != nil {
			continue
		}
		if a.Clock != (report.Clock{}) {
			add(&offset, a.Clock.Offset.Seconds())
			add(&uncertainty, a.Clock.Uncertainty.Seconds())
		}
		if h := a.Generator; h != nil && h.Cores > 0 {
			add(&cpu, a.CPU/float64(h.Cores))
			add(&lag, a.Lag.Seconds())
		}
	}
	return []metrics.Figure{up, devices, started, ended, dropped, offset, uncertainty, cpu, lag, sent, received, coordination}
}
