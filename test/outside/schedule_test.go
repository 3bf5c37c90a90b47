package outside

import (
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/cron"
)

// A program asks schedules when things are due, without a clock and without a fleet.
func TestSchedulesAreFunctionsOfTime(t *testing.T) {
	ramp := schedule.Curve{{Duration: 4 * time.Second, From: 0, To: 10}}
	if n := ramp.Events(ramp.Total()); n != 20 {
		t.Errorf("a ramp to 10/s over 4s has %d events; want the 20 below it", n)
	}
	even, poisson := slices.Collect(ramp.Even()), slices.Collect(ramp.Poisson(7, "orders", 0))
	if len(even) != 20 || !slices.IsSorted(poisson) || !slices.Equal(poisson, slices.Collect(ramp.Poisson(7, "orders", 0))) {
		t.Errorf("even %v, by chance %v", even, poisson)
	}
	nightly, err := cron.Parse("30 2 * * *")
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if got, want := nightly.After(from), time.Date(2026, 3, 2, 2, 30, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("after %s it is due %s; want %s", from, got, want)
	}
	if d := schedule.ExponentialBackoff().Delay(3, 0.5); d <= 0 || d > 10*time.Second {
		t.Errorf("the fourth attempt waits %s", d)
	}
}
