package findings

import (
	"time"

	"github.com/twinfleet/twinfleet/report"
)

// Gap is a time of a run that has no sample. Times are since the run began.
type Gap struct {
	From, To time.Duration // From before To
}

// leastGap is how long a sample takes at least that leaves a gap: they come once a second, and a busy machine is late by a part of that.
const leastGap = 2500 * time.Millisecond

// Gaps are the times of which a run has no figures of each second: its process stood still, or its samples were not written. They are in the
// next sample together.
func Gaps(h *report.History) (all []Gap) {
	for i := 1; i < len(h.Samples); i++ { // the first one has all that was before
		if from, to := h.Samples[i-1].At, h.Samples[i].At; to-from >= leastGap {
			all = append(all, Gap{from, to})
		}
	}
	return all
}
