package curve_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/curve"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// A threshold's chart shows what the threshold compared: its last point is the figure of the verdict.
func ExampleOf() {
	h := reporttest.Example(20)
	for _, c := range curve.Of(h, 100) {
		if n := len(c.Points); n > 0 {
			op, bound := c.Threshold.Bound()
			fmt.Printf("%s: %d points, the last %.3g %s; wanted %s %g\n", c.Threshold, n, c.Points[n-1].Value, c.Threshold.Unit(), op, bound)
		}
	}
	first, _ := h.Run.Rules[0].Threshold()
	fmt.Println(first.Evaluate(h.Run.Totals).Observed)
	// Output:
	// twin_report: p(99) < 250ms: 20 points, the last 0.111 seconds; wanted < 0.25
	// connect: error_rate < 0.1%: 20 points, the last 0 ratio; wanted < 0.001
	// p(99) = 111.04ms
}

// ofWorld is a run of seconds in each of which one report takes so long.
func ofWorld(t *testing.T, rule report.Rule, took []time.Duration) *report.History {
	t.Helper()
	began := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	rec := metrics.NewRecorder(metrics.Options{})
	h := &report.History{Run: &report.Run{Started: began, Rules: []report.Rule{rule}}}
	last := rec.Snapshot()
	last.At = began
	for i, d := range took {
		at := began.Add(time.Duration(i) * time.Second)
		rec.Series(metrics.OpTwinReport, "robots").Start(at, at).End(at.Add(d), metrics.OK)
		rec.SetStage("hold")
		now := rec.Snapshot()
		now.At, now.Elapsed = at.Add(time.Second), time.Duration(i+1)*time.Second
		h.Samples = append(h.Samples, report.Sample{At: now.Elapsed, Window: now.Sub(last)})
		last = now
	}
	return h
}

// The region in which a threshold was missed is told, also when it holds once more.
func TestMissed(t *testing.T) {
	const fast, slow = 10 * time.Millisecond, time.Second
	rule := report.Rule{Selector: "twin_report", Expr: "max < 100ms", Scope: threshold.Scope{Stage: "hold"}}
	c := curve.Of(ofWorld(t, rule, []time.Duration{fast, fast, slow, fast}), 100)[0]
	if len(c.Missed) != 1 || c.Missed[0] != (curve.Span{From: 2 * time.Second, To: 4 * time.Second}) {
		t.Errorf("missed in %v", c.Missed)
	}
	if len(c.Moments) != 4 || c.Moments[2].Value < 0.9 || c.Moments[3].Value > 0.1 {
		t.Errorf("the moments are %v: only the third was slow", c.Moments)
	}
	half := report.Rule{Selector: "twin_report", Expr: "avg < 400ms"}
	c = curve.Of(ofWorld(t, half, []time.Duration{slow, fast, fast, fast}), 100)[0]
	if len(c.Missed) != 1 || c.Missed[0] != (curve.Span{To: 2 * time.Second}) {
		t.Errorf("missed in %v; the average of three holds", c.Missed)
	}
}

// What the run itself compared is shown, and not judged once more: the record does not know what was under way.
func TestOfTheRecord(t *testing.T) {
	h := ofWorld(t, report.Rule{Selector: "twin_report", Expr: "max < 100ms"}, make([]time.Duration, 3))
	value := 0.5
	for i := range h.Samples {
		h.Samples[i].Judged = []report.Judged{{Value: &value, Missed: i == 1, Unsure: i == 2}}
	}
	c := curve.Of(h, 100)[0]
	if len(c.Points) != 3 || c.Points[0].Value != 0.5 || len(c.Missed) != 1 || len(c.Unsure) != 1 {
		t.Errorf("%+v", c)
	}
}

// Of a long run few points are left, and none of the worst is lost.
func TestThin(t *testing.T) {
	for expr, worst := range map[string]float64{"max < 100ms": 1, "min > 100ms": 0.001} {
		took := make([]time.Duration, 1000)
		for i := range took {
			took[i] = 200 * time.Millisecond
		}
		took[501] = time.Duration(worst * float64(time.Second))
		rule := report.Rule{Selector: "twin_report", Expr: expr, Scope: threshold.Scope{Window: time.Second}}
		c := curve.Of(ofWorld(t, rule, took), 50)[0]
		if n := len(c.Points); n > 50 || n < 25 {
			t.Errorf("%s: %d points", expr, n)
		}
		found := false
		for _, p := range c.Points {
			found = found || p.Value > worst*0.9 && p.Value < worst*1.1
		}
		if !found {
			t.Errorf("%s: the worst second is not among the points", expr)
		}
	}
}

// A rule of another version has no curve; a run without samples has curves without points.
func TestNothing(t *testing.T) {
	h := ofWorld(t, report.Rule{Selector: "warp", Expr: "speed > 9"}, make([]time.Duration, 2))
	if c := curve.Of(h, 10); len(c) != 1 || c[0] != nil {
		t.Errorf("%v", c)
	}
	h.Run.Rules[0] = report.Rule{Selector: "connect", Expr: "error_rate < 1%"}
	h.Samples = nil
	if c := curve.Of(h, 10); len(c) != 1 || c[0] == nil || len(c[0].Points) != 0 {
		t.Errorf("%v", c)
	}
}
