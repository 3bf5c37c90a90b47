package metrics

import (
	"fmt"
	"slices"
	"testing"
)

// hugeRecorder is that of a scenario with far more groups and queries than anybody looks at, in which every
// operation ended in every way and every other room showed its numbers.
func hugeRecorder(names int) *Recorder {
	r := NewRecorder(Options{})
	r.SetRun(RunLabels{"20261124-120000", "huge", "1.0.0"})
	for n := range names {
		name := fmt.Sprintf("name-%04d", n)
		for _, op := range append(Operations(), "invented") {
			for _, o := range Outcomes() {
				observe(r.Series(op, name), 0, ms, o)
			}
		}
		for _, state := range []string{"waiting", "connecting", "connected", "backoff", "offline"} {
			r.DeviceGauge(name, state).Add(1)
		}
		r.QueryResult(name, n, 1)
		r.QueryRows(name, RowOK, 1)
		r.QueryExpectation(name, true)
		r.SetStage(name)
	}
	return r
}

// However many groups, queries and stages a scenario has, labels take a bounded number of values, and nothing
// that was counted is lost: what is over the bound is counted as other.
func TestCardinalityIsBounded(t *testing.T) {
	const names = 300
	families, err := hugeRecorder(names).Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	bounds := map[string]int{
		"operation": len(Operations()), "outcome": len(Outcomes()), "group": 101, "query": 101, "state": 5, "reason": 6,
		"check": int(rowChecks), "result": 2, "run": 1, "scenario": 1, "stage": 1, "version": 1, "goversion": 1,
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
	ended := float64(names * (len(Operations()) + 1) * len(Outcomes()))
	for name, want := range map[string]float64{
		"twinfleet_operations_total": ended, "twinfleet_operation_duration_seconds": ended, "twinfleet_operations_scheduled_total": ended,
		"twinfleet_devices": names * 5, "twinfleet_query_runs_total": names, "twinfleet_query_rows_total": names, "twinfleet_query_expectations_total": names,
	} {
		if sums[name] != want {
			t.Errorf("%s adds up to %v; want %v", name, sums[name], want)
		}
	}
}

// A group keeps its own name in every state, also when others came over the bound in between.
func TestGroupsKeepTheirNames(t *testing.T) {
	r := NewRecorder(Options{MaxGroups: 2})
	for _, g := range []string{"a", "b", "c", "d"} {
		r.DeviceGauge(g, "waiting").Add(1)
	}
	for _, g := range []string{"a", "b", "c", "d"} {
		r.DeviceGauge(g, "waiting").Add(-1)
		r.DeviceGauge(g, "connected").Add(1)
	}
	want := []DeviceCount{{"a", "connected", 1}, {"a", "waiting", 0}, {"b", "connected", 1}, {"b", "waiting", 0}, {"other", "connected", 2}, {"other", "waiting", 0}}
	if got := r.Snapshot().Devices; !slices.Equal(got, want) {
		t.Errorf("devices = %v; want %v", got, want)
	}
}

// Thresholds are often written on these times; a quantile from classic buckets is exact only at an edge.
func TestClassicBuckets(t *testing.T) {
	edges := classicBuckets()
	if !slices.IsSorted(edges) {
		t.Errorf("edges are not in order: %v", edges)
	}
	for _, seconds := range []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2, 3, 5, 10, 30, 60, 300} {
		if !slices.Contains(edges, seconds) {
			t.Errorf("%v s is no edge", seconds)
		}
	}
	for i := 1; i < len(edges)-1; i++ {
		if edges[i]/edges[i-1] > 3 {
			t.Errorf("nothing between %v and %v s", edges[i-1], edges[i])
		}
	}
}
