// Package measured makes the load of a fleet of another size out of the record of a run: what devices did in its steady stage, device
// by device.
package measured

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Run is what a run tells of its devices.
type Run struct {
	Name     string  `json:"name"`             // the scenario's
	Target   string  `json:"target"`           // what was loaded
	Stage    string  `json:"stage"`            // whose figures they are
	Seconds  float64 `json:"duration_seconds"` // that it lasted
	Active   float64 `json:"active_devices"`   // in it, in the mean
	Devices  int     `json:"devices"`          // of the fleet that is asked about
	Measured []Rate  `json:"rates"`            // by operation, in the order of reports
}

// Rate is one operation. Rates are operations a second.
type Rate struct {
	Operation string  `json:"operation"`       // its name in metrics
	Group     string  `json:"query,omitempty"` // of a query, its name
	Measured  float64 `json:"measured"`        // that were scheduled in the stage and started
	PerDevice float64 `json:"per_device"`      // for each active device; 0 for what does not grow with the fleet
	Scaled    float64 `json:"scaled"`          // of the fleet that is asked about
	Peak      float64 `json:"peak"`            // likewise, in the busiest second of the stage
	Pages     float64 `json:"pages,omitempty"` // of one result, of the fleet that is asked about
	Rows      float64 `json:"rows,omitempty"`  // likewise
}

// ErrNoSteady is returned for a run that has no stage from which to tell anything.
var ErrNoSteady = errors.New("no stage of the run tells what its devices do in the long run")

// shortest is how long a stage must be.
const shortest = 5 * time.Second

// Of finds the steady stage of a run and what its devices did in it: of the stages with about as many devices from start to end, and
// of those the ones with about as much load in both halves, the one with the most devices, of those the longest, and of those the
// last. Stages of a capacity trial that only prepare are none. devices is the size of the fleet to scale it to; the run's own when 0.
func Of(h *report.History, devices int) (*Run, error) {
	best, active, likeness := -1, 0.0, 0
	prepares := span.Preparing(func(yield func(string) bool) {
		for i := range h.Run.Stages {
			if !yield(h.Run.Stages[i].Name) {
				return
			}
		}
	})
	for i := range h.Run.Stages {
		s := &h.Run.Stages[i]
		if s.Totals == nil || s.To-s.From < shortest || prepares(s.Name) {
			continue
		}
		mean, change := activeIn(h, s)
		if mean <= 0 {
			continue
		}
		like := 1
		if change <= 0.02*mean {
			like = 2
			if evenLoad(h, s) {
				like = 3
			}
		}
		longer := best >= 0 && s.To-s.From >= h.Run.Stages[best].To-h.Run.Stages[best].From
		if like > likeness || like == likeness && (mean > 1.02*active || mean > 0.98*active && longer) {
			best, active, likeness = i, mean, like
		}
	}
	if best < 0 {
		return nil, fmt.Errorf("%w: it needs one of %s or longer with devices", ErrNoSteady, human.Duration(shortest))
	}
	s := &h.Run.Stages[best]
	if devices == 0 {
		devices = h.Run.Devices
	}
	r := &Run{Name: h.Run.Name, Target: h.Run.Target, Stage: s.Name, Seconds: (s.To - s.From).Seconds(), Active: active, Devices: devices}
	r.rates(h, s)
	return r, nil
}

// evenLoad tells whether a stage had about as much load in its second half as in its first, but for what chance makes of it.
func evenLoad(h *report.History, s *report.Stage) bool {
	var halves [2]float64
	middle := s.From + (s.To-s.From)/2
	for _, x := range h.Samples {
		if x.At <= s.From || x.At > s.To {
			continue
		}
		half := 0
		if x.At-x.Window.Elapsed/2 > middle {
			half = 1
		}
		for i := range x.Window.Series {
			if y := &x.Window.Series[i]; counts(y.Operation) {
				halves[half] += float64(y.Started())
			}
		}
	}
	both := halves[0] + halves[1]
	return math.Abs(halves[0]-halves[1]) <= 0.1*both/2+3*math.Sqrt(both)
}

