package account

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/report/human"
)

// Percentiles are which percentiles of a distribution are shown, each above 0 and at most 100. None is the default: p50, p95 and p99
// with the longest; chosen ones come with the shortest and the mean too.
type Percentiles []float64

// maxPercentiles is how many may be chosen: as many as a table has room for.
const maxPercentiles = 12

// ErrPercentiles is the class of errors of ParsePercentiles.
var ErrPercentiles = errors.New("percentiles")

// ParsePercentiles reads a list such as 50,90,99.9. It is put in order, and has none twice. Empty is the default.
func ParsePercentiles(text string) (Percentiles, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var p Percentiles
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimPrefix(strings.TrimSpace(item), "p")
		x, err := strconv.ParseFloat(item, 64)
		if err != nil || !(x > 0 && x <= 100) {
			return nil, fmt.Errorf("%w: %q is not above 0 and at most 100, as in 50,90,95,99,99.9", ErrPercentiles, item)
		}
		p = append(p, x)
	}
	slices.Sort(p)
	if p = slices.Compact(p); len(p) > maxPercentiles {
		return nil, fmt.Errorf("%w: %d of them; a table has room for %d", ErrPercentiles, len(p), maxPercentiles)
	}
	return p, nil
}

// Headings are the columns of a table of times.
func (p Percentiles) Headings() []string {
	if len(p) == 0 {
		return []string{"p50", "p95", "p99", "max"}
	}
	columns := []string{"min", "mean"}
	for _, x := range p {
		columns = append(columns, "p"+strconv.FormatFloat(x, 'f', -1, 64))
	}
	return append(columns, "max")
}

// Cells are a distribution under Headings; none where nothing was measured.
func (p Percentiles) Cells(h histogram.Histogram, none string) []string {
	if h.Count == 0 { // nothing ended, or all was refused
		return slices.Repeat([]string{none}, len(p.Headings()))
	}
	if len(p) == 0 {
		return []string{human.Duration(h.Quantile(0.5)), human.Duration(h.Quantile(0.95)), human.Duration(h.Quantile(0.99)), human.Duration(h.Maximum())}
	}
	cells := []string{human.Duration(h.Minimum()), human.Duration(h.Mean())}
	for _, x := range p {
		cells = append(cells, human.Duration(h.Quantile(x/100)))
	}
	return append(cells, human.Duration(h.Maximum()))
}
