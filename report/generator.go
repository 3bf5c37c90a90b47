package report

import (
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/report/human"
)

// GeneratorLine says whether the figures speak of the target or of the generator, and why; "" when the fleet
// never ran.
func (r *Run) GeneratorLine() string {
	h := r.Generator
	switch {
	case h == nil:
		return ""
	case h.Saturated:
		return h.say(h.Reasons)
	default:
		used := fmt.Sprintf("%.1f of %d processors", h.CPUPeak, h.Cores)
		if h.Processors > 0 {
			used += fmt.Sprintf(", all programs %.1f", min(h.MachinePeak, float64(h.Processors)))
		}
		open := human.Count(h.Descriptors)
		if h.MaxDescriptors > 0 {
			open += " of " + human.Count(h.MaxDescriptors)
		}
		text := fmt.Sprintf("ok (at most %s, %s MB, %s descriptors, timers %s late",
			used, human.Count(int64(h.MemoryPeak/1e6)), open, human.Duration(h.Late))
		if len(h.Unmeasured) > 0 {
			text += "; this system does not tell " + strings.Join(h.Unmeasured, ", ")
		}
		return text + ")"
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
		lines[i] = h.say(reasons)
	}
	return lines
}

// say says what a generator was that did not deliver all as asked: one that was short of nothing is not saturated.
func (h *Health) say(reasons []string) string {
	text := strings.Join(reasons, "; ")
	if h.Of(CauseAgents) || h.Of(CauseUnled) {
		return "not as asked: " + text
	}
	return "saturated (" + text + ")"
}
