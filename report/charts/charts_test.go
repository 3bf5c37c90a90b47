package charts_test

import (
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/charts"
)

// window is what came in a time: so many reports, all of them answered in a millisecond.
func window(stage string, length time.Duration, n int) *metrics.Snapshot {
	rec := metrics.NewRecorder(metrics.Options{})
	s := rec.Series(metrics.OpTwinReport, "g")
	now := time.Now()
	for range n {
		s.Start(now, now).End(now.Add(time.Millisecond), metrics.OK)
	}
	w := rec.Snapshot()
	w.Elapsed, w.Stage = length, stage
	return w
}

// A time in which nothing ended has no latency and a rate of nothing; the rest of a second at the end has no rate of its
// own: its count goes with the second before, where that is of the same stage.
func TestChartsShowWhatThereWas(t *testing.T) {
	var samples []report.Sample
	at := time.Duration(0)
	for _, x := range []struct {
		stage  string
		length time.Duration
		n      int
	}{
		{"hold", time.Second, 100},
		{"hold", time.Second, 0},
		{"hold", time.Second, 100},
		{"hold", 250 * time.Millisecond, 60}, // 240 a second, were it one
		{"", 100 * time.Millisecond, 50},
		{"", time.Second, 0},
	} {
		at += x.length
		samples = append(samples, report.Sample{At: at, Window: window(x.stage, x.length, x.n)})
	}
	d := charts.New(samples, nil)
	if len(d.Times) != 5 || len(d.Ops) != 1 {
		t.Fatalf("%d times, %d operations", len(d.Times), len(d.Ops))
	}
	want := []struct {
		at      float64
		rate    float64 // below 0 for none
		latency bool
	}{{1, 100, true}, {2, 0, false}, {3.25, 128, true}, {3.35, -1, true}, {4.35, 0, false}}
	for i, x := range want {
		rate := -1.0
		if r := d.Ops[0].Rate[i]; r != nil {
			rate = *r
		}
		if d.Times[i] != x.at || rate != x.rate || (d.Ops[0].P99[i] != nil) != x.latency {
			t.Errorf("at %v a rate of %v, a latency %t; want %+v", d.Times[i], rate, d.Ops[0].P99[i] != nil, x)
		}
	}
	// The live page is told one by one.
	if one := charts.New(samples[3:4], nil).Ops[0]; one.Rate[0] != nil || one.P99[0] == nil {
		t.Errorf("a rest alone: %+v", one)
	}
}
