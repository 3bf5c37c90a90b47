// Package series follows one operation through the blocks of two runs that stand beside each other.
package series

import (
	"slices"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report/compare/align"
)

// Line is one operation, of all groups or of one.
type Line struct {
	Name  string            // the operation; of a query: with its name
	Op    metrics.Operation // which operation
	Group string            // empty: all; of queries, whose group is their name, it says which
}

// Connecting reports whether the operation belongs to a connection's beginning: more of it means connections were lost.
func (l Line) Connecting() bool {
	return l.Op.OfDPS() || l.Op == metrics.OpConnect || l.Op == metrics.OpSubscribe || l.Op == metrics.OpTwinGet
}

// Lines are the operations of either run, and their groups where one has several.
func Lines(p *align.Plan) (all, groups []Line) {
	found := make(map[metrics.Operation][]string)
	for _, block := range p.Blocks {
		for _, s := range block {
			if s == nil {
				continue
			}
			for i := range s.Series {
				x := &s.Series[i]
				if x.Scheduled()+x.Ended() > 0 && !slices.Contains(found[x.Operation], x.Group) {
					found[x.Operation] = append(found[x.Operation], x.Group)
				}
			}
		}
	}
	for _, op := range metrics.Operations() {
		names := found[op]
		slices.Sort(names)
		if op == metrics.OpQuery {
			for _, name := range names {
				all = append(all, Line{"query " + name, op, name})
			}
			continue
		}
		if len(names) > 0 {
			all = append(all, Line{string(op), op, ""})
		}
		if len(names) > 1 {
			for _, name := range names {
				if name != "" {
					groups = append(groups, Line{string(op), op, name})
				}
			}
		}
	}
	return all, groups
}

// Pair is one Line in every block of both runs.
type Pair struct {
	Seconds float64                // the length of a block
	Lag     [2]histogram.Histogram // how late these operations started, in each run
	blocks  [2][]*metrics.SeriesSnapshot
}

// Of is a line in every block of both runs.
func Of(p *align.Plan, l Line) *Pair {
	s := &Pair{Seconds: p.Seconds}
	for _, block := range p.Blocks {
		for run, snapshot := range block {
			x := &metrics.SeriesSnapshot{}
			if snapshot != nil {
				if found := snapshot.Select(l.Op, l.Group); found != nil {
					x = found
				}
			}
			s.blocks[run] = append(s.blocks[run], x)
			addLag(&s.Lag[run], *x)
		}
	}
	return s
}

// Part is a number of every block of a run.
func (s *Pair) Part(run int, count func(*metrics.SeriesSnapshot) uint64) []float64 {
	out := make([]float64, len(s.blocks[run]))
	for i, x := range s.blocks[run] {
		out[i] = float64(count(x))
	}
	return out
}

// Counts are how many ended, in every block of a run.
func (s *Pair) Counts(run int) []float64 { return s.Part(run, (*metrics.SeriesSnapshot).Ended) }

// Dues are how many were due, in every block of a run.
func (s *Pair) Dues(run int) []float64 { return s.Part(run, (*metrics.SeriesSnapshot).Scheduled) }

// Ended is how many ended in a run.
func (s *Pair) Ended(run int) uint64 { return uint64(Sum(s.Counts(run))) }

// Due is how many were due in a run.
func (s *Pair) Due(run int) uint64 { return uint64(Sum(s.Dues(run))) }

// Latencies are the distributions of the times that the target took, in every block of a run.
func (s *Pair) Latencies(run int) []histogram.Histogram {
	out := make([]histogram.Histogram, len(s.blocks[run]))
	for i, x := range s.blocks[run] {
		out[i] = x.Latency(false)
	}
	return out
}

// addLag adds how late a snapshot's operations started.
func addLag(to *histogram.Histogram, series ...metrics.SeriesSnapshot) {
	for i := range series {
		*to = to.Merge(series[i].Lag)
	}
}

// Failures are the bad outcomes that have no row of their own.
func Failures(x *metrics.SeriesSnapshot) uint64 {
	return outcomes(x, func(name string) bool { return name != "ok" && name != "throttled" && name != "unanswered" })
}

// Unanswered are those that nobody waited for to the end.
func Unanswered(x *metrics.SeriesSnapshot) uint64 {
	return outcomes(x, func(name string) bool { return name == "unanswered" })
}

// Throttled are those that the target shed.
func Throttled(x *metrics.SeriesSnapshot) uint64 { return x.Count(metrics.Throttled) }

func outcomes(x *metrics.SeriesSnapshot, which func(string) bool) uint64 {
	var n uint64
	for _, o := range metrics.Outcomes() {
		if which(o.String()) {
			n += x.Count(o)
		}
	}
	return n
}

// Dropped are what never started for a reason of the target's: not what a person paused, or the end of the run cut off.
func Dropped(x *metrics.SeriesSnapshot) uint64 {
	return x.DroppedTotal() - min(x.DroppedTotal(), x.Dropped[metrics.DropStopped]+x.Dropped[metrics.DropPaused])
}

// Lags are how late all operations of each run started.
func Lags(p *align.Plan) (lags [2]histogram.Histogram) {
	for _, block := range p.Blocks {
		for run, snapshot := range block {
			if snapshot != nil {
				addLag(&lags[run], snapshot.Series...)
			}
		}
	}
	return lags
}

// Sum adds up a number of every block.
func Sum(values []float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	return total
}
