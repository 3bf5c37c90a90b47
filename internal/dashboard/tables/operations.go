package tables

import (
	"cmp"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/reasons"
)

// Operation is a row of the table of operations. Times are in milliseconds, from the intended time; null when nothing ended.
type Operation struct {
	Name   string   `json:"name"`  // the operation
	Group  string   `json:"group"` // of devices, or the query's name; empty for all together
	Rate   *float64 `json:"rate"`  // ended in the last second; null when that is not known
	Counts          // of the whole run
	P50    *float64 `json:"p50"` // likewise
	P95    *float64 `json:"p95"` // likewise
	P99    *float64 `json:"p99"` // likewise
	Max    *float64 `json:"max"` // likewise
}

// operations are the rows of all operations and groups; where these are too many, of all groups of an operation together.
func operations(e *Evidence) []Operation {
	all, w := e.Run.Totals.Series, e.Window
	if len(all) > maxRows {
		all = together(e.Run.Totals).Series
		if w != nil {
			w = together(w)
			w.Elapsed = e.Window.Elapsed
		}
	}
	rows := make([]Operation, 0, len(all))
	for i := range all {
		x := &all[i]
		if x.Scheduled()+x.Ended() == 0 {
			continue
		}
		row := Operation{Name: string(x.Operation), Group: x.Group, Counts: countsOf(account.Of(x))}
		if w != nil && w.Elapsed >= report.TooShort && !e.Over {
			rate := 0.0
			if now := w.Find(x.Operation, x.Group); now != nil {
				rate = float64(now.Ended()) / w.Elapsed.Seconds()
			}
			row.Rate = &rate
		}
		if h := x.Latency(false); h.Count > 0 {
			ms := func(d time.Duration) *float64 {
				v := float64(d) / float64(time.Millisecond)
				return &v
			}
			row.P50, row.P95, row.P99, row.Max = ms(h.Quantile(0.5)), ms(h.Quantile(0.95)), ms(h.Quantile(0.99)), ms(h.Maximum())
		}
		rows = append(rows, row)
	}
	return rows
}

// together is all groups of each operation as one. What is not shown of them is left out: it would take most of the time.
func together(s *metrics.Snapshot) *metrics.Snapshot {
	plain, sum := &metrics.Snapshot{Series: slices.Clone(s.Series)}, &metrics.Snapshot{}
	for i := range plain.Series {
		x := &plain.Series[i]
		x.Reasons, x.Lag, x.OwnLag = nil, histogram.Histogram{}, histogram.Histogram{}
		clear(x.Service[:])
	}
	for _, op := range metrics.Operations() {
		if x := plain.Select(op, ""); x != nil {
			sum.Series = append(sum.Series, *x)
		}
	}
	return sum
}

// Reason is one reason why operations of a kind ended badly.
type Reason struct {
	Operation string  `json:"operation"` // which
	Text      string  `json:"text"`      // the outcome with its reason, on one line
	Count     uint64  `json:"count"`     // how often
	Last      float64 `json:"last"`      // when it was met last, in seconds since the run began
	Groups    string  `json:"groups"`    // of devices, or names of queries, where it was met, with counts
	Stages    string  `json:"stages"`    // likewise
}

// reasonRows are the reasons, the most frequent first.
func reasonRows(e *Evidence, parts []reasons.Part) []Reason {
	type tally struct {
		Reason
		groups, stages reasons.Shares
	}
	var all []*tally
	for _, p := range parts {
		text := p.Text()
		i := slices.IndexFunc(all, func(x *tally) bool { return x.Operation == string(p.Operation) && x.Text == text })
		if i < 0 {
			i, all = len(all), append(all, &tally{Reason: Reason{Operation: string(p.Operation), Text: text}})
		}
		x := all[i]
		x.Count += p.Count
		x.Last = max(x.Last, p.Last.Sub(e.Run.Started).Seconds())
		x.groups.Add(p.Group, p.Count)
		x.stages.Add(p.Stage, p.Count)
	}
	slices.SortStableFunc(all, func(a, b *tally) int { return cmp.Compare(b.Count, a.Count) })
	rows := make([]Reason, 0, len(all))
	for _, x := range all[:min(len(all), maxRows)] {
		x.Groups, x.Stages = listed(x.groups), listed(x.stages)
		rows = append(rows, x.Reason)
	}
	return rows
}

