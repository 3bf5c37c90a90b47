package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
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
	// Reports is how many reports were acknowledged, Missing how many of them are not in the twins at the least.
	Reports int64 `json:"reports,omitempty"`
	Missing int64 `json:"missing,omitempty"`
}

// String is the comparison in a line.
func (v *Verified) String() string {
	text := fmt.Sprintf("the twins of %s of %s devices hold all of them", human.Count(v.Held), human.Count(v.Devices))
	if v.Reports > 0 {
		text += fmt.Sprintf(", %s in all", human.Count(v.Reports))
	}
	if v.Missing > 0 {
		text += fmt.Sprintf("; %s are missing", human.Count(v.Missing))
	}
	if v.Unread > 0 {
		text += fmt.Sprintf("; %s could not be read", human.Count(v.Unread))
	}
	return text
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
		human.Count(w.Patched), human.Count(w.Devices), human.Count(w.Told), human.Count(w.Answered), human.Duration(w.Took))
	if w.Stopped {
		text += fmt.Sprintf("; %s failed, the rollout stopped", human.Count(w.Failed))
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
	text := fmt.Sprintf("%s: %s of %s done", j.Status, human.Count(j.Succeeded), human.Number(j.Devices, "device"))
	if j.Failed > 0 {
		text += fmt.Sprintf(", %s failed", human.Count(j.Failed))
	}
	return text
}

// ServiceError is how often the service answered a task of the worker with an error.
type ServiceError struct {
	Task  string `json:"task"` // an operation with its name, or a rollout
	Code  string `json:"code"` // such as 404103 DeviceNotOnline
	Count int    `json:"count"`
}

// Finding is a line about the service side of a run.
type Finding struct {
	Mark Mark
	Text string
}

// Mark says what a finding means.
type Mark string

// The marks.
const (
	MarkGood Mark = "good"
	MarkWarn Mark = "warn" // a reader must know it; the run did not fail by it
	MarkBad  Mark = "bad"
	MarkNone Mark = "" // neither
)

func goodIf(ok bool, otherwise Mark) Mark {
	if ok {
		return MarkGood
	}
	return otherwise
}

// Findings tell what became of rollouts and jobs, which errors the worker met, how fresh the results
// of queries were and whether they were right.
func Findings(r *Run) []Finding {
	var all []Finding
	add := func(m Mark, format string, a ...any) { all = append(all, Finding{m, fmt.Sprintf(format, a...)}) }
	for _, w := range r.Waves {
		bad := MarkWarn
		if w.Stopped {
			bad = MarkBad
		}
		add(goodIf(w.Failed == 0, bad), "rollout %s, %s", w.Rollout, w)
	}
	for _, j := range r.Jobs {
		text := fmt.Sprintf("job %s %s after %s", j.Name, j, human.Duration(j.Took))
		if j.Status == "" {
			text = fmt.Sprintf("job %s was not made in %s", j.Name, human.Duration(j.Took))
		}
		if j.Error != "" {
			text += ": " + j.Error
		}
		add(goodIf(j.Error == "", MarkBad), "%s", text)
	}
	for _, x := range r.ServiceErrors {
		add(MarkWarn, "%s: %s × %s", x.Task, human.Count(x.Count), x.Code)
	}
	for _, q := range r.Totals.Queries {
		if n := q.Met + q.Unmet; n > 0 {
			add(goodIf(q.Unmet == 0, MarkWarn), "query %s had the expected size in %s of %s results", q.Query, human.Count(q.Met), human.Count(n))
		}
	}
	if r.Freshness != nil {
		freshness(r, add)
	}
	return all
}

// freshness adds what the audit found.
func freshness(r *Run, add func(m Mark, format string, a ...any)) {
	f, share := r.Freshness, 100.0
	if f.Devices > 0 {
		share = 100 * float64(f.Sampled) / float64(f.Devices)
	}
	sample := fmt.Sprintf("sampled %s of %s devices (%.3g %%)", human.Count(f.Sampled), human.Count(f.Devices), share)
	if f.Probe > 0 {
		sample += ", probed every " + human.Duration(f.Probe)
	}
	if x := r.Totals.Select(metrics.OpFreshness, ""); x == nil || x.Ended() == 0 {
		add(MarkWarn, "freshness: no report was seen in a query; %s", sample)
	} else {
		h := x.Latency(false)
		add(MarkNone, "freshness p50 %s p95 %s p99 %s max %s; %s", human.Duration(h.Quantile(0.5)), human.Duration(h.Quantile(0.95)), human.Duration(h.Quantile(0.99)), human.Duration(h.Maximum()), sample)
		if late := x.Count(metrics.Timeout); late > 0 {
			add(MarkWarn, "%s reports were not shown in time; they count with the time-out", human.Count(late))
		}
	}
	if f.Unseen > 0 {
		add(MarkWarn, "%s acknowledged reports were not shown before the run ended", human.Count(f.Unseen))
	}
	for _, q := range r.Totals.Queries {
		if c := q.Rows; c != (metrics.RowCounts{}) {
			add(goodIf(c.Missing+c.Extra+c.Stale == 0, MarkWarn), "query %s rows: %s ok, %s missing, %s extra, %s stale; %s in change, not judged", q.Query,
				human.Count(c.OK), human.Count(c.Missing), human.Count(c.Extra), human.Count(c.Stale), human.Count(c.Unjudged))
		}
	}
	for _, u := range f.Unchecked {
		add(MarkNone, "query %s rows: not checked, for %s", u.Query, u.Why)
	}
	if v := f.Verified; v != nil {
		add(goodIf(v.Held == v.Devices && v.Missing == 0, MarkBad), "acknowledged reports: %s", v)
	}
}

// writeFindings writes the findings, a line each.
func writeFindings(b *strings.Builder, r *Run, style color.Style) {
	for _, f := range Findings(r) {
		switch f.Mark {
		case MarkNone:
			fmt.Fprintf(b, "  %s\n", f.Text)
		case MarkWarn:
			fmt.Fprintf(b, "  %s %s\n", style.Warning(), f.Text)
		default:
			fmt.Fprintf(b, "  %s %s\n", style.Mark(f.Mark == MarkGood), f.Text)
		}
	}
}
