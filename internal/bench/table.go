package bench

import (
	"fmt"
	"io"
	"math"

	"github.com/twinfleet/twinfleet/report/human"
)

// Write writes rows as a table.
func Write(w io.Writer, rows []Row) error {
	cells := [][]string{{"figure", "", "fleet", "hub", "", "bare", "ratio"}}
	for _, r := range rows {
		hub, bare, ratio := "", "", ""
		if r.Hub > 0 {
			hub = number(r.Hub)
		}
		if r.Than != "" {
			bare, ratio = number(r.Bare), fmt.Sprintf("%.2f", r.Ratio)
		}
		cells = append(cells, []string{r.Name, r.Unit, number(r.Here), hub, r.Than, bare, ratio})
	}
	for _, line := range human.Columns(cells, func(i int) bool { return i == 2 || i == 3 || i >= 5 }) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// number has three digits that say something.
func number(x float64) string {
	switch {
	case x >= 1000:
		return human.Count(int(math.Round(x)))
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.2f", x)
	}
}
