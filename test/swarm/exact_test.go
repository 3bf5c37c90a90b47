//go:build integration

package swarm

import (
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report"
)

const steady = `
name: steady
seed: 5
fleet:
  client: lean
  groups:
    - {name: robots, count: 160, reported: {connectivity: {type: {wifi: 1, cellular: 2}}, every: 1s}, telemetry: {every: 1s}}
    - {name: gates, count: 40, reported: {connectivity: {type: wifi}, every: 2s}}
stages:
  - {name: ramp, duration: 2s, devices: 100%}
  - {name: hold, duration: 4s, report_rate: 40/s}
service:
  queries: [{name: all, every: 1s, sql: SELECT * FROM devices}]
  freshness: {probe: 500ms}
`

// recorded are the times of operations that ended alike, by HDR's own code: three digits, from a microsecond to ten minutes.
type recorded struct{ response, service *hdrhistogram.Histogram }

// cell is what histograms are kept by.
type cell struct{ stage, operation, group, outcome string }

// whole is the stage of what is of the whole run.
const whole = "*"

// Percentiles are those of all operations that there were: the histograms of the record, which are merged from those of four agents and the
// coordinator, are bucket by bucket those that HDR's own library makes of every row of the raw output. So are the counts, by stage and outcome.
func TestPercentilesAreThoseOfAllRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.run(steady, "--agents", "4")
	p.Wait(t, within)
	r := w.record()
	if r.Outcome != report.Passed && r.Outcome != report.Saturated { // a busy machine is none of this test's concern
		t.Error(said(r))
	}
	addsUp(t, r)
	for _, note := range r.Notes {
		t.Log(note)
	}

	rows := w.rows(w.raw(""), false)
	for i := range 4 {
		name := agentName(i)
		own := w.rows(w.raw(name), false)
		if x := r.Agents[i].Totals; len(own) != int(x.Scheduled-x.InFlight) || len(own) < 100 {
			t.Errorf("%s has %d rows; its account is %+v", name, len(own), x)
		}
		rows = append(rows, own...)
	}
	all := make(map[cell]*recorded)
	dropped := make(map[cell]uint64)
	for i := range rows {
		o := &rows[i]
		for _, stage := range []string{o.stage, whole} {
			k := cell{stage, o.operation, o.group, o.outcome}
			if o.outcome == "dropped" {
				dropped[k]++
				continue
			}
			x := all[k]
			if x == nil {
				x = &recorded{hdrhistogram.New(1, 600_000_000, 3), hdrhistogram.New(1, 600_000_000, 3)}
				all[k] = x
			}
			for h, d := range map[*hdrhistogram.Histogram]time.Duration{x.response: o.response, x.service: o.service} {
				if err := h.RecordValue(max(0, int64(d/time.Microsecond))); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	values := uint64(0)
	compare := func(stage string, totals *metrics.Snapshot) {
		for i := range totals.Series {
			s := &totals.Series[i]
			k := cell{stage, string(s.Operation), s.Group, "dropped"}
			if s.DroppedTotal() != dropped[k] {
				t.Errorf("%v: the record has %d, the rows %d", k, s.DroppedTotal(), dropped[k])
			}
			delete(dropped, k)
			for _, o := range metrics.Outcomes() {
				k.outcome = o.String()
				x := all[k]
				if x == nil {
					x = &recorded{hdrhistogram.New(1, 600_000_000, 3), hdrhistogram.New(1, 600_000_000, 3)}
				}
				same(t, k, "response", s.Response[o], x.response)
				same(t, k, "service", s.Service[o], x.service)
				values += s.Response[o].Count
				delete(all, k)
			}
		}
	}
	compare(whole, r.Totals)
	for i := range r.Stages {
		compare(r.Stages[i].Name, r.Stages[i].Totals)
	}
	for k := range all {
		if k.stage != "" { // what is before the first stage and after the last is in no stage's account
			t.Errorf("%v is in the raw output, and not in the record", k)
		}
	}
	if values < 2000 {
		t.Errorf("only %d values were compared", values)
	}
}

// same holds a histogram of the record against HDR's.
func same(t *testing.T, k cell, of string, got histogram.Histogram, want *hdrhistogram.Histogram) {
	t.Helper()
	if int64(got.Count) != want.TotalCount() {
		t.Errorf("%v, %s: the record has %d, the rows %d", k, of, got.Count, want.TotalCount())
		return
	}
	buckets := make(map[int64]int64)
	for _, bar := range want.Distribution() {
		if bar.Count > 0 {
			buckets[bar.To] = bar.Count
		}
	}
	for b := range got.Buckets() {
		if buckets[b.Highest()] != int64(b.Count) {
			t.Errorf("%v, %s: up to %d µs the record has %d, the rows %d", k, of, b.Highest(), b.Count, buckets[b.Highest()])
		}
		delete(buckets, b.Highest())
	}
	if len(buckets) > 0 {
		t.Errorf("%v, %s: the record has nothing of %v", k, of, buckets)
	}
	for _, q := range []float64{0, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
		if got.Count == 0 {
			break
		}
		// HDR says the highest value of a bucket; the record never more than the largest value that there was.
		value := min(want.ValueAtQuantile(100*q), got.Max)
		if x := got.Quantile(q).Microseconds(); x != value && q > 0 {
			t.Errorf("%v, %s: p%g is %d µs, of the rows %d µs", k, of, 100*q, x, value)
		}
	}
}
