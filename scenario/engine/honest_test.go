package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/metrics"
)

// stalled reports at a rate that the fleet's schedule keeps, while the hub stalls for a second in the middle.
const stalled = `
name: stalled
seed: 5
fleet:
  groups: [{name: robots, count: %[1]d, reported: {connectivity: {type: wifi}}, in_flight: 1, overflow: wait}]
stages:
  - {name: ramp, duration: 1s, devices: %[1]d}
  - {name: settle, duration: 1s}
  - {name: before, duration: 4s, report_rate: %[2]d/s}
  - {name: stall, duration: 6s, report_rate: %[2]d/s, hub: {stall: 1s}}
`

// A stall of a second shows in the latency from the intended time as the schedule says it must. The
// latency from the send hides it, as it does for every client that waits for one answer before it asks again.
// Its figures are exact in virtual time: fleet.TestAStallShowsFromTheIntendedTime. Here a busy machine can only
// make them worse, so that one of three runs must show them.
func TestAStallCannotHide(t *testing.T) {
	const (
		whole   = 10 * time.Second
		stall   = time.Second
		devices = wholeFleet / 30
		rate    = devices * 20 // a second
		asked   = rate * int(whole/time.Second)
	)
	// What is due at time s of the stall waits for the rest of it. The slowest hundredth of all reports is
	// those of its first tenth of a second: p99 = stall − whole/100.
	want := stall - whole/100
	for attempt := 1; ; attempt++ {
		run := newEngine(decode(t, fmt.Sprintf(stalled, devices, rate)), newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		x := run.Totals.Select(metrics.OpTwinReport, "")
		// One report a device comes at connecting; they are far below a hundredth of all.
		// What waits for its turn when the run ends is dropped: none, on a machine that has the time.
		total := uint64(asked + devices)
		if x.Scheduled() < total-2 || x.Scheduled() > total || x.DroppedTotal() != x.Dropped[metrics.DropStopped] {
			t.Fatalf("%d reports were scheduled, %v dropped; want %d and none", x.Scheduled(), x.Dropped, total)
		}
		// One report a device was under way when the hub stalled: half of a hundredth of all.
		intended, sent := x.Latency(false).Quantile(0.99), x.Latency(true).Quantile(0.99)
		t.Logf("p99 from the intended time %v (the schedule says %v), from the send %v", intended, want, sent)
		if intended < want-50*time.Millisecond {
			t.Fatalf("p99 from the intended time = %v; the schedule says %v", intended, want)
		}
		if intended < want+150*time.Millisecond && sent < intended/4 && x.DroppedTotal() == 0 {
			return
		}
		if attempt == 3 {
			t.Fatalf("p99 from the intended time = %v, from the send %v; want %v and far less", intended, sent, want)
		}
	}
}

// A storm of 80 % of the fleet, 3,000 devices: all come back, and the record tells how fast.
func TestStormOfAFleet(t *testing.T) {
	const storm = `
name: storm
seed: 42
fleet: {groups: [{name: robots, count: %[1]d}]}
stages:
  - {name: ramp, devices: %[1]d, connect_rate: 1500/s}
  - {name: all, steps: [{await: {connected: %[1]d, within: 2m}}]}
  - {name: storm, duration: 2s, storm: {drop: 80%%, within: 1s}}
  - {name: back, steps: [{await: {connected: %[1]d, within: 2m}}]}
  - {name: calm, duration: 1s}
`
	const lost = wholeFleet * 8 / 10
	run := newEngine(decode(t, fmt.Sprintf(storm, wholeFleet)), newWatcher()).Run(t.Context())
	if run.Outcome != report.Passed {
		t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
	}
	if len(run.Outages) != 1 {
		t.Fatalf("outages = %+v; want one", run.Outages)
	}
	o := run.Outages[0]
	if o.Total < lost || o.Total > lost*21/20 || !o.Recovered || o.To <= o.From || o.AllBack < o.To-o.From {
		t.Errorf("%v, all back after %v; want %d connections lost, and all back", o, o.AllBack, lost)
	}
	back := 0
	for _, n := range o.Returns {
		back += n
	}
	// Those who were back before a device in a hundred was gone are not in the curve.
	if back < lost*9/10 || back > o.Total {
		t.Errorf("the curve has %d returns of %d", back, lost)
	}
	if rate, _ := o.Peak(); rate < lost/60 {
		t.Errorf("peak of %v a second", rate)
	}
	t.Logf("99 %% back after %v, all after %v: %v", o.To-o.From, o.AllBack, o.Returns)
}
