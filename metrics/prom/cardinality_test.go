package prom

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
)

// hugeRecorder is that of a scenario with far more groups and queries than anybody needs, in which every
// operation ended well and not well, and every other room showed its numbers.
func hugeRecorder(names int) *metrics.Recorder {
	r := metrics.NewRecorder(metrics.Options{})
	r.SetRun(metrics.RunLabels{Run: "20261124-120000", Scenario: "huge", Version: "1.0.0"})
	for n := range names {
		name := fmt.Sprintf("name-%04d", n)
		for _, op := range append(metrics.Operations(), "invented") {
			for _, o := range []metrics.Outcome{metrics.OK, metrics.Throttled} {
				observe(r.Series(op, name), 0, ms, o)
			}
		}
		for _, state := range []string{"waiting", "connecting", "connected", "backoff", "offline"} {
			r.DeviceGauge(name, state).Add(1)
		}
		r.QueryResult(name, n, 1)
		r.QueryRows(name, metrics.RowOK, 1)
		r.QueryExpectation(name, true)
		r.SetStage(name)
	}
	return r
}

// However many groups, queries and stages a scenario has, labels take a bounded number of values, and nothing
// that was counted is lost: what is over the bound is counted as other.
func TestCardinalityIsBounded(t *testing.T) {
	const names = 200
	families, err := Registry(hugeRecorder(names)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	bounds := map[string]int{
		"operation": len(metrics.Operations()), "outcome": len(metrics.Outcomes()), "group": 101, "query": 101, "state": 5, "reason": 5,
		"check": len(metrics.RowChecks()), "result": 2, "run": 1, "scenario": 1, "stage": 1, "version": 1, "goversion": 1,
	}
	sums := make(map[string]float64)
	for _, f := range families {
		values := make(map[string][]string)
		for _, m := range f.Metric {
			if n := len(m.Label); n > 3 {
				t.Fatalf("%s has %d labels", f.GetName(), n)
			}
			sums[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			for _, l := range m.Label {
				if !slices.Contains(values[l.GetName()], l.GetValue()) {
					values[l.GetName()] = append(values[l.GetName()], l.GetValue())
				}
			}
		}
		for label, all := range values {
			most, known := bounds[label]
			if !known && f.GetName() == "go_gc_duration_seconds" || label == "quantile" {
				continue
			}
			if len(all) > most {
				t.Errorf("%s: the label %s has %d values; %d are the most", f.GetName(), label, len(all), most)
			}
		}
	}
	ended := float64(names * (len(metrics.Operations()) + 1) * 2)
	for name, want := range map[string]float64{
		"twinfleet_operations_total": ended, "twinfleet_operation_duration_seconds": ended, "twinfleet_operations_scheduled_total": ended,
		"twinfleet_devices": names * 5, "twinfleet_query_runs_total": names, "twinfleet_query_rows_total": names, "twinfleet_query_expectations_total": names,
	} {
		if sums[name] != want {
			t.Errorf("%s adds up to %v; want %v", name, sums[name], want)
		}
	}
}
