package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

const lagging = `
name: lagging
seed: 3
target: {hub: embedded, query_lag: %s}
fleet:
  groups: [{name: robots, count: 40, reported: {connectivity: {type: {cellular: 1, wifi: 1}}, every: 900ms}}]
stages:
  - {name: ramp, duration: 500ms, devices: 40}
  - name: ready
    steps: [{query: {sql: "SELECT deviceId FROM devices WHERE tags.plant = 'A'", expect: 40, within: 3m}}, {await: {reported: 40, within: 3m}}]
  - {name: hold, duration: %s}
service:
  tags: {robots: {plant: A}}
  queries:
    - {name: all, every: 400ms, sql: "SELECT * FROM devices WHERE tags.plant = 'A'"}
    - {name: cellular, every: 400ms, sql: "SELECT deviceId FROM devices WHERE tags.plant = 'A' AND properties.reported.connectivity.type = 'cellular'"}
    - {name: count, every: 1s, sql: "SELECT COUNT() AS n FROM devices"}
  freshness: %s
thresholds: {freshness: ["p(50) > 1ms"]}
`

// Against a hub whose queries lag by two seconds freshness is two seconds, and up to a probe more.
func TestFreshnessIsTheLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := newEngine(decode(t, fmt.Sprintf(lagging, "2s", "8s", "{probe: 250ms, tolerance: 0s}"),
			`thresholds={freshness: ["p(50) > 1ms"], query: ["correct_rate >= 0%"]}`), newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s %+v", run.Outcome, run.Reason, run.Thresholds)
		}
		x := run.Totals.Select(metrics.OpFreshness, "")
		if x == nil || x.Count(metrics.OK) < 200 {
			t.Fatalf("freshness = %+v; want hundreds of reports", x)
		}
		h := x.Latency(false)
		// The hub's clock runs from the change, the audit's from the acknowledgement, which a busy machine
		// delivers late; it is late with the probe, too.
		if p50 := h.Quantile(0.5); p50 < 1600*time.Millisecond || p50 > 2*(2*time.Second+250*time.Millisecond) {
			t.Errorf("p50 = %v; want 2s and up to a probe of 250ms more", p50)
		}
		if v := run.Freshness.Verified; v == nil || v.Held != 40 || v.Devices != 40 || run.Freshness.Sampled != 40 {
			t.Errorf("freshness %+v, verified %+v; want all 40", run.Freshness, v)
		}
		// Reports come faster than the index follows: rows are older than what was acknowledged.
		if q, ok := run.Totals.Query("all"); !ok || q.Rows.Stale == 0 || q.Rows.Extra > 0 {
			t.Errorf("all: %+v; want stale rows, none extra", q)
		}
		if q, ok := run.Totals.Query("cellular"); !ok || q.Rows.Missing == 0 || q.Rows.Extra == 0 || q.Rows.Stale > 0 {
			t.Errorf("cellular: %+v; want missing and extra rows", q)
		}
		if u := run.Freshness.Unchecked; len(u) != 1 || u[0].Query != "count" {
			t.Errorf("unchecked = %+v; want count", u)
		}
	})
}

// A hub whose queries do not lag shows what it acknowledged: nothing is missing, extra or stale.
func TestResultsAreRightWithoutLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := newEngine(decode(t, fmt.Sprintf(lagging, "0s", "4s", "{probe: 100ms, sample: 25}")), newWatcher()).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Fatalf("the run %s: %s %+v", run.Outcome, run.Reason, run.Thresholds)
		}
		for _, name := range []string{"all", "cellular"} {
			q, _ := run.Totals.Query(name)
			if c := q.Rows; c.OK == 0 || c.Missing+c.Extra+c.Stale > 0 {
				t.Errorf("%s: %+v; want ok rows alone", name, c)
			}
		}
		if run.Freshness.Sampled != 25 || run.Freshness.Devices != 40 || run.Freshness.Unseen > 0 {
			t.Errorf("freshness = %+v; want 25 of 40, all seen", run.Freshness)
		}
		x := run.Totals.Select(metrics.OpFreshness, "")
		if reports := run.Totals.Select(metrics.OpTwinReport, ""); x.Started() == 0 || x.Started() >= reports.Started() {
			t.Errorf("%d freshness, %d reports; want the sampled devices' alone", x.Started(), reports.Started())
		}
	})
}

// A tolerance forgives a result what a lag makes of it.
func TestToleranceForgivesALag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := newEngine(decode(t, fmt.Sprintf(lagging, "300ms", "7s", "{probe: 200ms, tolerance: 3s}")), newWatcher()).Run(t.Context())
		q, _ := run.Totals.Query("all")
		if c := q.Rows; run.Outcome != report.Passed || c.Missing+c.Extra+c.Stale > 0 || c.OK == 0 {
			t.Errorf("the run %s: %s; rows %+v; want ok rows alone", run.Outcome, run.Reason, c)
		}
	})
}

// A target that forgets what it acknowledged fails the run, whatever the thresholds say.
func TestLostReportsFailTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, set := openHub(t, hub.Options{})
		c, err := service.New(service.Options{ConnectionString: h.ConnectionString("iothubowner"), BaseURL: "http://hub", Dial: h.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		forget := func(ev report.Event) {
			if ev.Kind != report.KindStopping {
				return
			}
			if err := c.DeleteDevice(t.Context(), "robots-000007"); err != nil {
				t.Error(err)
			}
			if _, err := c.CreateDevice(t.Context(), registry.Identity{DeviceID: "robots-000007"}); err != nil {
				t.Error(err)
			}
		}
		s := decode(t, strings.Replace(fmt.Sprintf(lagging, "0s", "2s", "{}"), "target: {hub: embedded, query_lag: 0s}", "target: {}", 1), append(set,
			"thresholds={}")...)
		run := engine.New(engine.InMemory(engine.Sampled(engine.Options{
			Scenario: s, Recorder: metrics.NewRecorder(metrics.Options{}),
			Observers: []report.Observer{report.Funcs{OnEvent: forget}}, AllowSaturated: true,
		}, calm()), h.Dial)).Run(t.Context())
		if v := run.Freshness.Verified; run.Outcome != report.Failed || v.Lost != 1 || v.Held != 39 || !strings.Contains(run.Reason,
			"robots-000007: an acknowledged report is missing") {
			t.Errorf("the run %s: %s; verified %+v; want one of 40 lost", run.Outcome, run.Reason, v)
		}
	})
}
