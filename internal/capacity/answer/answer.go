// Package answer is what a capacity search found, as data, and the forms in which it is told: text, JSON, Markdown and a page.
package answer

import (
	"encoding/json"
	"io"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/capacity/usl"
)

// Schema is the version of the JSON form. It changes when an older reader would misread a newer answer.
const Schema = 1

// End adds to the ends of a search those of what could not be searched.
const (
	Changed     search.End = "changed"     // the target did not come back to what it was
	Unreachable search.End = "unreachable" // the target could not be loaded
	NoData      search.End = "no_data"     // a threshold had nothing to judge
	Running     search.End = "running"     // the search goes on
)

// Answer is the answer of a capacity search. Loads are in the unit of what is varied: devices, or operations a second; times of operations in
// seconds.
type Answer struct {
	Schema   int        `json:"schema"`
	Scenario string     `json:"scenario"`       // its name
	Target   string     `json:"target"`         // what was loaded, without credentials
	Tier     string     `json:"tier,omitempty"` // with its units, such as "S1, 1 unit"; empty when it is not known
	Vary     trial.Vary `json:"vary"`           // what was varied
	Seed     uint64     `json:"seed"`           // of the scenario; the n-th trial has it plus n
	Version  string     `json:"version"`        // of the program
	Started  time.Time  `json:"started"`        // UTC; when the search began for the first time
	Seconds  float64    `json:"seconds"`        // that the trials took together

	search.Answer
	Why    string       `json:"why,omitempty"`    // what ended the search before it found the limit
	Limit  trial.Limit  `json:"limit,omitempty"`  // what binds: why Missed was missed
	Class  string       `json:"class,omitempty"`  // of a throttle
	Bound  float64      `json:"bound,omitempty"`  // what the tier allows of that class, a second; 0 when it is not known
	Cause  string       `json:"cause,omitempty"`  // what was observed in the trial of Missed
	Own    float64      `json:"own"`              // the load that the scenario makes as it stands; 0 for none
	Agents int          `json:"agents,omitempty"` // that ran the devices; 0 for the process of the search
	Need   *agents.Need `json:"need,omitempty"`   // how many agents would deliver Over; nil when the generator is not what ended the search
	Day    *Day         `json:"day,omitempty"`    // what the day's messages allow; nil without a known quota

	Curve      []Point        `json:"curve"`                // by load; trials that say nothing of the target are left out
	Knee       float64        `json:"knee,omitempty"`       // the load with the most throughput for its latency; 0 when it is not known
	Prediction *Prediction    `json:"prediction,omitempty"` // nil when no curve fits; NoFit says why
	NoFit      string         `json:"no_fit,omitempty"`
	Thresholds []string       `json:"thresholds"` // by which loads were judged
	Notes      []string       `json:"notes,omitempty"`
	Trials     []trial.Record `json:"trials"`
	Dir        string         `json:"dir,omitempty"` // folder of the search
}

// Day is what a daily quota of messages allows.
type Day struct {
	Quota   float64 `json:"quota"`              // messages a day
	Uses    float64 `json:"uses"`               // messages a day at Held, at most
	Load    float64 `json:"load"`               // that the quota allows all day
	RunsOut float64 `json:"runs_out,omitempty"` // seconds after which it is used up at Held; 0 for never
	Decides bool    `json:"decides"`            // it allows less than what holds
}

// Point is the trials of one load together.
type Point struct {
	Load    float64 `json:"load"`
	Held    int     `json:"held"`      // trials that held
	Missed  int     `json:"missed"`    // trials that did not
	Offered float64 `json:"offered"`   // operations a second that were due, in the mean of the trials
	Done    float64 `json:"done"`      // operations a second that ended well meanwhile
	P50     float64 `json:"p50"`       // in the median of the trials
	P99     float64 `json:"p99"`       // likewise
	Shed    float64 `json:"throttled"` // share that was throttled
	Failed  float64 `json:"failed"`    // share that ended otherwise badly, or was dropped
	Why     string  `json:"why,omitempty"`
}

// Prediction is a fit of the Universal Scalability Law to the curve. It is a prediction, not a measurement. Intervals are of 90 %; an
// upper end of 0 is none.
type Prediction struct {
	Lambda     Span    `json:"lambda"` // operations a second for a unit of load, without contention
	Sigma      Span    `json:"sigma"`  // contention
	Kappa      Span    `json:"kappa"`  // coherency
	Linear     bool    `json:"linear"` // the data do not bend: no maximum is predicted
	Maximum    Span    `json:"maximum,omitzero"`
	AtLoad     Span    `json:"at_load,omitzero"` // of Maximum; 0 when throughput nears it and never falls
	Residual   float64 `json:"residual"`         // how far the points are from the curve, as a share
	RSquared   float64 `json:"r_squared"`
	Loads      int     `json:"loads"`
	UnitOfLoad float64 `json:"unit_of_load"` // the load that counts as one in Sigma and Kappa
}

