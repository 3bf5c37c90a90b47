package answer

import (
	"strconv"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/metrics"
)

// Figures are the search so far, for /metrics. A search makes few trials, and so each is a row of its own.
func (a *Answer) Figures() []metrics.Figure {
	of := []string{a.Scenario, string(a.Vary)}
	figure := func(name, help string, more ...string) metrics.Figure {
		return metrics.Figure{Name: "twinfleet_capacity_" + name, Help: help, Labels: append([]string{"scenario", "vary"}, more...)}
	}
	add := func(f *metrics.Figure, value float64, more ...string) {
		f.Samples = append(f.Samples, metrics.Sample{Labels: append(of[:len(of):len(of)], more...), Value: value})
	}
	end := figure("end", "How the search stands: 1 for the one that holds now, 0 for the others: running, found, at_least (all loads hold), "+
		"below (none does), or why no limit can be said.", "end")
	for _, e := range ends() {
		value := 0.0
		if e == a.End {
			value = 1
		}
		add(&end, value, string(e))
	}
	held := figure("held", "The highest load that holds so far, in what is varied: devices, or operations a second; absent while none does.")
	if a.Held > 0 {
		add(&held, a.Held)
	}
	missed := figure("missed", "The lowest load that does not hold so far, above the one that does; absent while none is known.")
	if a.Missed > 0 {
		add(&missed, a.Missed)
	}
	trials := figure("trials_total", "Trials that ended, by verdict: held, missed, undelivered (the generator did not make the load), spent (the day's messages were used up).", "verdict")
	for _, v := range []search.Verdict{search.Held, search.Missed, search.Undelivered, search.Spent} {
		n := 0
		for i := range a.Trials {
			if a.Trials[i].Verdict == v {
				n++
			}
		}
		add(&trials, float64(n), string(v))
	}
	load := figure("trial_load", "The load of a trial that ended, with what it was for, its verdict, and what kept the load from being held.", "trial", "phase", "verdict", "limit")
	rows := []struct {
		metrics.Figure
		of func(*trial.Record) float64
	}{
		{figure("trial_offered", "Operations a second that were due while the load of a trial was judged.", "trial"), func(r *trial.Record) float64 { return r.Offered }},
		{figure("trial_done", "Operations a second that ended well while the load of a trial was judged.", "trial"), func(r *trial.Record) float64 { return r.Done }},
		{figure("trial_p50_seconds", "Half of the operations of a trial took no longer, from the intended time.", "trial"), func(r *trial.Record) float64 { return r.P50 }},
		{figure("trial_p99_seconds", "One operation in a hundred of a trial took longer, from the intended time.", "trial"), func(r *trial.Record) float64 { return r.P99 }},
		{figure("trial_throttled_ratio", "Share of the operations of a trial that the target shed with 429.", "trial"), func(r *trial.Record) float64 { return r.Shed }},
		{figure("trial_failed_ratio", "Share of the operations of a trial that ended otherwise badly, or were dropped.", "trial"), func(r *trial.Record) float64 { return r.Failed }},
	}
	for i := range a.Trials {
		r := &a.Trials[i]
		number := strconv.Itoa(r.Number)
		add(&load, r.Load, number, string(r.Phase), string(r.Verdict), string(r.Limit))
		for j := range rows {
			add(&rows[j].Figure, rows[j].of(r), number)
		}
	}
	all := []metrics.Figure{end, held, missed, trials, load}
	for i := range rows {
		all = append(all, rows[i].Figure)
	}
	return all
}

// ends are all values of the label of twinfleet_capacity_end.
func ends() []search.End {
	return []search.End{
		Running, search.Found, search.AtLeast, search.Below, search.Generator, search.Exhausted, search.Unstable, search.Stopped, Changed, Unreachable, NoData,
	}
}
