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
	for _, tt := range []struct {
		hold, at time.Duration // at: since the stage began
		part     int
	}{
		{time.Second, 0, 0},
		{time.Second, 100 * time.Millisecond, 0},
		{time.Second, 500 * time.Millisecond, 0},
		{time.Second, 1500 * time.Millisecond, 4},
		{time.Second, 61 * time.Second, 4},
		{5 * time.Second, 0, 0},
		{5 * time.Second, 100 * time.Millisecond, 0},
		{5 * time.Second, 2500 * time.Millisecond, 2},
		{5 * time.Second, 5500 * time.Millisecond, 4},
		{5 * time.Second, 65 * time.Second, 4},
		{time.Minute, 0, 0},
		{time.Minute, 100 * time.Millisecond, 0},
		{time.Minute, 30 * time.Second, 2},
		{time.Minute, 60500 * time.Millisecond, 4},
		{time.Minute, 2 * time.Minute, 4},
	} {
		w := &watch{trial: &Trial{Hold: tt.hold}, changed: make(chan struct{})}
		w.event(report.Event{Kind: report.KindStage, Text: Hold, At: 10 * time.Second})
		second := &metrics.Snapshot{Stage: Hold, Elapsed: time.Second}
		w.sample(report.Sample{At: 10*time.Second + tt.at, Window: second, Total: second})
		if got := len(w.seen.parts) - 1; got != tt.part {
			t.Errorf("held for %s: a second that ends at %s is of part %d; want %d", tt.hold, tt.at, got, tt.part)
		}
	}
}
