//go:build integration

package engine_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// wholeFleet is how many devices the tests with a whole fleet start. The race detector would make each some ten times as dear.
const wholeFleet = 3000

// Every device's connectivity in the hub's twins is what that device last reported: of all 3,000.
func TestFleetTwinsHoldWhatDevicesReported(t *testing.T) {
	text, err := os.ReadFile("../../configs/scenarios/connectivity.yaml")
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.Open(t.Context(), hub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}()
	// The last stage ends when all have reported and are tagged, however slow the machine is.
	s := decode(t, string(text), append(hubAt(h), "stages[0].duration=8s",
		fmt.Sprintf("stages[1]={name: hold, steps: [{await: {connected: %[1]d, reported: %[1]d, within: 3m}}, {query: {name: redmond, expect: %[1]d, within: 3m}}]}", wholeFleet),
		fmt.Sprintf("fleet.groups.robots.count=%d", wholeFleet), fmt.Sprintf("stages[0].devices=%d", wholeFleet), "fleet.groups.robots.reported.every=5s",
		"fleet.groups.robots.telemetry.every=20s", "fleet.groups.robots.timeout=3m", "thresholds={}")...)
	eng := engine.New(engine.Sampled(engine.Options{Scenario: s, Recorder: punctual(), AllowSaturated: true}, calm())) // over TCP
	run := eng.Run(t.Context())
	if run.Outcome != report.Passed {
		t.Fatalf("the run %s: %s", run.Outcome, run.Reason)
	}
	for i := range run.Totals.Series {
		if x := &run.Totals.Series[i]; x.Errors() > 0 || x.Count(metrics.Throttled) > 0 {
			t.Errorf("%s %s: %d errors", x.Operation, x.Group, x.Errors())
		}
	}
	reports := eng.LastReports()
	if len(reports) != wholeFleet {
		t.Fatalf("%d devices had a report acknowledged; want %d", len(reports), wholeFleet)
	}
	c, err := service.New(service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://" + h.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := 0
	for p := c.Query("SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'", 1000); p.More(); {
		page, err := p.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			var twin struct {
				DeviceID   string
				Properties struct {
					Reported struct {
						Connectivity struct{ Type string }
						Version      int64 `json:"$version"`
					}
				}
			}
			if err := json.Unmarshal(item, &twin); err != nil {
				t.Fatal(err)
			}
			seen++
			want := reports[twin.DeviceID]
			if got := twin.Properties.Reported; got.Connectivity.Type != want.Connectivity || got.Version != want.Version {
				t.Errorf("twin of %s: %s at version %d; the device last reported %s at version %d", twin.DeviceID, got.Connectivity.Type, got.Version, want.Connectivity,
					want.Version)
			}
		}
	}
	if seen != wholeFleet {
		t.Errorf("the plant has %d devices; want %d", seen, wholeFleet)
	}
}

// A storm of 80 % of the fleet, 3,000 devices: all come back, and the record tells how fast.
func TestStormOfAFleet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
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
			t.Fatalf("outages = %+v; want one; errors %+v", run.Outages, run.Totals.Errors)
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
	})
}
