package plan

import (
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
)

// Sizes, in bytes, of what is metered by size and that a scenario does not tell.
const (
	twinBytes   = 1100 // a twin with a few tags and reported properties, as devices and queries read it
	reportBytes = 60   // {"connectivity":{"type":"cellular"}} and a little more
	answerBytes = 60   // {"value":…,"ac":200,"av":2,"ad":"applied"} around a desired property
)

// setUp is what comes before the first stage.
func setUp(sc *scenario.Scenario) []Demand {
	if !sc.Target.Can().Service {
		return nil
	}
	made := 0
	for i := range sc.Fleet.Groups {
		if g := &sc.Fleet.Groups[i]; g.Identity.Made() || sc.Target.Can().InProcess {
			made += g.Count
		}
	}
	calls := float64((made + registry.MaxBulk - 1) / registry.MaxBulk)
	return []Demand{{Operation: metrics.OpProvision, Total: calls, Devices: float64(made), Bytes: -1, About: mayShed(sc)}}
}

// mayShed tells whether the target throttles, so that calls may be made again.
func mayShed(sc *scenario.Scenario) bool {
	return sc.Target.Can().Registry || sc.Target.Tier != ""
}

// reporting tells whether a group's devices report on their own.
func reporting(sc *scenario.Scenario, g *scenario.Group) bool {
	return sc.Target.Can().Twins && len(g.Report.Types) > 0
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
// first report. How many devices arrive is known; when one comes back depends on how fast the target answers.
func connections(sc *scenario.Scenario, s *span) []Demand {
	var all []Demand
	twins := sc.Target.Can().Twins
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		who := s.crowd(sc, i)
		come := who.more()
		if s.walk != nil {
			come = s.walk.of(s.number, i).connects[arrives] // by their places, of which the share is the mean
		}
		for why, c := range [causes]Demand{arrives: arriving(s, come), comesOn: churning(g, s, who), renews: renewing(sc, i, s), recovers: returning(g, s, who)} {
			c.About = cause(why) != arrives
			if s.walk != nil {
				c.Total = s.walk.of(s.number, i).connects[why]
			}
			if c.Total > 0 && c.Peak == 0 { // the means have none, but by chance there are
				c.Peak, c.PeakFor = busiest(c.Total, s.Duration)
			}
			add := func(op metrics.Operation, bytes int) {
				c.Operation, c.Group, c.Bytes = op, g.Name, bytes
				all = append(all, c)
			}
			add(metrics.OpConnect, -1)
			if twins || len(g.Subscribe.Topics) > 0 {
				add(metrics.OpSubscribe, -1)
			}
			if twins {
				add(metrics.OpTwinGet, twinBytes)
			}
			if reporting(sc, g) {
				c.Paused = s.Paused
				add(metrics.OpTwinReport, reportSize(g))
			}
		}
	}
	return all
}

// arriving are devices of a group that a stage adds.
func arriving(s *span, n float64) Demand {
	if n == 0 {
		return Demand{}
	}
	d := Demand{Total: n, PeakFor: max(s.ramp, second)}
	d.Peak, _ = busiest(n, s.ramp)
	if s.rate != nil {
		d.Peak = s.steepest * n / float64(s.to-s.from)
	}
	if !s.steady {
		d.PeakFor = second
	}
	return d
}

// churning are devices that come back from being offline.
func churning(g *scenario.Group, s *span, who crowd) Demand {
	if g.Online.IsZero() || s.Duration == 0 {
		return Demand{}
	}
	cycle := (g.Online.Mean() + g.Offline.Mean()).Seconds()
	return Demand{Total: who.mean / cycle * s.Duration.Seconds(), Peak: who.peak() / cycle, PeakFor: s.peakFor(who)}
}

