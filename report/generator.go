package report

import (
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// GeneratorSummary is whether the figures speak of the target or of the generator. Figures are those of the worst
// second; times are in seconds.
type GeneratorSummary struct {
	Verdict          string   `json:"verdict"` // ok or saturated
	Reasons          []string `json:"reasons,omitempty"`
	Processors       int      `json:"processors"`
	ProcessorsUsed   float64  `json:"processors_used"`
	TimersLate       float64  `json:"timers_late_seconds"`  // 99th percentile
	ScheduleLag      float64  `json:"schedule_lag_seconds"` // 99th percentile
	GCShare          float64  `json:"gc_share"`             // of the processors' time
	GCPause          float64  `json:"gc_pause_seconds"`
	Memory           uint64   `json:"memory_bytes"`
	MemoryLimit      uint64   `json:"memory_limit_bytes"`
	Descriptors      int      `json:"descriptors"`
	DescriptorsLimit int      `json:"descriptors_limit"`
	Ports            int      `json:"ports"`
	PortsLimit       int      `json:"ports_limit"`
	// Of the whole machine, by all programs, in the busiest quarter of a second; 0 where the kernel does not tell.
	MachineProcessors     int     `json:"machine_processors"`
	MachineProcessorsUsed float64 `json:"machine_processors_used"`
	Stopped               float64 `json:"stopped_seconds"` // the longest time for which the process stood still

	Stages []GeneratorStage `json:"stages"`
}

// GeneratorStage is whether a stage was delivered as asked.
type GeneratorStage struct {
	Name    string  `json:"name"`
	AsAsked bool    `json:"as_asked"`
	Asked   uint64  `json:"asked"`   // operations that were due in it
	Started uint64  `json:"started"` // of them
	Late    uint64  `json:"late"`    // of them, by the generator's own doing
	Worst   float64 `json:"worst_seconds"`
	What    string  `json:"what,omitempty"` // what was late, if anything was
	Causes  []Cause `json:"causes"`
}

func generatorSummary(h *Health) *GeneratorSummary {
	if h == nil {
		return nil
	}
	verdict := "ok"
	if h.Saturated {
		verdict = "saturated"
	}
	stages := []GeneratorStage{}
	for _, x := range h.Stages {
		stages = append(stages, GeneratorStage{x.Name, x.AsAsked, x.Asked, x.Started, x.Late, x.Worst.Seconds(), x.What, orEmpty(x.Causes)})
	}
	return &GeneratorSummary{
		Stages: stages, MachineProcessors: h.Processors, MachineProcessorsUsed: h.MachinePeak, Stopped: h.Stopped.Seconds(),
		Verdict: verdict, Reasons: h.Reasons, Processors: h.Cores, ProcessorsUsed: h.CPUPeak,
		TimersLate: h.Late.Seconds(), ScheduleLag: h.Lag.Seconds(), GCShare: h.GCPeak, GCPause: h.GCPause.Seconds(),
		Memory: h.MemoryPeak, MemoryLimit: h.MemoryLimit, Descriptors: h.Descriptors, DescriptorsLimit: h.MaxDescriptors, Ports: h.Ports, PortsLimit: h.MaxPorts,
	}
}

// GeneratorLine says whether the figures speak of the target or of the generator, and why; "" when the fleet
// never ran.
func (r *Run) GeneratorLine() string {
	h := r.Generator
	switch {
	case h == nil:
		return ""
	case h.Saturated:
		return fmt.Sprintf("saturated (%s)", strings.Join(h.Reasons, "; "))
	default:
		used := fmt.Sprintf("%.1f of %d processors", h.CPUPeak, h.Cores)
		if h.Processors > 0 {
			used += fmt.Sprintf(", all programs %.1f", min(h.MachinePeak, float64(h.Processors)))
		}
		return fmt.Sprintf("ok (at most %s, %s MB, %s of %s descriptors, timers %s late)",
			used, human.Count(int64(h.MemoryPeak/1e6)), human.Count(h.Descriptors), human.Count(h.MaxDescriptors), human.Duration(h.Late))
	}
}

// GeneratorLines are GeneratorLine with a line for each stage that was not delivered as asked.
func (r *Run) GeneratorLines() []string {
	h := r.Generator
	if h == nil || !h.Saturated || len(h.Stages) == 0 {
		return []string{r.GeneratorLine()}
	}
	bad := 0
	for _, x := range h.Stages {
		if !x.AsAsked {
			bad++
		}
	}
	bad = max(1, min(bad, len(h.Reasons)))
	lines := make([]string, bad)
	for i := range lines {
		reasons := h.Reasons[i : i+1]
		if i == bad-1 {
			reasons = h.Reasons[i:]
		}
		lines[i] = fmt.Sprintf("saturated (%s)", strings.Join(reasons, "; "))
	}
	return lines
}

func writeGenerator(b *strings.Builder, r *Run, style color.Style) {
	switch {
	case r.Generator == nil:
	case r.Generator.Saturated:
		for _, line := range r.GeneratorLines() {
			fmt.Fprintf(b, "  %s generator: %s\n", style.Mark(false), line)
		}
	default:
		fmt.Fprintf(b, "  generator: %s\n", r.GeneratorLine())
	}
}
