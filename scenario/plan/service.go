package plan

import (
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/schedule"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// during reports whether something that is bound to stages goes on in one; without names it always does.
func during(stages []string, s *span) bool {
	return len(stages) == 0 || slices.Contains(stages, s.Name)
}

// clockwork is how often a cron expression comes true, a second: the mean over a week, and the most by the
// shortest time between two.
func clockwork(c *schedule.Cron) (mean, peak float64) {
	const week = 7 * 24 * time.Hour
	from := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC) // a Monday
	n, shortest, last := 0, week, time.Time{}
	for at := c.After(from.Add(-time.Nanosecond)); !at.IsZero() && at.Before(from.Add(week)) && n < 10_000; at = c.After(at) {
		if n++; n > 1 {
			shortest = min(shortest, at.Sub(last))
		}
		last = at
	}
	switch n {
	case 0, 1:
		return float64(n) / week.Seconds(), float64(n) / week.Seconds()
	case 10_000: // so often that a part of the week tells
		return float64(n) / last.Sub(from).Seconds(), 1 / shortest.Seconds()
	}
	return float64(n) / week.Seconds(), 1 / shortest.Seconds()
}

// ratedService is what a rate of the service side asks for in a stage: it changes over each of the stages that are
// named, or over the whole run.
func ratedService(sc *scenario.Scenario, r *scenario.Range, stages []string, s *span) Demand {
	if r == nil || !during(stages, s) {
		return Demand{}
	}
	if len(stages) > 0 || r.From == r.To {
		return rated(r, s)
	}
	var whole time.Duration
	for _, x := range spansOf(sc) {
		whole += x.Duration
	}
	at := func(t time.Duration) float64 {
		return r.From + (r.To-r.From)*t.Seconds()/max(whole.Seconds(), 1e-9)
	}
	return rated(&scenario.Range{From: at(s.at), To: at(s.at + s.Duration)}, s)
}

// serviceLoads are direct methods and twin reads.
func serviceLoads(sc *scenario.Scenario, s *span) []Demand {
	var all []Demand
	for i := range sc.Service.Methods {
		m := &sc.Service.Methods[i]
		d := ratedService(sc, m.Rate, m.Stages, s)
		d.Operation, d.Group, d.Bytes, d.Copies = metrics.OpMethod, m.Name, len(m.Payload), 2 // request and answer
		all = append(all, d)
	}
	for i := range sc.Service.TwinReads {
		t := &sc.Service.TwinReads[i]
		d := ratedService(sc, t.Rate, t.Stages, s)
		d.Operation, d.Group, d.Bytes = metrics.OpTwinRead, t.Group, twinBytes
		all = append(all, d)
	}
	return all
}

// startOf is when something begins that is told after the start of a stage; the first when it has no name.
func startOf(sc *scenario.Scenario, stage string, after time.Duration) time.Duration {
	for _, x := range spansOf(sc) {
		if stage == "" || x.Name == stage {
			return x.at + after
		}
	}
	return after
}

// rollouts write desired properties wave by wave; each device is told, and answers if its group does.
func rollouts(sc *scenario.Scenario, s *span) []Demand {
	var all []Demand
	for i := range sc.Service.Rollouts {
		x := &sc.Service.Rollouts[i]
		g := sc.Group(x.Group)
		if g == nil || x.Rate == nil || x.Rate.To <= 0 {
			continue
		}
		var d Demand // of all waves that the stage has a part of: one comes after the other
		at, before := startOf(sc, x.Stage, x.At), 0.0
		for _, w := range x.Waves {
			n := math.Ceil(float64(g.Count*w.Percent)/100) - before
			takes := time.Duration(n / x.Rate.To * float64(time.Second))
			part := overlap(at, takes, n, x.Rate.To, s)
			d.Total += part.Total
			d.Peak, d.PeakFor = max(d.Peak, part.Peak), max(d.PeakFor, part.PeakFor)
			before += n
			at += max(w.For, takes)
		}
		for _, op := range []metrics.Operation{metrics.OpDesiredPatch, metrics.OpDesired, metrics.OpDesiredReply} {
			if op == metrics.OpDesiredReply && !g.Answer {
				continue
			}
			d.Operation, d.Group, d.Bytes = op, g.Name, len(x.Properties)
			all = append(all, d)
		}
	}
	return all
}

// overlap is the part that a stage has of operations that come evenly from a time on.
func overlap(at, takes time.Duration, n, rate float64, s *span) Demand {
	from, to := max(at, s.at), min(at+takes, s.at+s.Duration)
	if to <= from || takes <= 0 {
		return Demand{}
	}
	return Demand{Total: n * float64(to-from) / float64(takes), Peak: min(rate, n), PeakFor: to - from}
}

// jobs are created once; what they do to devices the hub does at its own pace.
func jobs(sc *scenario.Scenario, s *span) []Demand {
	var all []Demand
	for i := range sc.Service.Jobs {
		x := &sc.Service.Jobs[i]
		at := startOf(sc, x.Stage, x.At)
		if at < s.at || at >= s.at+s.Duration {
			continue
		}
		all = append(all, Demand{Operation: metrics.OpJob, Group: x.Name, Total: 1, Bytes: -1})
	}
	return all
}

// How many devices a probing query names: as many as fit into the length that a query may have
// (iot-hub-devguide-query-language).
const (
	longestQuery = 8192
	probeHead    = 90
	probeRow     = 60 // bytes that are metered, of one device in the result of a probe
)

// freshness are the probing queries of the audit.
func freshness(sc *scenario.Scenario, s *span) []Demand {
	f := sc.Service.Freshness
	if f == nil || f.Probe == 0 || s.Duration == 0 {
		return nil
	}
	watched, id := 0, 0
	for i := range sc.Fleet.Groups {
		if g := &sc.Fleet.Groups[i]; len(g.Report.Types) > 0 {
			watched += g.Count
			id = max(id, len(g.DeviceID(0)))
		}
	}
	watched = min(watched, f.Sample)
	perQuery := max(1, (longestQuery-probeHead)/(id+3))
	queries := float64((watched + perQuery - 1) / perQuery)
	d := Demand{
		Operation: metrics.OpQuery, Group: "freshness-probe", Total: queries * s.Duration.Seconds() / f.Probe.Seconds(),
		Peak: queries / f.Probe.Seconds(), PeakFor: s.Duration, Bytes: min(watched, perQuery) * probeRow,
	}
	if f.Query != "" {
		d.Total, d.Peak = s.Duration.Seconds()/f.Probe.Seconds(), 1/f.Probe.Seconds()
		d.Requests, d.Bytes = pages(sc, 1000), sc.Devices()*twinBytes
	}
	return []Demand{d}
}
