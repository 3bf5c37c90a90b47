package report

import (
	"fmt"
	"strings"
)

// writeGenerator says whether the figures speak of the target or of the generator, and why.
func writeGenerator(b *strings.Builder, r *Run, style Style) {
	h := r.Generator
	if h == nil {
		return
	}
	if h.Saturated {
		fmt.Fprintf(b, "  %s generator: saturated (%s)\n", style.paint(red, "✗"), strings.Join(h.Reasons, "; "))
		return
	}
	fmt.Fprintf(b, "  generator: ok (at most %.1f of %d processors, %s MB, %s of %s descriptors, timers %s late)\n",
		h.CPUPeak, h.Cores, Count(int64(h.MemoryPeak/1e6)), Count(int64(h.Descriptors)), Count(int64(h.MaxDescriptors)), Duration(h.Late))
}
