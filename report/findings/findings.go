// Package findings puts into lines what a reader of a run should know beside its figures: what became of rollouts and jobs, whether
// queries found what they should, which outages there were, and which agents of a run on many machines were in trouble.
package findings

import (
	"fmt"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Finding is a line about the service side of a run, or about its agents.
type Finding struct {
	Mark Mark   // whether it is good news
	Text string // one line
	Wave bool   // it is about a wave of a rollout; reports with room have a table of them

	Agent bool // it is about agents of the run; likewise
}

// Mark says what a finding means.
type Mark string

// The marks.
const (
	Good Mark = "good" // as it should be
	Warn Mark = "warn" // a reader must know it; the run did not fail by it
	Bad  Mark = "bad"  // the run failed by it
	None Mark = ""     // neither
)

func goodIf(ok bool, otherwise Mark) Mark {
	if ok {
		return Good
	}
	return otherwise
}

// Of says which agents were in trouble, what became of rollouts and jobs, which errors the worker met, how fresh the results
// of queries were and whether they were right.
func Of(r *report.Run) []Finding {
	var all []Finding
	add := func(m Mark, format string, a ...any) {
		all = append(all, Finding{Mark: m, Text: fmt.Sprintf(format, a...)})
	}
	all = append(all, Agents(r)...)
	for i := range r.Provisioned {
		p := &r.Provisioned[i]
		add(goodIf(p.Whole(), Warn), "%s", provisioned(r, p))
	}
	for _, x := range r.Reach {
		if x.Inherited > 0 {
			add(Warn, "%s: the broker had sessions of %s that are none of this run, and were ended first", x.Group, human.Number(x.Inherited, "device"))
		}
	}
	if r.Deliveries != nil {
		deliveries(r.Deliveries, add)
	}
	if r.SessionsLeft > 0 {
		add(Warn, "%s left at the broker, which keeps subscriptions and messages for devices that are gone; run the scenario once more to the end, or delete them there",
			were(r.SessionsLeft, "session"))
	}
	for _, w := range r.Waves {
		bad := Warn
		if w.Stopped {
			bad = Bad
		}
		add(goodIf(w.Failed == 0, bad), "rollout %s, %s", w.Rollout, w)
		all[len(all)-1].Wave = true
	}
	for _, c := range r.Configured {
		add(goodIf(c.Missed == "", Bad), "rollout %s by configuration: %s", c.Rollout, c)
		if c.Left != "" {
			add(Warn, "rollout %s: %s", c.Rollout, c.Left)
		}
	}
	for _, j := range r.Jobs {
		text := fmt.Sprintf("job %s %s after %s", j.Name, j, human.Duration(j.Took))
		if j.Status == "" {
			text = fmt.Sprintf("job %s was not made in %s", j.Name, human.Duration(j.Took))
		}
		if j.Error != "" {
			text += ": " + j.Error
		}
		add(goodIf(j.Error == "", Bad), "%s", text)
	}
	for _, x := range r.ServiceErrors {
		add(Warn, "%s: %s × %s", x.Task, human.Count(x.Count), x.Code)
	}
	for _, q := range r.Totals.Queries {
		if n := q.Met + q.Unmet; n > 0 {
			add(goodIf(q.Unmet == 0, Warn), "query %s had the expected size in %s of %s", q.Query, human.Count(q.Met), human.Number(n, "result"))
		}
	}
	if r.Freshness != nil {
		freshness(r, add)
	}
	return all
}

// were is a number of things of which something was so.
func were(n int, one string) string {
	if n == 1 {
		return "1 " + one + " was"
	}
	return human.Number(n, one) + " were"
}

// provisioned says what became of a group's registrations.
func provisioned(r *report.Run, p *report.Provisioned) string {
	text := fmt.Sprintf("%s: %s of %s assigned to a hub, %s connected to it", p.Group, human.Count(p.Assigned), human.Number(p.Devices, "device"),
		human.Count(p.Connected))
	polls, throttled := uint64(0), uint64(0)
	for _, op := range []metrics.Operation{metrics.OpDPSPut, metrics.OpDPSGet} {
		if x := r.Totals.Find(op, p.Group); x != nil {
			throttled += x.Count(metrics.Throttled)
			if op == metrics.OpDPSGet {
				polls = x.Started()
			}
		}
	}
	text += "; " + human.Number(int(polls), "poll")
	if throttled > 0 {
		text += fmt.Sprintf(", %s thrown back with 429", human.Number(int(throttled), "request"))
	}
	if p.Repeated > 0 {
		text += fmt.Sprintf(", %s because the hub refused the identity", human.Number(p.Repeated, "further registration"))
	}
	return text
}

// freshness adds what the audit found.
func freshness(r *report.Run, add func(m Mark, format string, a ...any)) {
	f, share := r.Freshness, 100.0
	if f.Devices > 0 {
		share = 100 * float64(f.Sampled) / float64(f.Devices)
	}
	sample := fmt.Sprintf("sampled %s of %s (%.3g %%)", human.Count(f.Sampled), human.Number(f.Devices, "device"), share)
	if f.Probe > 0 {
		sample += ", probed every " + human.Duration(f.Probe)
	}
	if x := r.Totals.Select(metrics.OpFreshness, ""); x == nil || x.Ended() == 0 {
		add(Warn, "freshness: no report was seen in a query; %s", sample)
	} else {
		h := x.Latency(false)
		add(None, "freshness p50 %s p95 %s p99 %s max %s; %s", human.Duration(h.Quantile(0.5)), human.Duration(h.Quantile(0.95)),
			human.Duration(h.Quantile(0.99)), human.Duration(h.Maximum()), sample)
		if late := x.Count(metrics.Timeout); late > 0 {
			add(Warn, "%s not shown in time; counted with the time-out", were(int(late), "report"))
		}
	}
	if f.Unseen > 0 {
		add(Warn, "%s not shown before the run ended", were(f.Unseen, "acknowledged report"))
	}
	for _, q := range r.Totals.Queries {
		if c := q.Rows; c != (metrics.RowCounts{}) {
			add(goodIf(c.Missing+c.Extra+c.Stale == 0, Warn), "query %s rows: %s ok, %s missing, %s extra, %s stale; %s in change, not judged", q.Query,
				human.Count(c.OK), human.Count(c.Missing), human.Count(c.Extra), human.Count(c.Stale), human.Count(c.Unjudged))
		}
	}
	for _, u := range f.Unchecked {
		add(None, "query %s rows: not checked, for %s", u.Query, u.Why)
	}
	if v := f.Verified; v != nil {
		add(goodIf(v.Held == v.Devices && v.Missing == 0, Bad), "acknowledged reports: %s", v)
	}
}