// Group is a row of the table of groups.
type Group struct {
	Name      string `json:"name"`      // the scenario's
	Connected int    `json:"connected"` // devices that are connected
	Wanted    int    `json:"wanted"`    // that should be
	Lost      int    `json:"lost"`      // that lost their connection and are coming back
	Counts
	Reason string `json:"reason"` // what ended badly most often; empty when nothing did
}

func groups(e *Evidence, parts []reasons.Part) []Group {
	devices := &metrics.Snapshot{Devices: e.Devices}
	rows := []Group{}
	for _, name := range e.Run.GroupNames() {
		if len(rows) == maxRows {
			break
		}
		g := Group{Name: name, Counts: countsIn(e.Run.Totals, name)}
		g.Connected, g.Wanted = threshold.Devices(devices, name)
		for _, d := range e.Devices {
			if d.Group == name && d.State == "backoff" {
				g.Lost += d.Count
			}
		}
		var why reasons.Shares
		for _, p := range parts {
			if metrics.InGroup(p.Group, name) && p.Operation != metrics.OpQuery {
				why.Add(string(p.Operation)+" "+p.Text(), p.Count)
			}
		}
		g.Reason = why.Most()
		rows = append(rows, g)
	}
	return rows
}

// Stage is a row of the table of stages. Times are in seconds since the run began.
type Stage struct {
	Name string  `json:"name"` // as reports write it
	From float64 `json:"from"` // when it began
	To   float64 `json:"to"`   // when it ended, or now
	Counts
}

func stages(e *Evidence) []Stage {
	rows := []Stage{}
	for _, t := range e.Run.Stages {
		row := Stage{Name: t.Name, From: t.From.Seconds(), To: t.To.Seconds()}
		if t.Totals != nil {
			row.Counts = countsIn(t.Totals, "")
		}
		rows = append(rows, row)
	}
	var outside Counts
	if e.Outside != nil {
		outside = countsIn(e.Outside, "")
	}
	if e.Over {
		for _, p := range account.Stages(e.Run) {
			if p.Name == account.Outside {
				outside = countsOf(p.Account)
			}
		}
	}
	if outside.Scheduled > 0 {
		rows = append(rows, Stage{Name: account.Outside, Counts: outside})
	}
	return rows
}

// Wave is a row of the table of rollouts.
type Wave struct {
	Rollout  string  `json:"rollout"`  // the rollout's name
	Group    string  `json:"group"`    // of devices
	Wave     string  `json:"wave"`     // which, of how many
	Percent  int     `json:"percent"`  // of the group that is reached with it
	Devices  int     `json:"devices"`  // of this wave alone
	Patched  int     `json:"patched"`  // twins written
	Told     int     `json:"told"`     // devices that were notified
	Answered int     `json:"answered"` // devices that answered
	Failed   int     `json:"failed"`   // devices that did not in time
	Took     float64 `json:"took"`     // seconds, so far or until its end
	State    string  `json:"state"`    // running, done or stopped
}

func waves(e *Evidence) []Wave {
	var all []report.Wave
	if e.Standing != nil {
		all = e.Standing.Rollouts
	}
	if e.Over { // a rollout by a configuration is not among the waves of the record
		last := all
		all = slices.Clone(e.Run.Waves)
		for _, w := range last {
			if !slices.ContainsFunc(e.Run.Waves, func(x report.Wave) bool { return x.Rollout == w.Rollout }) {
				w.Running = false
				all = append(all, w)
			}
		}
	}
	rows := []Wave{}
	for _, w := range all[:min(len(all), maxRows)] {
		state := "done"
		switch {
		case w.Running:
			state = "running"
		case w.Stopped:
			state = "stopped"
		}
		rows = append(rows, Wave{
			w.Rollout, w.Group, waveName(w), w.Percent, w.Devices, w.Patched, w.Told, w.Answered, w.Failed, w.Took.Seconds(), state,
		})
	}
	return rows
}
