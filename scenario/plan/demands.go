package plan

import (
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// Sizes, in bytes, of what is metered by size and that a scenario does not tell.
const (
	twinBytes   = 1100 // a twin with a few tags and reported properties, as devices and queries read it
	reportBytes = 60   // {"connectivity":{"type":"cellular"}} and a little more
)

// setUp is what comes before the first stage.
func setUp(sc *scenario.Scenario) []Demand {
	if sc.Target.Kind == scenario.Broker {
		return nil
	}
	made := 0
	for i := range sc.Fleet.Groups {
		if g := &sc.Fleet.Groups[i]; g.Identity.Made() || sc.Target.Kind == scenario.Embedded {
			made += g.Count
		}
	}
	return []Demand{{Operation: metrics.OpProvision, Total: float64(made), Bytes: -1}}
}

// share is the part of the fleet that a group is: devices start in random order.
func share(sc *scenario.Scenario, g *scenario.Group) float64 {
	return float64(g.Count) / float64(sc.Devices())
}

// present is the share of its time that a group's active device is connected.
func present(g *scenario.Group) float64 {
	if g.Online.IsZero() {
		return 1
	}
	on, off := g.Online.Mean().Seconds(), g.Offline.Mean().Seconds()
	return on / (on + off)
}

// connections are the connects of a stage, and what every connection brings: subscriptions, the twin, the
// first report.
func connections(sc *scenario.Scenario, s *span) []Demand {
	var all []Demand
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		part := share(sc, g)
		for _, c := range []Demand{arriving(s), churning(g, s), renewing(sc, g, s), returning(s)} {
			c.Total *= part
			c.Peak *= part
			if c.Total == 0 {
				continue
			}
			add := func(op metrics.Operation, bytes int) {
				c.Operation, c.Group, c.Bytes = op, g.Name, bytes
				all = append(all, c)
			}
			add(metrics.OpConnect, -1)
			if sc.Target.Kind == scenario.Broker {
				continue
			}
			add(metrics.OpSubscribe, -1)
			add(metrics.OpTwinGet, twinBytes)
			if len(g.Report.Types) > 0 && !s.Paused {
				add(metrics.OpTwinReport, reportSize(g))
			}
		}
	}
	return all
}

// arriving are devices that a stage adds.
func arriving(s *span) Demand {
	n := float64(max(0, s.to-s.from))
	if n == 0 {
		return Demand{}
	}
	d := Demand{Total: n, Peak: s.steepest, PeakFor: max(s.ramp, second)}
	if !s.steady {
		d.PeakFor = second
	}
	return d
}

// churning are devices that come back from being offline.
func churning(g *scenario.Group, s *span) Demand {
	if g.Online.IsZero() || s.Duration == 0 {
		return Demand{}
	}
	cycle := (g.Online.Mean() + g.Offline.Mean()).Seconds()
	return Demand{Total: s.mean / cycle * s.Duration.Seconds(), Peak: float64(s.peak()) / cycle, PeakFor: s.peakFor()}
}

// renewing are devices whose token ends. They connected as the stages before added them, and come back in the
// same order a token's life later, spread a little more.
func renewing(sc *scenario.Scenario, g *scenario.Group, s *span) Demand {
	t := g.Tokens
	period := t.Life - t.Margin - t.Spread/2
	if t.Life == 0 || period <= 0 {
		return Demand{}
	}
	var d Demand
	for _, before := range spansOf(sc) {
		n := float64(max(0, before.to-before.from))
		if n == 0 || before.number > s.number {
			continue
		}
		over := max(before.ramp+t.Spread, second)
		for due := before.at + t.Life - t.Margin - t.Spread; due < s.at+s.Duration; due += period {
			from, to := max(due, s.at), min(due+over, s.at+s.Duration)
			if to <= from {
				continue
			}
			d.Total += n * float64(to-from) / float64(over)
			if rate := n / over.Seconds(); rate > d.Peak {
				d.Peak, d.PeakFor = rate, over
			}
		}
	}
	return d
}

// returning are devices whose connection a storm cut.
func returning(s *span) Demand {
	if s.Storm == nil {
		return Demand{}
	}
	n := s.Storm.Drop * float64(s.from)
	d := Demand{Total: n}
	d.Peak, d.PeakFor = busiest(n, s.Storm.Within)
	return d
}

// periodic are operations that every device starts by itself.
func periodic(g *scenario.Group, s *span, part float64, every time.Duration, sync bool) Demand {
	if every == 0 || s.Duration == 0 || s.Paused {
		return Demand{}
	}
	active := part * present(g)
	d := Demand{
		Group: g.Name, Total: s.mean * active * s.Duration.Seconds() / every.Seconds(),
		Peak: float64(s.peak()) * active / every.Seconds(), PeakFor: s.peakFor(),
	}
	if sync {
		d.Peak, d.PeakFor = busiest(float64(s.peak())*active*max(1, second.Seconds()/every.Seconds()), second)
	}
	return d
}

