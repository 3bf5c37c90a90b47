package findings

import (
	"fmt"
	"slices"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Queries say what the queries found last, a line each.
func Queries(r *report.Run) []string {
	var lines []string
	for _, q := range r.Totals.Queries {
		found := human.Number(q.Results, "device")
		if slices.Contains(r.Rows, q.Query) {
			found = human.Number(q.Results, "row")
		}
		lines = append(lines, fmt.Sprintf("query %s found %s in its last result; %s, %s", q.Query, found, human.Number(q.Runs, "run"), human.Number(q.Pages, "page")))
	}
	return lines
}