// Span is an estimate with its interval.
type Span struct {
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high,omitempty"` // 0 when nothing bounds it
}

func spanOf(i usl.Interval) Span {
	finite := func(x float64) float64 {
		if math.IsInf(x, 0) || math.IsNaN(x) {
			return 0
		}
		return x
	}
	return Span{finite(i.Estimate), finite(i.Low), finite(i.High)}
}

// Complete fills in what follows from the trials.
func (a *Answer) Complete() {
	a.Schema = Schema
	if a.End == Changed || a.End == search.Unstable { // of such a target no number is said
		a.Held, a.Missed, a.Confidence, a.Confirmed, a.Day = 0, 0, 0, false, nil
	}
	a.Seconds = 0
	for i := range a.Trials {
		a.Seconds += a.Trials[i].Seconds
	}
	a.Curve = curve(a.Trials)
	a.Knee = knee(a.Curve)
	a.bind()
	if a.End != Changed && a.End != search.Unstable {
		a.predict()
	}
}

// curve puts the trials of each load together.
func curve(trials []trial.Record) []Point {
	by := make(map[float64][]*trial.Record)
	for i := range trials {
		if r := &trials[i]; r.Verdict == search.Held || r.Verdict == search.Missed {
			by[r.Load] = append(by[r.Load], r)
		}
	}
	points := make([]Point, 0, len(by))
	for load, records := range by {
		p := Point{Load: load}
		n := float64(len(records))
		var p50, p99 []float64
		for _, r := range records {
			p.Offered += r.Offered / n
			p.Done += r.Done / n
			p.Shed += r.Shed / n
			p.Failed += r.Failed / n
			p50, p99 = append(p50, r.P50), append(p99, r.P99)
			if r.Verdict == search.Held {
				p.Held++
			} else {
				p.Missed++
				p.Why = r.Why
			}
		}
		p.P50, p.P99 = median(p50), median(p99)
		points = append(points, p)
	}
	slices.SortFunc(points, func(a, b Point) int {
		if a.Load < b.Load {
			return -1
		}
		return 1
	})
	return points
}

func median(x []float64) float64 {
	slices.Sort(x)
	if n := len(x); n%2 == 1 {
		return x[n/2]
	}
	n := len(x)
	return (x[n/2-1] + x[n/2]) / 2
}

// knee is the load at which throughput divided by latency is greatest (Kleinrock's power): beyond it more load buys more waiting than work. It
// is 0 when that is at an end of the curve, or at a load that does not hold.
func knee(points []Point) float64 {
	best, at := 0.0, -1
	for i, p := range points {
		if p.P50 <= 0 {
			continue
		}
		if power := p.Done / p.P50; power > best {
			best, at = power, i
		}
	}
	if at <= 0 || at == len(points)-1 || points[at].Missed >= points[at].Held {
		return 0
	}
	return points[at].Load
}

// bind finds what kept the lowest load that was missed from being held.
func (a *Answer) bind() {
	a.Limit, a.Class, a.Cause = "", "", ""
	if a.Missed == 0 {
		return
	}
	for i := range slices.Backward(a.Trials) {
		if r := &a.Trials[i]; r.Load == a.Missed && r.Verdict == search.Missed {
			a.Limit, a.Class, a.Cause = r.Limit, r.Class, r.Why
			if r.Limit != trial.ByTrend {
				return
			}
		}
	}
}

// predict fits the scalability law to the loads at which something was done.
func (a *Answer) predict() {
	a.Prediction, a.NoFit = nil, ""
	var points []usl.Point
	for _, p := range a.Curve {
		if p.Done > 0 {
			points = append(points, usl.Point{Load: p.Load, Throughput: p.Done})
		}
	}
	c, err := usl.Fit(points)
	if err != nil {
		a.NoFit = err.Error()
		return
	}
	p := &Prediction{
		Lambda: spanOf(c.Lambda), Sigma: spanOf(c.Sigma), Kappa: spanOf(c.Kappa), Residual: c.Residual, RSquared: c.RSquared, Loads: c.Loads,
		Linear: c.Shape == usl.Linear, UnitOfLoad: c.Unit,
	}
	if !p.Linear {
		p.Maximum, p.AtLoad = spanOf(c.MaxThroughput), spanOf(c.PeakLoad)
	}
	a.Prediction = p
}

// Write writes the answer as JSON.
func (a *Answer) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(a)
}
