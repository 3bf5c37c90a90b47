package compare

import (
	"math"

	"github.com/twinfleet/twinfleet/report"
)

// counted adds the rows of what should never happen and did in one of the runs: there is nothing to estimate.
func (c *Comparison) counted() {
	before, after := mishaps(c.Before), mishaps(c.After)
	for i, x := range before {
		y := after[i]
		row := Row{
			Operation: x.operation, Figure: x.figure, Unit: Number, Before: float64(x.count), After: float64(y.count),
			Change: math.NaN(), Low: math.NaN(), High: math.NaN(), Verdict: Better,
		}
		if (x.count == 0) == (y.count == 0) {
			continue // that of both runs is the scenario's doing, and no number tells more
		}
		if x.count == 0 {
			row.Verdict = Worse
		}
		c.Rows = append(c.Rows, row)
	}
}

type mishap struct {
	operation, figure string
	count             int
}

func mishaps(r *report.Run) []mishap {
	lost, failed, unmet, gone := 0, 0, 0, 0
	for _, o := range r.Outages {
		lost += o.Total
	}
	for _, s := range r.Steps {
		if !s.OK {
			failed++
		}
	}
	if r.Totals != nil {
		for _, q := range r.Totals.Queries {
			unmet += q.Unmet
		}
	}
	if f := r.Freshness; f != nil && f.Verified != nil {
		gone = f.Verified.Lost
	}
	return []mishap{
		{"connections", "lost in outages", lost},
		{"steps", "failed", failed},
		{"queries", "results of another size", unmet},
		{"reports", "lost", gone},
	}
}
