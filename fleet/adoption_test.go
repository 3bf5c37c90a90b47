package fleet_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// slow is a ledger to which a device connects after as many seconds as its name says.
type slow struct{ ledger }

func (s *slow) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	n, _ := strconv.Atoi(o.ClientID)
	select {
	case <-time.After(time.Duration(n) * time.Second):
		return s.ledger.Connect(ctx, o)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Of devices that were taken over it is known how many were to run, and which of those are back or were stopped before; that they stop and start
// later on says nothing more, and what starts later is not back.
func TestAdoption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var target slow
		ids := []string{"1", "3", "5", "7", "1", "1"}
		f, err := fleet.New(fleet.Config{
			Seed: 1, Target: &target, Driver: &target, Recorder: metrics.NewRecorder(metrics.Options{}), Mine: func(index int) bool { return index == 5 },
			Groups: []fleet.Group{{Name: "a", IDs: ids, Timeout: time.Minute}},
		})
		if err != nil {
			t.Fatal(err)
		}
		scale := func(n int) {
			t.Helper()
			m := f.PlanScale(time.Now(), schedule.Curve{{Duration: time.Nanosecond, From: float64(f.Active()), To: float64(n)}})
			if err := m.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		scale(6)
		a := f.Adopt([]int{0, 1, 2, 3}, func(index int) string { return ids[index] })
		check := func(what string, active, back, left int) {
			t.Helper()
			synctest.Wait()
			if a.Active() != active || a.Back() != back || a.Left() != left {
				t.Errorf("%s: %d active, %d back, %d left; want %d, %d, %d", what, a.Active(), a.Back(), a.Left(), active, back, left)
			}
		}
		check("at once", 4, 0, 0)
		time.Sleep(4 * time.Second)
		check("two are connected", 4, 2, 0)
		scale(0)
		time.Sleep(10 * time.Second)
		check("none is to run", 4, 2, 2)
		if none := f.Adopt([]int{4}, func(index int) string { return ids[index] }); none.Active() != 0 {
			t.Errorf("%d of those that were not to run", none.Active())
		}
		scale(6)
		time.Sleep(20 * time.Second)
		check("all are", 4, 2, 2)
		if n := f.Counts()[fleet.StateConnected]; n != 6 {
			t.Errorf("%d connected", n)
		}
		f.Stop(t.Context())
		check("all is over", 4, 2, 2)
	})
}
