// Package service is what the service side of a scenario asks of its target.
package service

import (
	"math"
	"time"

	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/cron"
)

// Contributors are the parts of the service side.
func Contributors() []demand.Contributor {
	return []demand.Contributor{queries, steps, serviceLoads, rollouts, jobs, freshness}
}

// clockwork is how often a cron expression comes true, a second: the mean over a week, and the most by the
// shortest time between two.
func clockwork(c *cron.Expression) (mean, peak float64) {
	const week = 7 * 24 * time.Hour
	from := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC) // a Monday
	n, shortest := 0, week
	var first, last time.Time
	for at := c.After(from.Add(-time.Nanosecond)); !at.IsZero() && at.Before(from.Add(week)) && n < 10_000; at = c.After(at) {
		if n++; n > 1 {
			shortest = min(shortest, at.Sub(last))
		} else {
			first = at
		}
		last = at
	}
	switch n {
	case 0, 1:
		return float64(n) / week.Seconds(), float64(n) / week.Seconds()
	case 10_000: // so often that a part of the week tells
		return float64(n-1) / last.Sub(first).Seconds(), 1 / shortest.Seconds()
	}
	return float64(n) / week.Seconds(), 1 / shortest.Seconds()
}

// ratedService is what a rate of the service side asks for in a stage: it changes over each of the stages that are
// named, or over the whole run, after which it stays.
func ratedService(r *scenario.Range, stages []string, s *demand.Part) demand.Demand {
	if r == nil || !demand.During(stages, s) {
		return demand.Demand{}
	}
	if len(stages) > 0 {
		return demand.Rated(r, s)
	}
	whole := span.EndOf(s.All)
	if s.Endless || whole == 0 {
		return demand.Rated(r.Last(), s)
	}
	curve := schedule.Curve{{Duration: whole, From: r.From, To: r.To}}
	d := demand.Rated(&scenario.Range{From: curve.At(s.At), To: curve.At(s.End())}, s)
	d.Total, d.About = float64(curve.Events(s.End())-curve.Events(s.At)), s.Open
	return d
}

// serviceLoads are direct methods and twin reads.
func serviceLoads(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	var all []demand.Demand
	for i := range sc.Service.Methods {
		m := &sc.Service.Methods[i]
		d := ratedService(m.Rate, m.Stages, s)
		d.Operation, d.Group, d.Bytes, d.Copies = metrics.OpMethod, m.Name, len(m.Payload), 2 // request and answer
		all = append(all, d)
	}
	for i := range sc.Service.TwinReads {
		t := &sc.Service.TwinReads[i]
		d := ratedService(t.Rate, t.Stages, s)
		d.Operation, d.Group, d.Bytes = metrics.OpTwinRead, t.Group, demand.TwinBytes
		all = append(all, d)
	}
	return all
}

// rollouts write desired properties wave by wave; each device is told, and answers if its group does.
func rollouts(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	var all []demand.Demand
	for i := range sc.Service.Rollouts {
		x := &sc.Service.Rollouts[i]
		g := sc.Group(x.Group)
		if x.By == scenario.ByConfiguration { // as fast as the default of a rollout by the worker
			byHand := *x
			byHand.Rate, byHand.Waves = &scenario.Range{From: 100, To: 100}, []scenario.Wave{{Percent: 100}}
			x = &byHand
		}
		if g == nil || x.Rate == nil || x.Rate.To <= 0 || s.Endless {
			continue
		}
		var d demand.Demand // of all waves that the stage has a part of: one comes after the other
		at, before := span.StartIn(s.All, x.Stage, x.At), 0.0
		for _, w := range x.Waves {
			n := math.Ceil(float64(g.Count*w.Percent)/100) - before
			part := overlap(at, n, x.Rate.To, s)
			d.Total += part.Total
			d.Peak, d.PeakFor = max(d.Peak, part.Peak), max(d.PeakFor, part.PeakFor)
			before += n
			at += max(w.For, time.Duration(max(0, n-0.5)/x.Rate.To*float64(time.Second))) // the last is written by then
		}
		d.Group, d.Bytes, d.About = g.Name, len(x.Properties), s.Open
		for _, op := range []metrics.Operation{metrics.OpDesiredPatch, metrics.OpDesired, metrics.OpDesiredReply} {
			if op == metrics.OpDesiredReply && !g.Answer || op == metrics.OpDesiredPatch && x.By == scenario.ByConfiguration {
				continue
			}
			d.Operation = op
			all = append(all, d)
			d.Bytes = -1 // what follows from the write is metered as such
		}
		all = append(all, told(sc, g, s, demand.Demand{Group: g.Name, Total: d.Total, Peak: d.Peak, PeakFor: d.PeakFor, Bytes: len(x.Properties)})...)
	}
	return all
}

// overlap is the part that a stage has of n operations that come at a rate from a time on.
func overlap(at time.Duration, n, rate float64, s *demand.Part) demand.Demand {
	curve := schedule.Curve{{Duration: time.Duration(n / rate * float64(time.Second)), From: rate, To: rate}}
	from, to := max(at, s.At), min(at+curve.Total(), s.End())
	if to <= from {
		return demand.Demand{}
	}
	before := func(t time.Duration) float64 {
		if t >= at+curve.Total() {
			return n
		}
		return float64(curve.Events(t - at))
	}
	return demand.Demand{Total: before(to) - before(from), Peak: min(rate, n), PeakFor: to - from}
}

// jobs are created once; what they do to devices the hub does at its own pace, and meters as if each device had been
// written to alone.
func jobs(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	var all []demand.Demand
	for i := range sc.Service.Jobs {
		x := &sc.Service.Jobs[i]
		at := span.StartIn(s.All, x.Stage, x.At)
		if at < s.At || at >= s.End() || s.Endless {
			continue
		}
		d := demand.Demand{Group: x.Name, Total: float64(sc.Devices()), Bytes: len(x.Tags) + len(x.Desired), About: true, Finds: true}
		if x.Method != nil {
			d.Bytes, d.Copies = len(x.Method.Payload), 2
		}
		all = append(all, demand.Demand{Operation: metrics.OpJob, Group: x.Name, Total: 1, Bytes: -1}, d)
	}
	return all
}

// How many devices a probing query names: as many as fit into the length that a query may have
// (iot-hub-devguide-query-language).
const (
	longestQuery = 8192
	probeHead    = 90
	probePage    = 1000 // of a query that the scenario gives
	probeRow     = 60   // bytes that are metered, of one device in the result of a probe
)

// freshness are the probing queries of the audit.
func freshness(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	f := sc.Service.Freshness
	if f == nil {
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
	var all []demand.Demand
	if f.Probe > 0 {
		times := due(schedule.Every{Period: f.Probe}, s)
		d := demand.Demand{
			Operation: metrics.OpQuery, Group: "freshness-probe", Total: queries * times, Peak: queries / f.Probe.Seconds(), PeakFor: s.Duration,
			Bytes: min(watched, perQuery) * probeRow, About: true, // it asks on until the last report was seen
		}
		if f.Query != "" {
			d.Total, d.Peak = times, 1/f.Probe.Seconds()
			d.Requests, d.Finds = pages(sc, probePage), true
			d.Bytes, d.Page = sc.Devices()*demand.TwinBytes, probePage*demand.TwinBytes
		}
		all = append(all, d)
	}
	if f.Verify && s.Number == len(s.All)-1 && !s.Endless {
		all = append(all, demand.Demand{Operation: metrics.OpTwinRead, Group: "freshness-verify", Total: float64(watched), Bytes: demand.TwinBytes, About: true})
	}
	return all
}
