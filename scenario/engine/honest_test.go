package engine_test

import (
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
  groups: [{name: robots, count: 100, reported: {connectivity: {type: wifi}}, in_flight: 1, overflow: wait}]
stages:
  - {name: ramp, duration: 1s, devices: 100}
  - {name: settle, duration: 1s}
  - {name: before, duration: 4s, report_rate: 2000/s}
  - {name: stall, duration: 6s, report_rate: 2000/s, hub: {stall: 1s}}
`

// A stall of a second shows in the latency from the intended time as the schedule says it must. The
// latency from the send hides it, as it does for every client that waits for one answer before it asks again.
func TestAStallCannotHide(t *testing.T) {
	const (
		rate    = 2000.0
		whole   = 10 * time.Second
		stall   = time.Second
		devices = 100
	)
	w := newWatcher()
	run := newEngine(decode(t, stalled), w).Run(t.Context())
	if run.Outcome != report.Passed {
		t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
	}
	x := run.Totals.Select(metrics.OpTwinReport, "")
	// One report a device comes at connecting; it is far below a hundredth of all.
	if want := uint64(rate*whole.Seconds()) + devices; x.Scheduled() < want-2 || x.Scheduled() > want || x.DroppedTotal() > 0 {
		t.Errorf("%d reports were scheduled, %v dropped; want %d and none", x.Scheduled(), x.Dropped, want)
	}
	// What is due at time s of the stall waits for the rest of it. The slowest hundredth of all reports is
	// those of its first tenth of a second: p99 = stall − whole/100.
	want := stall - whole/100
	intended, sent := x.Latency(false).Quantile(0.99), x.Latency(true).Quantile(0.99)
	if intended < want-50*time.Millisecond || intended > want+300*time.Millisecond {
		t.Errorf("p99 from the intended time = %v; the schedule says %v", intended, want)
	}
	// 100 of 20,000 reports, one a device, were under way when the hub stalled: half of a hundredth.
	if sent > intended/3 {
		t.Errorf("p99 from the send = %v, from the intended time %v; want far less", sent, intended)
	}
	t.Logf("p99 from the intended time %v (the schedule says %v), from the send %v", intended, want, sent)
}

// A storm of 80 % of 3,000 devices: all come back, and the record tells how fast.
func TestStormOfThreeThousand(t *testing.T) {
	const storm = `
name: storm
seed: 42
fleet: {groups: [{name: robots, count: 3000}]}
stages:
  - {name: ramp, devices: 3000, connect_rate: 1500/s}
  - {name: all, steps: [{await: {connected: 3000, within: 60s}}]}
  - {name: storm, duration: 2s, storm: {drop: 80%, within: 1s}}
  - {name: back, steps: [{await: {connected: 3000, within: 60s}}]}
  - {name: calm, duration: 1s}
`
	run := newEngine(decode(t, storm), newWatcher()).Run(t.Context())
	if run.Outcome != report.Passed {
		t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
	}
	if len(run.Outages) != 1 {
		t.Fatalf("outages = %+v; want one", run.Outages)
	}
	o := run.Outages[0]
	if o.Total < 2400 || o.Total > 2410 || !o.Recovered || o.To <= o.From || o.AllBack < o.To-o.From {
		t.Errorf("outage %+v; want 2,400 connections lost, and all back", o)
	}
	back := 0
	for _, n := range o.Returns {
		back += n
	}
	// Those who came back before the outage was noticed, a device in a hundred being gone, are not in it.
	if back < 2200 || back > o.Total {
		t.Errorf("the curve has %d returns of %d", back, o.Total)
	}
	if rate, _ := o.Peak(); rate < 100 {
		t.Errorf("peak of %v a second", rate)
	}
	t.Logf("99 %% back after %v, all after %v: %v", o.To-o.From, o.AllBack, o.Returns)
}