// renewing are devices whose token ends. They connected as the stages before added them, and come back in the
// same order a token's life later, spread a little more.
func renewing(sc *scenario.Scenario, i int, s *span) Demand {
	t, who := sc.Fleet.Groups[i].Tokens, s.crowd(sc, i)
	period := t.Life - t.Margin - t.Spread/2
	if t.Life == 0 || period <= 0 {
		return Demand{}
	}
	if s.endless {
		return Demand{Total: who.mean * s.Duration.Seconds() / period.Seconds(), Peak: who.mean / period.Seconds(), PeakFor: s.Duration}
	}
	var d Demand
	for k := range s.all {
		before := &s.all[k]
		n := before.crowd(sc, i).more()
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
func returning(g *scenario.Group, s *span, who crowd) Demand {
	if s.Storm == nil || !s.Storm.Hits(g.Name) {
		return Demand{}
	}
	n := s.Storm.Drop * who.from
	d := Demand{Total: n}
	d.Peak, d.PeakFor = busiest(n, s.Storm.Within)
	return d
}

// periodic are operations that every device of the i-th group starts by itself, of which a walk has counted so many.
func periodic(sc *scenario.Scenario, i int, s *span, every time.Duration, sync bool, counted func(*tally) float64) Demand {
	if every == 0 {
		return Demand{}
	}
	g, who := &sc.Fleet.Groups[i], s.crowd(sc, i)
	there := present(g)
	d := Demand{Group: g.Name, Total: who.mean * there * s.Duration.Seconds() / every.Seconds(), Paused: s.Paused, About: s.walk == nil || s.unsure(g)}
	if s.walk != nil {
		d.Total = counted(s.walk.of(s.number, i))
	}
	d.Peak, d.PeakFor = who.peak()*there/every.Seconds(), s.peakFor(who)
	if sync {
		d.Peak, d.PeakFor = busiest(who.peak()*there*max(1, second.Seconds()/every.Seconds()), second)
	}
	return d
}

// rated are operations that a stage asks of the whole fleet.
func rated(r *scenario.Range, s *span) Demand {
	if r == nil {
		return Demand{}
	}
	curve := schedule.Curve{{Duration: s.Duration, From: r.From, To: r.To}}
	d := Demand{Total: float64(curve.Events(s.Duration)), Peak: max(r.From, r.To), PeakFor: s.Duration}
	if r.From != r.To {
		d.PeakFor = second
	}
	return d
}

// drawn counts operations whose times are drawn by chance.
func drawn(d Demand, s *span, times iter.Seq[time.Duration]) Demand {
	if s.Arrivals == "poisson" && d.Peak > 0 && !s.endless {
		d.Total = 0
		for range times {
			d.Total++
		}
	}
	return d
}

func reports(sc *scenario.Scenario, s *span) []Demand {
	if !sc.Target.Can().Twins {
		return nil
	}
	all := []Demand{drawn(rated(s.ReportRate, s), s, sc.Reports(s.number))}
	all[0].Bytes = reportBytes
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		if !reporting(sc, g) {
			continue
		}
		d := periodic(sc, i, s, g.Report.Every, g.Report.Sync, func(t *tally) float64 { return t.reports })
		d.Bytes = reportSize(g)
		all = append(all, d)
	}
	return of(metrics.OpTwinReport, all)
}

func telemetry(sc *scenario.Scenario, s *span) []Demand {
	all := []Demand{drawn(rated(s.TelemetryRate, s), s, sc.Messages(s.number))}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		d := periodic(sc, i, s, g.Telemetry.Every, g.Telemetry.Sync, func(t *tally) float64 { return t.messages })
		d.Bytes = rendered(g.Telemetry.Payload)
		all[0].Bytes = max(all[0].Bytes, d.Bytes)
		all = append(all, d)
	}
	return of(metrics.OpTelemetry, all)
}

// deliveries are the copies of messages that subscribers of the run get on a broker. Messages at the rate of a
// stage come from the groups in turn, as many as each has devices.
func deliveries(sc *scenario.Scenario, s *span) []Demand {
	var all []Demand
	takers, devices := sc.Rated(false), 0
	for _, name := range takers {
		devices += sc.Group(name).Count
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		n := float64(g.Telemetry.Deliveries)
		if n == 0 {
			continue
		}
		own := periodic(sc, i, s, g.Telemetry.Every, g.Telemetry.Sync, func(t *tally) float64 { return t.messages })
		asked := drawn(rated(s.TelemetryRate, s), s, sc.Messages(s.number))
		part := 0.0
		if slices.Contains(takers, g.Name) {
			part = float64(g.Count) / float64(devices)
		}
		asked.Total, asked.Peak, asked.About = asked.Total*part, asked.Peak*part, true // those that find nobody connected are not delivered
		for _, d := range []Demand{own, asked} {
			if d.Paused {
				continue // what is not sent is not delivered
			}
			d.Group, d.Bytes = g.Name, -1
			d.Total, d.Peak = d.Total*n, d.Peak*n
			all = append(all, d)
		}
	}
	return of(metrics.OpDelivery, all)
}

