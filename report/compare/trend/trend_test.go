package trend_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/trend"
)

// run is one of thirty seconds with a hundred reports in each, which take so long.
func run(took time.Duration, messages bool) *report.History {
	began := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	rec := metrics.NewRecorder(metrics.Options{})
	const seconds = 30
	h := &report.History{Whole: true, Run: &report.Run{
		Name: "world", Started: began, Ended: began.Add(seconds * time.Second), Outcome: report.Passed, Devices: 100,
		Stages:     []report.Stage{{Name: "hold", To: seconds * time.Second}},
		Thresholds: []threshold.Verdict{{Threshold: "twin_report: p(95) < 50ms", Observed: took.String(), Pass: took < 50*time.Millisecond}},
	}}
	rec.SetStage("hold")
	last := rec.Snapshot()
	last.At = began
	for second := range seconds {
		at := began.Add(time.Duration(second) * time.Second)
		for k := range 100 {
			due := at.Add(time.Duration(k) * 10 * time.Millisecond)
			rec.Series(metrics.OpTwinReport, "robots").Start(due, due).End(due.Add(took+time.Duration((k*37+second*11)%100)*took/1000), metrics.OK)
			if messages {
				rec.Series(metrics.OpTelemetry, "robots").Start(due, due).End(due.Add(took), metrics.OK)
			}
		}
		now := rec.Snapshot()
		now.At, now.Elapsed = at.Add(time.Second), time.Duration(second+1)*time.Second
		h.Samples = append(h.Samples, report.Sample{At: now.Elapsed, Window: now.Sub(last)})
		last = now
	}
	h.Run.Totals = last
	return h
}

// Each run is compared with the first; the answer is that of the last.
func ExampleTrend() {
	t := trend.New(compare.Options{})
	for _, took := range []time.Duration{20, 20, 60, 20} {
		t.Add(run(took*time.Millisecond, true), "")
	}
	for i := range t.Runs {
		fmt.Printf("%d %q %v\n", i+1, t.Runs[i].Answer(), t.Thresholds[0].Outcomes[i].Pass)
	}
	fmt.Println(t.Sentence())
	// Output:
	// 1 "" true
	// 2 "not_worse" true
	// 3 "worse" false
	// 4 "not_worse" true
	// the last of 4 runs against the first: not worse by more than the margins: 8 figures; one of those between is worse
}

// Runs do not have the same operations and thresholds: what one has not is no number, and no outcome.
func TestWhatOneRunHasNot(t *testing.T) {
	tr := trend.New(compare.Options{})
	with, without := run(20*time.Millisecond, true), run(20*time.Millisecond, false)
	other := run(20*time.Millisecond, false)
	other.Run.Thresholds[0].Threshold = "twin_report: p(99) < 1s"
	for _, h := range []*report.History{without, with, other} {
		tr.Add(h, "")
	}
	for _, f := range tr.Figures {
		if len(f.Values) != 3 || len(f.Verdicts) != 3 {
			t.Fatalf("%s %s: %d values, %d verdicts of 3 runs", f.Operation, f.Name, len(f.Values), len(f.Verdicts))
		}
		telemetry := f.Operation == "telemetry"
		for i, v := range f.Values {
			if math.IsNaN(v) != (telemetry && i != 1) {
				t.Errorf("%s %s of run %d is %v", f.Operation, f.Name, i+1, v)
			}
		}
	}
	if len(tr.Thresholds) != 2 {
		t.Fatalf("%+v", tr.Thresholds)
	}
	for i, want := range [][3]bool{{true, true, false}, {false, false, true}} {
		for k, o := range tr.Thresholds[i].Outcomes {
			if o.Known != want[k] {
				t.Errorf("threshold %d, run %d: known %v", i, k+1, o.Known)
			}
		}
	}
	if tr.Runs[1].Answer() != compare.CannotTell || len(tr.Runs[1].Warnings()) == 0 {
		t.Errorf("a run with another load: %s, %q", tr.Runs[1].Answer(), tr.Runs[1].Warnings())
	}
}