// rated are operations that a stage asks of the whole fleet.
func rated(r *scenario.Range, s *span) Demand {
	if r == nil {
		return Demand{}
	}
	d := Demand{Total: (r.From + r.To) / 2 * s.Duration.Seconds(), Peak: max(r.From, r.To), PeakFor: s.Duration}
	if r.From != r.To {
		d.PeakFor = second
	}
	return d
}

// drawn counts operations whose times are drawn by chance.
func drawn(d Demand, s *span, times iter.Seq[time.Duration]) Demand {
	if s.Arrivals == "poisson" && d.Total > 0 {
		d.Total = 0
		for range times {
			d.Total++
		}
	}
	return d
}

func reports(sc *scenario.Scenario, s *span) []Demand {
	if sc.Target.Kind == scenario.Broker {
		return nil
	}
	all := []Demand{drawn(rated(s.ReportRate, s), s, sc.Reports(s.number))}
	all[0].Bytes = reportBytes
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		d := periodic(g, s, share(sc, g), g.Report.Every, g.Report.Sync)
		d.Bytes = reportSize(g)
		all = append(all, d)
	}
	return of(metrics.OpTwinReport, all)
}

func telemetry(sc *scenario.Scenario, s *span) []Demand {
	all := []Demand{drawn(rated(s.TelemetryRate, s), s, sc.Messages(s.number))}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		d := periodic(g, s, share(sc, g), g.Telemetry.Every, g.Telemetry.Sync)
		d.Bytes = rendered(g.Telemetry.Payload)
		all[0].Bytes = max(all[0].Bytes, d.Bytes)
		all = append(all, d)
	}
	return of(metrics.OpTelemetry, all)
}

func of(op metrics.Operation, all []Demand) []Demand {
	for i := range all {
		all[i].Operation = op
	}
	return all
}

// queries run from the first stage to the last; the first stage also has the tags. What a query finds is not
// known before: at most the whole fleet.
func queries(sc *scenario.Scenario, s *span) []Demand {
	var all []Demand
	for i := range sc.Service.Queries {
		q := &sc.Service.Queries[i]
		if !during(q.Stages, s) {
			continue
		}
		mean, peak := 0.0, 0.0
		if q.Cron != nil {
			mean, peak = clockwork(q.Cron)
		} else if q.Every > 0 {
			mean = 1 / q.Every.Seconds()
			peak = mean
		}
		all = append(all, Demand{
			Operation: metrics.OpQuery, Group: q.Name, Total: s.Duration.Seconds() * mean, Peak: peak, PeakFor: s.Duration,
			Requests: pages(sc, q.PageSize), Bytes: sc.Devices() * twinBytes,
		})
	}
	if s.number > 0 {
		return all
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		if tags := sc.Service.Tags[g.Name]; tags != nil {
			all = append(all, Demand{Operation: metrics.OpTag, Group: g.Name, Total: float64(g.Count), Bytes: len(tags)})
		}
	}
	return append(all, Demand{Operation: metrics.OpStatistics, Total: serviceSide(sc), Bytes: -1})
}

// serviceSide is 1 for a target that has one.
func serviceSide(sc *scenario.Scenario) float64 {
	if sc.Target.Kind == scenario.Broker {
		return 0
	}
	return 1
}

func pages(sc *scenario.Scenario, size int) float64 {
	return math.Ceil(float64(sc.Devices()) / float64(max(1, size)))
}

// stepPage is the page size of queries that are steps.
const stepPage = 100

// steps are what the service side does once.
func steps(sc *scenario.Scenario, s *span) []Demand {
	var all []Demand
	for _, x := range s.Steps {
		switch {
		case x.Statistics != nil:
			all = append(all, Demand{Operation: metrics.OpStatistics, Total: 1, Bytes: -1})
		case x.Tag != nil:
			if g := sc.Group(x.Tag.Group); g != nil {
				all = append(all, Demand{Operation: metrics.OpTag, Group: g.Name, Total: float64(g.Count), Bytes: len(x.Tag.Tags)})
			}
		case x.Query != nil:
			all = append(all, Demand{Operation: metrics.OpQuery, Group: "step", Total: 1, Requests: pages(sc, stepPage), Bytes: sc.Devices() * twinBytes})
		case x.Desired != nil:
			if g := sc.Group(x.Desired.Group); g != nil {
				all = append(all, Demand{Operation: metrics.OpDesiredPatch, Group: g.Name, Total: float64(g.Count), Bytes: len(x.Desired.Properties)})
			}
		}
	}
	return all
}

// rendered is the size of a message made from a template.
func rendered(t *payload.Template) int {
	if t == nil {
		return len("{}")
	}
	return len(t.Append(nil, &payload.Context{Device: "device-000000", Seq: 1000, Now: time.Unix(0, 0).UTC(), Rand: rand.New(rand.NewPCG(1, 1))}))
}

func reportSize(g *scenario.Group) int {
	if g.Report.Properties == nil {
		return reportBytes
	}
	return reportBytes + rendered(g.Report.Properties)
}
