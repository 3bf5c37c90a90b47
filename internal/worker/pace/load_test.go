package pace_test

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/failure"
	"github.com/twinfleet/twinfleet/internal/worker/pace"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
	"github.com/twinfleet/twinfleet/metrics"
)

func TestLoadKeepsItsRate(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to float64
		spans    [][2]time.Duration
		want     uint64
	}{
		{"steady", 20, 20, [][2]time.Duration{{0, 10 * time.Second}}, 200},
		{"a ramp", 0, 20, [][2]time.Duration{{0, 10 * time.Second}}, 100},
		{"in two windows", 20, 20, [][2]time.Duration{{time.Second, 2 * time.Second}, {5 * time.Second, time.Second}}, 60},
		{"less than one a second", 0.5, 0.5, [][2]time.Duration{{0, 10 * time.Second}}, 5},
		{"never", 0, 0, [][2]time.Duration{{0, 10 * time.Second}}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			rec := metrics.NewRecorder(metrics.Options{})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var mu sync.Mutex
			var turns []int64
			load := pace.Load{
				Series: rec.Series(metrics.OpTwinRead, "g"), From: tt.from, To: tt.to, Windows: workertest.Windows(ctx, tt.spans...),
				Do: func(_ context.Context, n int64) error {
					mu.Lock()
					defer mu.Unlock()
					turns = append(turns, n)
					return nil
				},
			}
			load.Run(ctx)
			x := rec.Snapshot().Find(metrics.OpTwinRead, "g")
			if math.Abs(float64(x.OnTime)-float64(tt.want)) > 1 || x.Late != 0 || x.Count(metrics.OK) != x.OnTime {
				t.Errorf("%s: %d on time, %d late, %d done; want %d", tt.name, x.OnTime, x.Late, x.Count(metrics.OK), tt.want)
			}
			slices.Sort(turns)
			for i, n := range turns {
				if int64(i) != n {
					t.Fatalf("%s: turns %v; want each once", tt.name, turns)
				}
			}
		})
	}
}

// Operations that take longer than their period run side by side up to the bound; what is due beyond
// is dropped and counted, and what the end of the run cut off is unanswered.
func TestLoadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		codes := new(failure.Codes)
		load := pace.Load{
			Series: rec.Series(metrics.OpMethod, "m"), From: 10, To: 10, InFlight: 5, Codes: codes,
			Windows: workertest.Windows(ctx, [2]time.Duration{0, time.Minute}),
			Do: func(ctx context.Context, n int64) error {
				if err := wait.For(ctx, time.Second+time.Millisecond); err != nil {
					return err
				}
				return map[bool]error{true: iothub.ErrDeviceNotOnline, false: iothub.ErrThrottled}[n%2 == 0]
			},
		}
		load.Run(ctx)
		x := rec.Snapshot().Find(metrics.OpMethod, "m")
		unanswered, dropped := x.Count(metrics.Unanswered), x.Dropped[metrics.DropInFlight]
		if x.Scheduled() != 100 || x.Started()+dropped != 100 || x.Started() < 45 || x.Started() > 50 || unanswered == 0 || unanswered > 5 {
			t.Errorf("%d scheduled, %d started, %v dropped, %d unanswered; want 100, about 47, the rest, up to 5",
				x.Scheduled(), x.Started(), x.Dropped, unanswered)
		}
		if answered := x.Count(metrics.Throttled) + x.Count(metrics.Failed); x.Started() != x.Ended() || answered+unanswered != x.Ended() ||
			x.Count(metrics.Throttled) == 0 {
			t.Errorf("%d throttled, %d failed of %d", x.Count(metrics.Throttled), x.Count(metrics.Failed), x.Ended())
		}
		if list := codes.List(); len(list) != 2 || list[0].Count+list[1].Count != int(x.Ended()-x.Count(metrics.Unanswered)) {
			t.Errorf("codes = %v; want those of all %d that were answered", list, x.Ended()-x.Count(metrics.Unanswered))
		}
	})
}
