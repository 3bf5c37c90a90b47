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

// Wave is one wave of a rollout, as it ended.
type Wave struct {
	Rollout  string        `json:"rollout"`
	Group    string        `json:"group"`
	Number   int           `json:"number"` // from 1
	Of       int           `json:"of"`     // waves of the rollout
	Percent  int           `json:"percent"`
	Devices  int           `json:"devices"`  // of this wave alone
	Patched  int           `json:"patched"`  // twins written
	Told     int           `json:"told"`     // devices that were notified
	Answered int           `json:"answered"` // devices that answered in reported
	Failed   int           `json:"failed"`   // devices that had not answered, or been told if they do not answer
	Took     time.Duration `json:"took"`
	Stopped  bool          `json:"stopped,omitempty"` // the rollout stopped here: too many devices had failed
}

// String is the wave in a line.
func (w Wave) String() string {
	text := fmt.Sprintf("wave %d of %d to %d %%: %s patched of %s, %s told, %s answered, after %s", w.Number, w.Of, w.Percent,
		Count(int64(w.Patched)), Count(int64(w.Devices)), Count(int64(w.Told)), Count(int64(w.Answered)), Duration(w.Took))
	if w.Stopped {
		text += fmt.Sprintf("; %s failed, the rollout stopped", Count(int64(w.Failed)))
	}
	return text
}

// Job is a scheduled job as it ended, or as it was when the run ended.
type Job struct {
	Name      string        `json:"name"`
	Type      string        `json:"type"` // twin or method
	ID        string        `json:"id"`   // at the service
	Status    string        `json:"status"`
	Devices   int           `json:"devices"`
	Succeeded int           `json:"succeeded"`
	Failed    int           `json:"failed"`
	Took      time.Duration `json:"took"`
	Error     string        `json:"error,omitempty"`
}

// String is the job's state in a line.
func (j Job) String() string {
	text := fmt.Sprintf("%s: %s of %s done", j.Status, Count(int64(j.Succeeded)), devicesText(j.Devices))
	if j.Failed > 0 {
		text += fmt.Sprintf(", %s failed", Count(int64(j.Failed)))
	}
	return text
}

func devicesText(n int) string {
	if n == 1 {
		return "1 device"
	}
	return Count(int64(n)) + " devices"
}

// ServiceError is how often the service answered a task of the worker with an error.
type ServiceError struct {
	Task  string `json:"task"` // an operation with its name, or a rollout
	Code  string `json:"code"` // such as 404103 DeviceNotOnline
	Count int    `json:"count"`
}

// writeService tells what became of rollouts and jobs, and which errors the worker met.
func writeService(b *strings.Builder, r *Run, style Style) {
	for _, w := range r.Waves {
		mark := style.Mark(w.Failed == 0)
		if w.Failed > 0 && !w.Stopped {
			mark = style.paint(yellow, "!")
		}
		fmt.Fprintf(b, "  %s rollout %s, %s\n", mark, w.Rollout, w)
	}
	for _, j := range r.Jobs {
		fmt.Fprintf(b, "  %s job %s %s after %s\n", style.Mark(j.Error == ""), j.Name, j, Duration(j.Took))
	}
	for _, x := range r.ServiceErrors {
		fmt.Fprintf(b, "  %s %s: %s × %s\n", style.paint(yellow, "!"), x.Task, Count(int64(x.Count)), x.Code)
	}
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