func of(op metrics.Operation, all []Demand) []Demand {
	for i := range all {
		all[i].Operation = op
	}
	return all
}

// queries run from the first stage to the last; the first stage also has the tags, and queries begin when all are
// set. What a query finds is not known before: at most the whole fleet.
func queries(sc *scenario.Scenario, s *span) []Demand {
	var all []Demand
	for i := range sc.Service.Queries {
		q := &sc.Service.Queries[i]
		if !during(q.Stages, s) {
			continue
		}
		d := Demand{
			Operation: metrics.OpQuery, Group: q.Name, PeakFor: s.Duration, Requests: pages(sc, q.PageSize), Bytes: sc.Devices() * twinBytes, Finds: true,
		}
		if q.Cron != nil {
			mean, peak := clockwork(q.Cron)
			d.Total, d.Peak, d.About = s.Duration.Seconds()*mean, peak, true
		} else {
			d.Total, d.Peak = due(sc.Service.QueryTimes(i), s), 1/q.Every.Seconds()
			d.About = len(sc.Service.Tags) > 0 || s.open
		}
		all = append(all, d)
	}
	if s.number > 0 || s.endless {
		return all
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		if tags := sc.Service.Tags[g.Name]; tags != nil {
			all = append(all, tagging(sc, g, tags)...)
		}
	}
	return append(all, Demand{Operation: metrics.OpStatistics, Total: serviceSide(sc), Bytes: -1})
}

// due is how often something periodic that began with the run comes in a stage.
func due(e schedule.Every, s *span) float64 {
	if s.endless {
		return s.Duration.Seconds() / e.Period.Seconds()
	}
	return float64(e.Due(s.end()-1) - e.Due(s.at-1))
}

// tagging is the calls that set tags on a group's devices: one a twin, or in bulk.
func tagging(sc *scenario.Scenario, g *scenario.Group, tags []byte) []Demand {
	d := Demand{Operation: metrics.OpTag, Group: g.Name, Total: float64(g.Count), Devices: float64(g.Count), Bytes: len(tags), About: mayShed(sc)}
	if sc.Service.TagMode == "bulk" {
		d.Total = float64((g.Count + registry.MaxBulk - 1) / registry.MaxBulk)
	}
	return []Demand{d}
}

// serviceSide is 1 for a target that has one.
func serviceSide(sc *scenario.Scenario) float64 {
	if !sc.Target.Can().Service {
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
				all = append(all, tagging(sc, g, x.Tag.Tags)...)
			}
		case x.Query != nil:
			name := x.Query.Name
			if name == "" {
				name = "step"
			}
			all = append(all, Demand{
				Operation: metrics.OpQuery, Group: name, Total: 1, Requests: pages(sc, stepPage), Bytes: sc.Devices() * twinBytes, Finds: true,
				About: x.Query.Expect >= 0 && x.Query.Within > 0, // asked again until it is as expected
			})
		case x.Desired != nil:
			if g := sc.Group(x.Desired.Group); g != nil {
				d := Demand{Operation: metrics.OpDesiredPatch, Group: g.Name, Total: float64(g.Count), Bytes: len(x.Desired.Properties)}
				all = append(all, d)
				all = append(all, told(sc, g, s, d)...)
			}
		}
	}
	return all
}

// told is what follows from desired properties that are written: those devices that are connected are told of them,
// and answer in reported if their group does.
func told(sc *scenario.Scenario, g *scenario.Group, s *span, d Demand) []Demand {
	i := slices.IndexFunc(sc.Fleet.Groups, func(x scenario.Group) bool { return x.Name == g.Name })
	part := s.crowd(sc, i).mean / float64(g.Count) * present(g)
	d.Total, d.Peak, d.About = d.Total*part, d.Peak*part, true
	notice, answer := d, d
	notice.Operation = "" // it counts for messages, and is an operation only in a rollout
	answer.Operation, answer.Bytes = metrics.OpTwinReport, d.Bytes+answerBytes
	if !g.Answer {
		return []Demand{notice}
	}
	return []Demand{notice, answer}
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
