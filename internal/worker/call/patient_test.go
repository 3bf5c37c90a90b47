package call_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/pace"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// What is under way when the last stage is over goes on to its own end: to the answer, or to its time-out. Only when
// nobody waits any more is it unanswered.
func TestCallsOutliveTheirSchedule(t *testing.T) {
	for _, tt := range []struct {
		name    string
		took    time.Duration
		hard    time.Duration // when everything is cut off
		outcome metrics.Outcome
		end     time.Duration // of the last one
	}{
		{"answered late", 3 * time.Second, time.Hour, metrics.OK, 12 * time.Second},
		{"never answered", time.Hour, time.Hour, metrics.Timeout, 17 * time.Second},
		{"cut off", time.Hour, 11 * time.Second, metrics.Unanswered, 11 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			hard, cancelHard := context.WithTimeout(t.Context(), tt.hard)
			defer cancelHard()
			soft, cancel := context.WithTimeout(hard, 9400*time.Millisecond)
			defer cancel()
			ctx := call.Patient(soft, hard)
			rec := metrics.NewRecorder(metrics.Options{})
			load := pace.Load{
				Series: rec.Series(metrics.OpMethod, "m"), From: 1, To: 1,
				Windows: workertest.Windows(soft, [2]time.Duration{8 * time.Second, time.Minute}),
				Do: func(ctx context.Context, _ int64) error {
					ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
					defer cancel()
					if wait.For(ctx, tt.took) != nil {
						return ctx.Err()
					}
					return nil
				},
			}
			scheduled := &queries.Runner{
				Service: workertest.Slow{Takes: tt.took, Pages: 1}, Recorder: rec,
				Queries: []queries.Query{{Name: "q", Timeout: 8 * time.Second, Every: schedule.Every{Period: time.Hour, Phase: 9 * time.Second}}},
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				load.Run(ctx)
			}()
			_ = scheduled.Run(ctx)
			<-done
			for _, op := range []metrics.Operation{metrics.OpMethod, metrics.OpQuery} {
				x := rec.Snapshot().Select(op, "")
				if x.Started() == 0 || x.Started() != x.Ended() || x.Count(tt.outcome) != x.Ended() {
					t.Errorf("%s: %s: %d started, %d ended, %d %s; want all so", tt.name, op, x.Started(), x.Ended(), x.Count(tt.outcome), tt.outcome)
				}
			}
			if took := time.Since(began).Round(time.Second); took != tt.end {
				t.Errorf("%s: over after %v; want %v", tt.name, took, tt.end)
			}
		})
	}
}
