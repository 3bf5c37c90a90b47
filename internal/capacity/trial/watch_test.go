package trial

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// Every second of the time in which a load is judged belongs to a fifth of it: also one that began before the stage, and one
// that ends after it, however short the load is held.
func TestSecondsAtTheEnds(t *testing.T) {
	for _, hold := range []time.Duration{time.Second, 5 * time.Second, time.Minute} {
		for _, tt := range []struct {
			at   time.Duration // since the stage began
			part int
		}{{0, 0}, {100 * time.Millisecond, 0}, {hold / 2, 0}, {hold + time.Second/2, 4}, {hold + time.Minute, 4}} {
			w := &watch{trial: &Trial{Hold: hold}, changed: make(chan struct{})}
			w.event(report.Event{Kind: report.KindStage, Text: Hold, At: 10 * time.Second})
			second := &metrics.Snapshot{Stage: Hold, Elapsed: time.Second}
			w.sample(report.Sample{At: 10*time.Second + tt.at, Window: second, Total: second})
			if tt.at == hold/2 {
				tt.part = int(5 * max(0, hold/2-time.Second/2) / hold)
			}
			if got := len(w.seen.parts) - 1; got != tt.part {
				t.Errorf("held for %s: a second that ends at %s is of part %d; want %d", hold, tt.at, got, tt.part)
			}
		}
	}
}
