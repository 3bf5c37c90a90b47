package threshold

import (
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
)

// Every figure that people judge by, with values that are known: of 100 reports that were due, 20 were dropped, 8 of them
// by a pause; 10 of 80 started late, 4 of them by the generator's doing.
func TestFigures(t *testing.T) {
	r := metrics.NewRecorder(metrics.Options{})
	s := r.Series(metrics.OpTwinReport, "g")
	start := func(n int, intended, free, sent time.Duration, o metrics.Outcome) {
		for range n {
			s.StartAfter(epoch.Add(intended), epoch.Add(free), epoch.Add(sent)).End(epoch.Add(sent+ms), o)
		}
	}
	start(60, 0, 0, 0, metrics.OK)
	start(6, 0, 100*ms, 100*ms, metrics.Timeout) // late, waiting for an answer
	start(4, 0, 0, 100*ms, metrics.Refused)      // late by its own doing
	start(5, 0, 0, 0, metrics.Throttled)
	start(3, 0, 0, 0, metrics.Failed)
	start(2, 0, 0, 0, metrics.Unanswered)
	s.DropMany(9, epoch, metrics.DropInFlight)
	s.DropMany(3, epoch, metrics.DropNotConnected)
	s.DropMany(8, epoch, metrics.DropPaused)
	for state, n := range map[string]int64{"connected": 97, "backoff": 2, "connecting": 1, "waiting": 50, "offline": 9} {
		r.DeviceGauge("g", state).Add(n)
	}
	r.Series(metrics.OpTelemetry, "g").Drop(epoch, metrics.DropPaused)
	recovery := r.Series(metrics.OpRecovery, "")
	recovery.Start(epoch, epoch).End(epoch.Add(8*time.Second), metrics.OK)
	snapshot := r.Snapshot()
	snapshot.Elapsed = 10 * time.Second
	for _, tt := range []struct {
		selector, expr string
		pass, noData   bool
		observed       string
	}{
		{"twin_report", "scheduled = 100", true, false, "scheduled = 100"},
		{"twin_report", "count != 60", false, false, "count = 60 ok of 80"},
		{"twin_report", "success_rate > 65.2%", true, false, "success_rate = 65.22% (60 of 92)"},
		{"twin_report", "success_rate >= 65.3%", false, false, "success_rate = 65.2% (60 of 92)"},
		{"twin_report", "on_time == 70", true, false, "on_time = 70 of 92"},
		{"twin_report", "on_time_rate > 99%", false, false, "on_time_rate = 76.1% (70 of 92)"},
		{"twin_report", "late < 10", false, false, "late = 10 of 92"},
		{"twin_report", "late(own) <= 4", true, false, "late(own) = 4 of 92"},
		{"twin_report", "late_rate(own) < 1%", false, false, "late_rate(own) = 4.35% (4 of 92)"},
		{"twin_report", "dropped == 0", false, false, "dropped = 12 of 92"},
		{"twin_report", "dropped_rate < 13.05%", true, false, "dropped_rate = 13% (12 of 92)"},
		{"twin_report", "dropped(disconnected) = 3", true, false, "dropped(disconnected) = 3 of 92"},
		{"twin_report", "dropped(paused) == 8", true, false, "dropped(paused) = 8 of 100"},
		{"twin_report", "errors == 15", true, false, "errors = 15 of 80"},
		{"twin_report", "error_rate < 18.75%", false, false, "error_rate = 18.8% (15 of 80)"},
		{"twin_report", "timeouts < 7", true, false, "timeouts = 6 of 80"},
		{"twin_report", "timeout_rate < 7.5%", false, false, "timeout_rate = 7.5% (6 of 80)"},
		{"twin_report", "refused == 4", true, false, "refused = 4 of 80"},
		{"twin_report", "refused_rate != 0%", true, false, "refused_rate = 5% (4 of 80)"},
		{"twin_report", "throttled == 5", true, false, "throttled = 5 of 80"},
		{"twin_report", "unanswered == 0", false, false, "unanswered = 2 of 80"},
		{"twin_report", "unanswered_rate < 2.6%", true, false, "unanswered_rate = 2.5% (2 of 80)"},
		{"devices", "connected_rate >= 97%", true, false, "connected_rate = 97% (97 of 100)"},
		{"devices{group=g}", "connected > 97", false, false, "connected = 97 of 100"},
		{"devices{group=h}", "connected_rate >= 97%", false, true, "no data"},
		{"recovery", "max < 10s", true, false, "max = 8s"},
		{"recovery", "scheduled == 0", false, false, "scheduled = 1"},
		// A pause leaves nothing that was due; only a number of operations can be compared with nothing.
		{"telemetry", "dropped == 0", false, true, "no data"},
		{"telemetry", "errors == 0", false, true, "no data"},
		{"telemetry", "success_rate > 1%", false, true, "no data"},
		{"connect", "late_rate < 1%", false, true, "no data"},
		{"connect", "scheduled == 0", true, false, "scheduled = 0"},
	} {
		threshold, err := Parse(tt.selector, tt.expr)
		if err != nil {
			t.Error(err)
			continue
		}
		if v := threshold.Evaluate(snapshot); v.Pass != tt.pass || v.NoData != tt.noData || v.Observed != tt.observed {
			t.Errorf("%s = %+v; want pass %v, no data %v, %s", threshold, v, tt.pass, tt.noData, tt.observed)
		}
		if got, want := threshold.NeedsData(), !strings.HasPrefix(tt.expr, "scheduled") && !strings.HasPrefix(tt.expr, "count"); got != want {
			t.Errorf("%s needs data: %v; want %v", threshold, got, want)
		}
	}
	// An outage that was not over has lasted for less than the bound, and has not met it.
	recovery.Start(epoch, epoch).Unanswered(epoch.Add(5*time.Second), "")
	never, err := Parse("recovery", "max < 10s")
	if err != nil {
		t.Fatal(err)
	}
	if v := never.Evaluate(r.Snapshot()); v.Pass || v.Observed != "max = never in 1 of 2 outages, 5s after the loss" {
		t.Errorf("%+v", v)
	}
}

