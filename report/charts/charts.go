// Package charts turns the samples of a run into what its charts draw: columns of numbers, for the report and for the live page.
package charts

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
)

// Data is what the charts draw: columns, one value a point in time. Times are in seconds, latencies in
// milliseconds; a missing value is null: a latency where nothing ended, a rate of a time too short for one.
type Data struct {
	Times   []float64            `json:"times"`   // the end of each sample, since the run began
	Stages  []StageMark          `json:"stages"`  // in their order
	Devices map[string][]float64 `json:"devices"` // by state
	Ops     []OpData             `json:"ops"`     // in the order in which they came
	Queries map[string][]float64 `json:"queries"` // results, by query
	Edges   []float64            `json:"edges"`   // of the rows of heat, milliseconds
	End     float64              `json:"end"`     // of the last stage of a run that is over, since the run began; 0 of one that goes on
	Rest    bool                 `json:"rest"`    // the last sample is too short for a rate, also for one of 0
}

// StageMark is where a stage begins and ends.
type StageMark struct {
	Name string  `json:"name"` // as reports write it
	From float64 `json:"from"` // since the run began
	To   float64 `json:"to"`   // likewise
}

// OpData is one operation; of queries, one query.
type OpData struct {
	Name      string     `json:"name"`      // the operation; of a query: with its name
	Rate      []*float64 `json:"rate"`      // ended, a second
	Throttled []*float64 `json:"throttled"` // likewise
	Errors    []*float64 `json:"errors"`    // likewise; throttled ones are none
	P50       []*float64 `json:"p50"`       // from the intended time
	P95       []*float64 `json:"p95"`       // likewise
	P99       []*float64 `json:"p99"`       // likewise
	Heat      [][]uint64 `json:"heat"`      // by time, the answers between two edges; empty where there were none
}

// edges are the rows of the heat map: 1, 2, 5 of each decade from a tenth of a millisecond to 20 s.
func edges() []float64 {
	var all []float64
	for decade := 0.1; decade < 15_000; decade *= 10 {
		all = append(all, decade, 2*decade, 5*decade)
	}
	return append(all[:len(all)-1], 600_000)
}

// New makes the columns of samples.
func New(samples []report.Sample, stages []report.Stage) *Data {
	d := &Data{
		Devices: make(map[string][]float64), Queries: make(map[string][]float64), Edges: edges(), Times: []float64{}, Stages: []StageMark{},
		Ops: []OpData{},
	}
	for _, t := range stages {
		d.Stages = append(d.Stages, StageMark{t.Name, t.From.Seconds(), t.To.Seconds()})
	}
	for _, s := range joined(samples) {
		d.add(s)
	}
	return d
}

// joined is samples of which the rests, too short for a rate, are put together with the sample before, where that is of
// the same stage.
func joined(samples []report.Sample) []report.Sample {
	out := make([]report.Sample, 0, len(samples))
	for _, s := range samples {
		if n := len(out); n > 0 && s.Window.Elapsed < report.TooShort && out[n-1].Window.Stage == s.Window.Stage {
			out[n-1] = out[n-1].Merge(s)
			continue
		}
		out = append(out, s)
	}
	return out
}

// add appends a sample to all columns. Columns that begin later are filled up, so that all are of one length.
func (d *Data) add(s report.Sample) {
	n := len(d.Times)
	d.Times = append(d.Times, s.At.Seconds())
	set := func(columns map[string][]float64, name string, value float64) {
		columns[name] = append(columns[name], make([]float64, n+1-len(columns[name]))...)
		columns[name][n] += value
	}
	for _, c := range s.Window.Devices {
		set(d.Devices, c.State, float64(c.Count))
	}
	for _, q := range s.Window.Queries {
		set(d.Queries, q.Query, float64(q.Results))
	}
	d.Rest = s.Window.Elapsed < report.TooShort
	for _, l := range account.Lines(s.Window) {
		d.op(l.Name, n).set(n, l.Series, s.Window.Elapsed)
	}
	for i := range d.Ops {
		if o := &d.Ops[i]; len(o.Rate) == n { // nothing of it
			o.set(n, &metrics.SeriesSnapshot{}, s.Window.Elapsed)
		}
	}
	for _, columns := range []map[string][]float64{d.Devices, d.Queries} {
		for name := range columns {
			columns[name] = append(columns[name], make([]float64, n+1-len(columns[name]))...)
		}
	}
}

// op finds or makes an operation's columns and fills them up to a length.
func (d *Data) op(name string, length int) *OpData {
	for i := range d.Ops {
		if d.Ops[i].Name == name {
			d.Ops[i].fill(length)
			return &d.Ops[i]
		}
	}
	d.Ops = append(d.Ops, OpData{Name: name})
	o := &d.Ops[len(d.Ops)-1]
	o.fill(length)
	return o
}

// fill makes all columns at least so long.
func (o *OpData) fill(length int) {
	for len(o.Rate) < length {
		o.Rate, o.Throttled, o.Errors = append(o.Rate, new(float64)), append(o.Throttled, new(float64)), append(o.Errors, new(float64))
		o.P50, o.P95, o.P99 = append(o.P50, nil), append(o.P95, nil), append(o.P99, nil)
		o.Heat = append(o.Heat, []uint64{})
	}
}

func (o *OpData) set(n int, x *metrics.SeriesSnapshot, elapsed time.Duration) {
	o.fill(n + 1)
	perSecond := func(count uint64) *float64 {
		if elapsed < report.TooShort {
			return nil
		}
		v := round(float64(count) / elapsed.Seconds())
		return &v
	}
	o.Rate[n], o.Throttled[n], o.Errors[n] = perSecond(x.Ended()), perSecond(x.Count(metrics.Throttled)), perSecond(x.Errors())
	h := x.Latency(false)
	if h.Count == 0 {
		return
	}
	ms := func(q float64) *float64 {
		v := round(float64(h.Quantile(q)) / float64(time.Millisecond))
		return &v
	}
	o.P50[n], o.P95[n], o.P99[n] = ms(0.5), ms(0.95), ms(0.99)
	below := uint64(0)
	row := make([]uint64, 0, len(edges()))
	for _, edge := range edges() {
		upTo := h.Below(time.Duration(edge * float64(time.Millisecond)))
		row = append(row, upTo-below)
		below = upTo
	}
	o.Heat[n] = row
}

// round keeps four significant digits of small numbers and whole large ones: a chart shows no more, and the report stays small.
func round(x float64) float64 {
	switch {
	case x >= 1000:
		return float64(int64(x + 0.5))
	case x >= 1:
		return float64(int64(x*100+0.5)) / 100
	default:
		return float64(int64(x*10_000+0.5)) / 10_000
	}
}