// activeIn is how many devices were active in a stage, in the mean, and by how much that changed.
func activeIn(h *report.History, s *report.Stage) (mean, change float64) {
	n, low, high := 0.0, math.Inf(1), 0.0
	for _, x := range h.Samples {
		if x.At <= s.From || x.At > s.To {
			continue
		}
		active := 0.0
		for _, d := range x.Window.Devices {
			if d.State != "waiting" { // the others are connected, or about to be
				active += float64(d.Count)
			}
		}
		n, mean, low, high = n+1, mean+active, min(low, active), max(high, active)
	}
	if n == 0 {
		return 0, 0
	}
	return mean / n, high - low
}

// rates are the operations of a stage.
func (r *Run) rates(h *report.History, s *report.Stage) {
	factor := float64(r.Devices) / r.Active
	for i := range s.Totals.Series {
		x := &s.Totals.Series[i]
		if x.Started() == 0 || !counts(x.Operation) {
			continue
		}
		rate := Rate{Operation: string(x.Operation), Measured: float64(x.Started()) / r.Seconds}
		if x.Operation == metrics.OpQuery {
			rate.Group = x.Group
			rate.Scaled, rate.Peak = rate.Measured, peak(h, s, x.Operation, x.Group)
			rate.result(h.Run.Totals, factor)
		} else {
			rate.PerDevice = rate.Measured / r.Active
			rate.Scaled, rate.Peak = rate.Measured*factor, factor*peak(h, s, x.Operation, x.Group)
		}
		rate.Peak = max(rate.Peak, rate.Scaled)
		same := func(o Rate) bool { return o.Operation == rate.Operation && o.Group == rate.Group }
		if k := slices.IndexFunc(r.Measured, same); k >= 0 { // of another group of devices
			o := &r.Measured[k]
			o.Measured, o.PerDevice, o.Scaled, o.Peak = o.Measured+rate.Measured, o.PerDevice+rate.PerDevice, o.Scaled+rate.Scaled, o.Peak+rate.Peak
			continue
		}
		r.Measured = append(r.Measured, rate)
	}
}

// result is the size of a query's result when the fleet is so many times as large.
func (x *Rate) result(totals *metrics.Snapshot, factor float64) {
	x.Pages = 1
	for _, q := range totals.Queries {
		if q.Query != x.Group || q.Runs == 0 {
			continue
		}
		x.Rows = float64(q.Results) * factor
		x.Pages = math.Max(1, math.Ceil(float64(q.Pages)/float64(q.Runs)*factor))
		if q.Pages <= q.Runs { // one page: how full it was is not known, but that it has at most a thousand rows
			x.Pages = math.Max(1, math.Ceil(x.Rows/1000))
		}
	}
}

// peak is the busiest second of an operation in a stage.
func peak(h *report.History, s *report.Stage, op metrics.Operation, group string) (most float64) {
	for _, x := range h.Samples {
		if x.At <= s.From+time.Second || x.At > s.To || x.Window.Elapsed < report.TooShort {
			continue
		}
		for i := range x.Window.Series {
			if y := &x.Window.Series[i]; y.Operation == op && y.Group == group {
				most = max(most, float64(y.Started())/x.Window.Elapsed.Seconds())
			}
		}
	}
	return most
}

// classOf is the class that an operation counts for; empty for none.
func classOf(op metrics.Operation) string {
	switch op {
	case metrics.OpConnect:
		return plan.ClassConnections
	case metrics.OpTelemetry:
		return plan.ClassTelemetry
	case metrics.OpTwinGet, metrics.OpTwinRead:
		return plan.ClassReads
	case metrics.OpTwinReport, metrics.OpTag, metrics.OpDesiredPatch:
		return plan.ClassUpdates
	case metrics.OpQuery:
		return plan.ClassQueries
	case metrics.OpMethod:
		return plan.ClassMethods
	}
	return ""
}

