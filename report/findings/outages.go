package findings

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// shownOutages is how many outages are told of one by one.
const shownOutages = 3

// Outages are the outages in which the most connections were lost, in their order, and a line that counts the others;
// "" when there are none. A target that comes and goes has hundreds.
func Outages(r *report.Run) (worst []report.Outage, more string) {
	all := r.Outages
	if len(all) <= shownOutages {
		return all, ""
	}
	byLoss := slices.Clone(all)
	slices.SortStableFunc(byLoss, func(a, b report.Outage) int { return b.Total - a.Total })
	worst = byLoss[:shownOutages]
	slices.SortStableFunc(worst, func(a, b report.Outage) int { return cmp.Compare(a.From, b.From) })
	lost, longest := 0, time.Duration(0)
	for _, o := range byLoss[shownOutages:] {
		lost += o.Total
		longest = max(longest, o.To-o.From)
	}
	return worst, fmt.Sprintf("%s more, of %s at the most, in which %s were lost; summary.json has all", human.Number(len(all)-shownOutages, "outage"),
		human.Duration(longest), human.Number(lost, "connection"))
}
