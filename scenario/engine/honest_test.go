package engine_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// stalled reports at a rate that the fleet's schedule keeps, while the hub stalls for a second in the middle.
const stalled = `
name: stalled
seed: 5
fleet:
  groups: [{name: robots, count: %[1]d, reported: {connectivity: {type: wifi}}, in_flight: 1, overflow: wait}]
stages:
  - {name: ramp, duration: 500ms, devices: %[1]d}
  - {name: settle, steps: [{await: {connected: %[1]d, reported: %[1]d, within: 3m}}]}
  - {name: before, duration: 2s, report_rate: %[2]d/s}
  - {name: stall, duration: 3s, report_rate: %[2]d/s, hub: {stall: 1s}}
`

// A stall of a second shows in the latency from the intended time as the schedule says it must. The
// latency from the send hides it, as it does for every client that waits for one answer before the next request.
// Its figures are exact in virtual time: fleet.TestAStallShowsFromTheIntendedTime. Here a busy machine makes
// them worse, in the same proportion: while this process is stopped devices wait as they do for a hub that stalls.
func TestAStallCannotHide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const (
			whole   = 5 * time.Second
			stall   = time.Second
			devices = 50
			rate    = devices * 40 // a second
			asked   = rate * int(whole/time.Second)
		)
		run := newEngine(decode(t, fmt.Sprintf(stalled, devices, rate)), newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
		}
		x := run.Totals.Select(metrics.OpTwinReport, "")
		// One report a device comes at connecting.
		// What waits for its turn when the run ends is dropped: none, on a machine that has the time.
		total := uint64(asked + devices)
		if x.Scheduled() < total-2 || x.Scheduled() > total || x.DroppedTotal() != x.Dropped[metrics.DropStopped] {
			t.Fatalf("%d reports were scheduled, %v dropped; want %d and none", x.Scheduled(), x.Dropped, total)
		}
		// What is due in the first half of the stall waits for the other half at least. Of what was sent that is one
		// report a device, a twentieth of it.
		const long = stall / 2
		slow := func(fromSend bool) uint64 {
			h := x.Latency(fromSend)
			return h.Count - h.Below(long-time.Millisecond)
		}
		intended, sent := slow(false)+x.DroppedTotal(), slow(true)
		t.Logf("%d reports took more than %v from the intended time (the schedule says %d), %d from the send", intended, long, rate/2, sent)
		if want := uint64(rate/2) - devices; intended < want {
			t.Errorf("%d reports took more than %v from the intended time; the schedule says %d", intended, long, want)
		}
		if sent > intended/2 {
			t.Errorf("%d reports took more than %v from the send, %d from the intended time; want far less", sent, long, intended)
		}
	})
}
