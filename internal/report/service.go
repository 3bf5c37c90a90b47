package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// Freshness is what the freshness audit watched. Its times are in the totals: operation freshness.
type Freshness struct {
	Sampled   int           `json:"sampled"`             // devices that were watched
	Devices   int           `json:"devices"`             // that report
	Probe     time.Duration `json:"probe"`               // how often it asked; 0 for scheduled queries alone
	Tolerance time.Duration `json:"tolerance"`           // before a row counts as missing, extra or stale
	Unseen    int           `json:"unseen"`              // acknowledged reports that no result had shown when the run ended
	Verified  *Verified     `json:"verified,omitempty"`  // nil when twins were not read at the end
	Unchecked []Unchecked   `json:"unchecked,omitempty"` // queries whose results could not be checked
}

// Verified is the comparison of twins with what was acknowledged, after the devices had stopped.
type Verified struct {
	Devices int `json:"devices"` // with an acknowledged report
	Held    int `json:"held"`    // whose twins hold it
	Lost    int `json:"lost"`    // whose twins do not
	Unread  int `json:"unread"`  // whose twins could not be read
}

// Unchecked is a query whose results the audit cannot check, and why.
type Unchecked struct {
	Query string `json:"query"`
	Why   string `json:"why"`
}

// writeFreshness tells what the audit found, a line for each thing.
func writeFreshness(b *strings.Builder, r *Run, style Style) {
	f := r.Freshness
	if f == nil {
		return
	}
	share := 100.0
	if f.Devices > 0 {
		share = 100 * float64(f.Sampled) / float64(f.Devices)
	}
	sample := fmt.Sprintf("sampled %s of %s devices (%.3g %%)", Count(int64(f.Sampled)), Count(int64(f.Devices)), share)
	if x := r.Totals.Select(metrics.OpFreshness, ""); x == nil || x.Ended() == 0 {
		fmt.Fprintf(b, "  freshness: no report was seen in a query; %s\n", sample)
	} else {
		h := x.Latency(false)
		fmt.Fprintf(b, "  freshness p50 %s p95 %s p99 %s max %s; %s", Duration(h.Quantile(0.5)), Duration(h.Quantile(0.95)), Duration(h.Quantile(0.99)), Duration(h.Maximum()), sample)
		if f.Probe > 0 {
			fmt.Fprintf(b, ", probed every %s", Duration(f.Probe))
		}
		b.WriteString("\n")
		if late := x.Count(metrics.Timeout); late > 0 {
			fmt.Fprintf(b, "  %s %s reports were not shown in time; they count with the time-out\n", style.paint(yellow, "!"), Count(int64(late)))
		}
	}
	if f.Unseen > 0 {
		fmt.Fprintf(b, "  %s %s acknowledged reports were not shown before the run ended\n", style.paint(yellow, "!"), Count(int64(f.Unseen)))
	}
	writeRows(b, r, style)
	if v := f.Verified; v != nil {
		line := fmt.Sprintf("acknowledged reports: the twins of %s of %s sampled devices hold the last one", Count(int64(v.Held)), Count(int64(v.Devices)))
		if v.Unread > 0 {
			line += fmt.Sprintf("; %s could not be read", Count(int64(v.Unread)))
		}
		fmt.Fprintf(b, "  %s %s\n", style.Mark(v.Held == v.Devices), line)
	}
}

// writeRows tells of the rows of results: how many were as they should be.
func writeRows(b *strings.Builder, r *Run, style Style) {
	for _, q := range r.Totals.Queries {
		c := q.Rows
		if c == (metrics.RowCounts{}) {
			continue
		}
		right := c.Missing+c.Extra+c.Stale == 0
		mark := style.Mark(true)
		if !right {
			mark = style.paint(yellow, "!")
		}
		fmt.Fprintf(b, "  %s query %s rows: %s ok, %s missing, %s extra, %s stale; %s in change, not judged\n", mark, q.Query,
			Count(int64(c.OK)), Count(int64(c.Missing)), Count(int64(c.Extra)), Count(int64(c.Stale)), Count(int64(c.Unjudged)))
	}
	for _, u := range r.Freshness.Unchecked {
		fmt.Fprintf(b, "  query %s rows: not checked, for %s\n", u.Query, u.Why)
	}
}
