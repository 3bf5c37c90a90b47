package report

import (
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/internal/generator"
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
}

func generatorSummary(h *generator.Health) *GeneratorSummary {
	if h == nil {
		return nil
	}
	verdict := "ok"
	if h.Saturated {
		verdict = "saturated"
	}
	return &GeneratorSummary{
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
		return fmt.Sprintf("ok (at most %.1f of %d processors, %s MB, %s of %s descriptors, timers %s late)",
			h.CPUPeak, h.Cores, Count(int64(h.MemoryPeak/1e6)), Count(int64(h.Descriptors)), Count(int64(h.MaxDescriptors)), Duration(h.Late))
	}
}

func writeGenerator(b *strings.Builder, r *Run, style Style) {
	switch {
	case r.Generator == nil:
	case r.Generator.Saturated:
		fmt.Fprintf(b, "  %s generator: %s\n", style.paint(red, "✗"), r.GeneratorLine())
	default:
		fmt.Fprintf(b, "  generator: %s\n", r.GeneratorLine())
	}
}
