package fleet_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// small is a fleet of so many devices.
func small(t *testing.T, devices int) *fleet.Fleet {
	t.Helper()
	l := new(ledger)
	g := fleet.Group{Name: "robots"}
	for i := range devices {
		g.IDs = append(g.IDs, fmt.Sprintf("robot-%d", i))
	}
	f, err := fleet.New(fleet.Config{Target: l, Driver: l, Recorder: metrics.NewRecorder(metrics.Options{}), Groups: []fleet.Group{g}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// All is over once, whoever says so at the same instant: in an agent that is the plan, whose last stage ends, and the word that devices are to leave.
func TestFinishAtOnce(t *testing.T) {
	for range 3000 {
		f := small(t, 1)
		ends := []func(){f.Finish, func() { f.Stop(t.Context()) }}
		var all sync.WaitGroup
		var ready atomic.Int32
		for _, end := range ends {
			all.Go(func() {
				for ready.Add(1); int(ready.Load()) < len(ends); {
					runtime.Gosched()
				}
				end()
			})
		}
		all.Wait()
	}
}

// A fleet that is stopped while a stage begins stays empty, and nothing of the stage goes on: the plan of an agent has that begin which was due before
// it heard that its devices are to leave.
func TestStopWhileAStageBegins(t *testing.T) {
	for range 150 {
		f := small(t, 20)
		ramp := schedule.Curve{{Duration: 2 * time.Millisecond, From: 0, To: 20}}
		begun, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if f.Scale(begun, ramp) != nil {
				return
			}
			for n := 1; begun.Err() == nil; n++ {
				f.Storm(0.5, time.Millisecond, n)
				f.PlanGroups(time.Now(), []int{n % 20}, time.Millisecond)
				f.PlanScale(time.Now(), schedule.Curve{{Duration: time.Millisecond, From: float64(f.Active()), To: float64(n % 20)}})
			}
		})
		all.Go(func() {
			time.Sleep(2 * time.Millisecond) // when in the ramp or in what follows, chance says
			f.Stop(t.Context())
			cancel()
		})
		all.Wait()
		if n := f.Active(); n != 0 {
			t.Fatalf("%d devices are active after all have left", n)
		}
	}
}