// What nobody waited for has no time that could be short enough, wherever it stands among the others.
func TestWhatWasNotWaitedForIsNotFast(t *testing.T) {
	r := metrics.NewRecorder(metrics.Options{})
	for _, op := range []metrics.Operation{metrics.OpTwinReport, metrics.OpFreshness} {
		s := r.Series(op, "g")
		for range 95 {
			s.Start(epoch, epoch).End(epoch.Add(ms), metrics.OK)
		}
		for range 5 {
			s.Start(epoch, epoch).Unanswered(epoch.Add(2*ms), "")
		}
	}
	for _, tt := range []struct {
		selector, expr string
		pass           bool
		observed       string
	}{
		{"twin_report", "p(99) < 1s", false, "p(99) = 2ms or more: 5 of 100 were not waited for"},
		{"twin_report", "p(99) < 1ms", false, "p(99) = 2ms"},
		{"twin_report", "p(95) < 1s", true, "p(95) = 1ms"},
		{"twin_report", "max <= 1s", false, "max = 2ms or more: 5 of 100 were not waited for"},
		{"twin_report", "med < 1s", true, "med = 1ms"},
		{"twin_report", "max > 1ms", true, "max = 2ms"},
		{"freshness", "p(99) < 1s", true, "p(99) = 2ms"},
	} {
		x, err := Parse(tt.selector, tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		if v := x.Evaluate(r.Snapshot()); v.Pass != tt.pass || v.Observed != tt.observed {
			t.Errorf("%s: pass %v, %s; want %v, %s", x, v.Pass, v.Observed, tt.pass, tt.observed)
		}
	}
}

// A figure is never rounded to the other side of its bound, nor to none or all.
func TestFiguresAreNotRoundedAway(t *testing.T) {
	for _, tt := range []struct {
		expr     string
		bad, all int
		observed string
		mustPass bool
	}{
		{"error_rate < 0.1%", 10_001, 10_000_000, "error_rate = 0.1% (10001 of 10000000)", false},
		{"success_rate == 100%", 1, 10_000_000, "success_rate = 99.99999% (9999999 of 10000000)", false},
		{"success_rate > 99.9%", 95, 100_000, "success_rate = 99.91% (99905 of 100000)", true},
		{"error_rate == 0%", 1, 10_000_000, "error_rate = 1e-05% (1 of 10000000)", false},
	} {
		var h [2]histogram.Live
		h[0].RecordMany(ms, uint64(tt.all-tt.bad))
		h[1].RecordMany(ms, uint64(tt.bad))
		x := metrics.SeriesSnapshot{Operation: metrics.OpConnect, OnTime: uint64(tt.all)}
		x.Response[metrics.OK], x.Response[metrics.Failed] = h[0].Snapshot(), h[1].Snapshot()
		threshold, err := Parse("connect", tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		if v := threshold.Evaluate(&metrics.Snapshot{Series: []metrics.SeriesSnapshot{x}}); v.Observed != tt.observed || v.Pass != tt.mustPass {
			t.Errorf("%s = %+v; want %s", tt.expr, v, tt.observed)
		}
	}
}

// What is wrong with a threshold is said with what would be right.
func TestThresholdMistakes(t *testing.T) {
	for _, tt := range []struct{ selector, expr, want string }{
		{"connect", "drops == 0", "dropped, errors, timeouts"},
		{"connect", "dropped(nowhere) == 0", "in_flight, disconnected"},
		{"connect", "late(target) == 0", "there is own"},
		{"connect", "errors(x) == 0", "has none"},
		{"connect", "count(from=sent) > 1", "has none"},
		{"connect", "p(95, from=here) < 1s", "from=sent or from=intended"},
		{"connect", "success_rate > 0.99", "needs a unit, as in 0.1%"},
		{"connect", "success_rate > 120%", "at most 100%"},
		{"connect", "success_rate > 100%", "nothing is > 100%"},
		{"connect", "error_rate < 0%", "nothing is < 0%"},
		{"connect", "errors == 1%", "compares with a number"},
		{"connect", "count > inf", "compares with a number"},
		{"connect", "connected_rate > 99%", "devices have connected"},
		{"devices", "error_rate < 1%", "devices have connected"},
		{"connect", "expected_rate > 99%", "only queries"},
		{"conect", "count > 1", "devices are judged too"},
		{"connect", "count <> 1", "<, <=, >, >=, == or !="},
	} {
		if _, err := Parse(tt.selector, tt.expr); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %s: %v; want %q", tt.selector, tt.expr, err, tt.want)
		}
	}
}