func counts(op metrics.Operation) bool { return classOf(op) != "" }

// bytes are what an operation is metered for where the record does not tell; below 0 is free.
func bytes(op metrics.Operation) int {
	switch op {
	case metrics.OpConnect:
		return -1
	case metrics.OpTwinGet, metrics.OpTwinRead:
		return demand.TwinBytes
	}
	return 100
}

// Need is the load of the fleet that is asked about.
func (r *Run) Need() plan.Need {
	n := plan.Need{
		Devices: r.Devices, Burst: time.Minute.Seconds(), Steady: "as measured in stage " + r.Stage,
		Stages: []plan.StageNeed{{Name: r.Stage, Seconds: r.Seconds}},
	}
	classes := make(map[string]*plan.Class)
	var order []string
	for _, x := range r.Measured {
		op := metrics.Operation(x.Operation)
		name := classOf(op)
		c := classes[name]
		if c == nil {
			c = &plan.Class{Class: name, Stages: []plan.Ask{{}}}
			classes[name] = c
			order = append(order, name)
		}
		pages := max(1, x.Pages)
		c.SteadyLeast, c.Steady = c.SteadyLeast+x.Scaled, c.Steady+x.Scaled*pages
		a := &c.Stages[0]
		a.MeanLeast, a.Mean, a.Peak = a.MeanLeast+x.Scaled, a.Mean+x.Scaled*pages, a.Peak+x.Peak*pages
		a.Bursts = append(a.Bursts, plan.Burst{MeanLeast: x.Scaled, Mean: x.Scaled * pages, PeakLeast: x.Peak, Peak: x.Peak * pages, Seconds: 1})
		m := plan.Metered{Count: x.Scaled, Bytes: bytes(op), Calls: x.Scaled}
		switch {
		case m.Bytes < 0:
			continue
		case op == metrics.OpMethod:
			m.Copies = 2
		case op == metrics.OpQuery:
			m.Bytes, m.Finds = int(x.Rows*demand.TwinBytes), true
			m.Page = max(1, int(math.Ceil(x.Rows/max(1, x.Pages)))) * demand.TwinBytes // all are about alike full
		}
		for _, part := range []struct {
			stage   int
			seconds float64
		}{{0, r.Seconds}, {plan.SteadyDay, 24 * time.Hour.Seconds()}} {
			y := m
			y.Stage, y.Count, y.Calls = part.stage, m.Count*part.seconds, m.Calls*part.seconds
			n.Metered = append(n.Metered, y)
		}
	}
	for _, name := range order {
		n.Classes = append(n.Classes, *classes[name])
	}
	n.Registry = float64(r.Devices)
	return n
}

// Unknown is what such an answer cannot know, one line each.
func (r *Run) Unknown() []string {
	all := []string{
		fmt.Sprintf("what comes seldom: rates are those of %s", human.Duration(time.Duration(r.Seconds*float64(time.Second)))),
		"message sizes: records have none; telemetry, reports, methods and updates are taken for one message each, a twin for 1,100 bytes",
		fmt.Sprintf("latency with %s: that of %s says nothing of it", human.Number(r.Devices, "device"), human.Count(int(r.Active))),
		"bursts: how a larger fleet comes online, comes back after an outage, or acts in step; peaks are those of single seconds of the stage, scaled",
		"whether a load generator delivers such a fleet, and whether the hub behaves alike at that size",
		"what was throttled, failed or dropped in the run: rates are of what was started",
	}
	if slices.ContainsFunc(r.Measured, func(x Rate) bool { return x.Operation == string(metrics.OpQuery) }) {
		all = append(all, "what queries find: results are taken to grow with the fleet, and their pages with them; how often they are asked is as it was")
	}
	if slices.ContainsFunc(r.Measured, func(x Rate) bool {
		return x.Operation == string(metrics.OpMethod) || x.Operation == string(metrics.OpTwinRead)
	}) {
		all = append(all, "what the service side does at a rate: direct methods, twin reads and updates are taken to grow with the fleet")
	}
	return all
}
