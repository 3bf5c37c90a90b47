package account

import (
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Line is one row of the table of operations: all groups of an operation together, except for
// queries, which have a row each.
type Line struct {
	Name   string                  // the operation; of a query: with its name
	Series *metrics.SeriesSnapshot // its numbers
}

// Lines are the rows of the table of operations for a snapshot: those that were scheduled in it, or ended in it.
func Lines(s *metrics.Snapshot) []Line {
	var lines []Line
	for _, op := range metrics.Operations() {
		if op == metrics.OpQuery {
			for i := range s.Series {
				if s.Series[i].Operation == op && s.Series[i].Scheduled()+s.Series[i].Ended() > 0 {
					lines = append(lines, Line{"query " + s.Series[i].Group, &s.Series[i]})
				}
			}
			continue
		}
		if x := s.Select(op, ""); x != nil && x.Scheduled()+x.Ended() > 0 {
			lines = append(lines, Line{string(op), x})
		}
	}
	return lines
}

// Cells are the line's figures, for people.
func (l Line) Cells(r *report.Run, p Percentiles) []string {
	x := l.Series
	cells := []string{
		l.Name, human.Count(x.Ended()), human.Rate(float64(x.Ended()) / max(r.Loaded().Seconds(), 1e-9)),
		human.Count(x.Count(metrics.Throttled)), human.Count(x.Errors()),
	}
	return append(cells, p.Cells(x.Latency(false), "–")...)
}
