package fleet

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// A movement that is planned when the fleet has stopped moves nothing, and leaves nothing behind: a bubble waits for all that it began.
func TestMovementAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := New(Config{
			Target: still{}, Driver: still{}, Recorder: metrics.NewRecorder(metrics.Options{}), Groups: []Group{{Name: "robots", IDs: slices.Repeat([]string{"x"}, 8)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		f.courses.end()
		f.PlanScale(time.Now(), schedule.Curve{{Duration: time.Second, From: 0, To: 8}}).due(time.Now().Add(time.Hour), false)
		if n := f.Active(); n != 0 {
			t.Errorf("%d devices are active", n)
		}
	})
}
