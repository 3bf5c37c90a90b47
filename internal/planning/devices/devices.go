// Package devices is what the devices of a scenario ask of its target.
package devices

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/internal/planning/walk"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// Contributors are the parts that devices have.
func Contributors() []demand.Contributor {
	return []demand.Contributor{registrations, connections, reports, telemetry, deliveries, requests}
}

// Sizes, in bytes, of what is metered by size and that a scenario does not tell.
const (
	reportBytes = 60 // {"connectivity":{"type":"cellular"}} and a little more
)

// connections are the connects of a stage, and what every connection brings: subscriptions, the twin, the
// first report. How many devices arrive is known; when one comes back depends on how fast the target answers.
func connections(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	var all []demand.Demand
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		twins := sc.Target.Can().Twins && g.Over().Twins()
		who := s.CrowdOf(sc, i)
		come := who.More()
		if s.Walk != nil {
			come = s.Walk.At(s.Number, i).Connects[walk.Arrives] // by their places, of which the share is the mean
		}
		for why, c := range [walk.Causes]demand.Demand{
			walk.Arrives: arriving(s, come), walk.ComesOn: churning(g, s, who), walk.Renews: renewing(sc, i, s),
			walk.Recovers: returning(g, s, who),
		} {
			c.About = walk.Cause(why) != walk.Arrives
			if s.Walk != nil {
				c.Total = s.Walk.At(s.Number, i).Connects[why]
			}
			if c.Total > 0 && c.Peak == 0 { // the means have none, but by chance there are
				c.Peak, c.PeakFor = span.Busiest(c.Total, s.Duration)
			}
			add := func(op metrics.Operation, bytes int) {
				c.Operation, c.Group, c.Bytes = op, g.Name, bytes
				all = append(all, c)
			}
			if walk.Cause(why) == walk.Renews && g.Renews() { // the connection goes on
				if s.Walk != nil {
					c.Total = s.Walk.At(s.Number, i).Renewals
				}
				add(metrics.OpRenew, -1)
				continue
			}
			c.Free = g.Over() == target.HTTPS // which has no connections in the sense of a hub
			add(metrics.OpConnect, -1)
			c.Free = false
			switch {
			case twins || !g.Kept && (g.Listens() || g.Requests()):
				add(metrics.OpSubscribe, -1)
			case walk.Cause(why) == walk.Arrives && (g.Listens() || g.Requests()):
				all = append(all, first(sc, i, s))
			}
			if twins {
				add(metrics.OpTwinGet, demand.TwinBytes)
			}
			if walk.Reporting(sc, g) {
				c.Paused = s.Paused
				add(metrics.OpTwinReport, reportSize(g))
			}
		}
	}
	return all
}

// first are the subscriptions of devices of the i-th group whose sessions are kept: later connections find them as they were.
func first(sc *scenario.Scenario, i int, s *demand.Part) demand.Demand {
	d := newcomers(sc, i, s)
	d.Operation, d.Group, d.Bytes = metrics.OpSubscribe, sc.Fleet.Groups[i].Name, -1
	d.About = sc.Fleet.Groups[i].Expiry > 0 // some may have come to an end
	return d
}

// newcomers are devices of the i-th group that a stage starts for the first time.
func newcomers(sc *scenario.Scenario, i int, s *demand.Part) demand.Demand {
	if s.Endless {
		return demand.Demand{}
	}
	n := max(0, s.CrowdOf(sc, i).Peak()-before(sc, s, i))
	if s.Walk != nil {
		n = s.Walk.At(s.Number, i).Firsts
	}
	return arriving(s, n)
}

// registrations are what devices ask of a provisioning service before they connect for the first time: what a service that answers as
// it should is asked. One that sheds registrations, or takes long, is asked more often.
func registrations(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	var all []demand.Demand
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		if g.Identity.DPS == nil || s.Endless {
			continue
		}
		d := newcomers(sc, i, s)
		d.Group, d.Bytes = g.Name, -1
		for _, op := range []metrics.Operation{metrics.OpDPSRegister, metrics.OpDPSConnect, metrics.OpDPSPut, metrics.OpDPSGet} {
			d.Operation, d.About = op, op != metrics.OpDPSRegister
			all = append(all, d)
		}
	}
	return all
}

// before is how many devices of the i-th group there ever were before a stage.
func before(sc *scenario.Scenario, s *demand.Part, i int) (most float64) {
	for k := range s.All {
		if s.All[k].Number < s.Number {
			most = max(most, s.All[k].CrowdOf(sc, i).Peak())
		}
	}
	return most
}

// arriving are devices of a group that a stage adds.
func arriving(s *demand.Part, n float64) demand.Demand {
	if n == 0 {
		return demand.Demand{}
	}
	d := demand.Demand{Total: n, PeakFor: max(s.Ramp, span.Second)}
	d.Peak, _ = span.Busiest(n, s.Ramp)
	switch {
	case s.Course != nil:
		climbed := max(0, s.Course.At(0)-float64(s.From))
		d.Peak = s.Steepest * n / max(s.Come, 1e-9)
		d.PeakFor = span.Busy(s.Course, func(at time.Duration) float64 { return (climbed + s.Course.Climb(0, at)) * n / max(s.Come, 1e-9) }, d.Peak)
		return d
	case s.Rate != nil:
		d.Peak = s.Steepest * n / float64(s.To-s.From)
	}
	switch {
	case s.Steady:
	case s.ConnectRate.Shape != nil:
		d.PeakFor = span.Busy(s.Rate, func(at time.Duration) float64 {
			return min(s.Rate.Integral(at), float64(s.To-s.From)) * n / float64(s.To-s.From)
		}, d.Peak)
	default:
		d.PeakFor, d.Rises = span.Second, true
	}
	return d
}

// churning are devices that come back from being offline.
func churning(g *scenario.Group, s *demand.Part, who span.Crowd) demand.Demand {
	if g.Online.IsZero() || s.Duration == 0 {
		return demand.Demand{}
	}
	cycle := (g.Online.Mean() + g.Offline.Mean()).Seconds()
	return demand.Demand{Total: who.Mean / cycle * s.Duration.Seconds(), Peak: who.Peak() / cycle, PeakFor: s.PeakFor(who), Rises: s.Rises(who)}
}

// renewing are devices whose token ends. They connected as the stages before added them, and come back in the
// same order a token's life later, spread a little more.
func renewing(sc *scenario.Scenario, i int, s *demand.Part) demand.Demand {
	g, who := &sc.Fleet.Groups[i], s.CrowdOf(sc, i)
	t := g.Tokens
	period := t.Life - t.Margin - t.Spread/2
	if !g.Reconnects() && !g.Renews() || period <= 0 {
		return demand.Demand{}
	}
	if s.Endless {
		return demand.Demand{Total: who.Mean * s.Duration.Seconds() / period.Seconds(), Peak: who.Mean / period.Seconds(), PeakFor: s.Duration}
	}
	var d demand.Demand
	for k := range s.All {
		before := &s.All[k]
		n := before.CrowdOf(sc, i).More()
		if n == 0 || before.Number > s.Number {
			continue
		}
		over := max(before.Ramp+t.Spread, span.Second)
		for due := before.At + t.Life - t.Margin - t.Spread; due < s.At+s.Duration; due += period {
			from, to := max(due, s.At), min(due+over, s.At+s.Duration)
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
func returning(g *scenario.Group, s *demand.Part, who span.Crowd) demand.Demand {
	if s.Storm == nil || !s.Storm.Hits(g.Name) {
		return demand.Demand{}
	}
	n := s.Storm.Drop * who.From
	d := demand.Demand{Total: n}
	d.Peak, d.PeakFor = span.Busiest(n, s.Storm.Within)
	return d
}

// periodic are operations that every device of the i-th group starts on its own, of which a walk has counted so many.
func periodic(sc *scenario.Scenario, i int, s *demand.Part, every time.Duration, sync bool, counted func(*walk.Tally) float64) demand.Demand {
	if every == 0 {
		return demand.Demand{}
	}
	g, who := &sc.Fleet.Groups[i], s.CrowdOf(sc, i)
	there := demand.Present(g)
	d := demand.Demand{Group: g.Name, Total: who.Mean * there * s.Duration.Seconds() / every.Seconds(), Paused: s.Paused, About: s.Walk == nil || s.Unsure(g)}
	if s.Walk != nil {
		d.Total = counted(s.Walk.At(s.Number, i))
	}
	d.Peak, d.PeakFor, d.Rises = who.Peak()*there/every.Seconds(), s.PeakFor(who), s.Rises(who)
	if sync {
		d.Rises = false
		d.Peak, d.PeakFor = span.Busiest(who.Peak()*there*max(1, span.Second.Seconds()/every.Seconds()), span.Second)
	}
	return d
}

func reports(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	if !sc.Target.Can().Twins {
		return nil
	}
	all := []demand.Demand{demand.Drawn(demand.Rated(s.ReportRate, s), s, sc.Reports(s.Number))}
	all[0].Bytes = reportBytes
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		if !walk.Reporting(sc, g) {
			continue
		}
		d := periodic(sc, i, s, g.Report.Every, g.Report.Sync, func(t *walk.Tally) float64 { return t.Reports })
		d.Bytes = reportSize(g)
		all = append(all, d)
	}
	return of(metrics.OpTwinReport, all)
}

// sent are messages of the n-th kind that every device of the i-th group sends on its own.
func sent(sc *scenario.Scenario, i int, s *demand.Part, n int, k *scenario.Kind) demand.Demand {
	d := periodic(sc, i, s, k.Every, k.Sync, func(t *walk.Tally) float64 { return t.Messages[n] })
	if d.Group != "" {
		d.Group = k.Series(&sc.Fleet.Groups[i])
	}
	return d
}

func telemetry(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	all := []demand.Demand{demand.Drawn(demand.Rated(s.TelemetryRate, s), s, sc.Messages(s.Number))}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		for n, k := range g.Kinds() {
			d := sent(sc, i, s, n, &k)
			d.Bytes = rendered(k.Source(), g)
			if n == 0 {
				all[0].Bytes = max(all[0].Bytes, d.Bytes)
			}
			all = append(all, d)
		}
	}
	return of(metrics.OpTelemetry, all)
}

// deliveries are the copies of messages that subscribers of the run get: on a broker devices, on a hub the run's reader.
func deliveries(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	return of(metrics.OpDelivery, following(sc, s, func(sender int, k *scenario.Kind) (mean, peak float64) {
		from := s.CrowdOf(sc, sender)
		return k.CopiesTo(func(i int) float64 {
				return listening(sc, s, i, func(to span.Crowd) float64 { return together(from, to) })
			}),
			k.CopiesTo(func(i int) float64 { return listening(sc, s, i, span.Crowd.Peak) })
	}))
}

// requests are the messages to which a response is expected.
func requests(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	return of(metrics.OpRequest, following(sc, s, func(_ int, k *scenario.Kind) (mean, peak float64) {
		if k.Properties.ReplyTo == "" {
			return 0, 0
		}
		return 1, 1
	}))
}

// listening is which part of the i-th group is there in a stage to get messages: all, as those who listen start first, unless stages tell groups
// apart, then so many of its crowd; and those whose sessions are kept once they have come. Others get nothing while they are offline.
func listening(sc *scenario.Scenario, s *demand.Part, i int, there func(span.Crowd) float64) float64 {
	g := &sc.Fleet.Groups[i]
	n := float64(g.Count)
	switch {
	case s.ByGroup != nil || s.Groups != nil && s.Course != nil:
		n = there(s.CrowdOf(sc, i))
	case s.Groups != nil:
		n = s.CrowdOf(sc, i).Peak()
	}
	if g.Kept {
		n = max(n, before(sc, s, i))
	} else {
		n *= demand.Present(g)
	}
	return min(1, n/float64(max(1, g.Count)))
}

// together is how many of a crowd there are in the mean over the messages of another: both may come in the same stage, steadily.
func together(from, to span.Crowd) float64 {
	straight := func(c span.Crowd) bool { return math.Abs(c.Mean-(c.From+c.To)/2) <= (c.From+c.To)/50 }
	if from.Mean <= 0 || !straight(from) || !straight(to) {
		return to.Mean
	}
	return (2*from.From*to.From + 2*from.To*to.To + from.From*to.To + from.To*to.From) / 6 / from.Mean
}

// following are operations of which each message of a kind of a group brings so many, in the mean of a stage and at its peak. Messages at the rate of a stage come from the groups in turn, as many as each
// has devices.
func following(sc *scenario.Scenario, s *demand.Part, of func(sender int, k *scenario.Kind) (mean, peak float64)) []demand.Demand {
	var all []demand.Demand
	takers, devices := sc.Rated(false), 0
	for _, name := range takers {
		devices += sc.Group(name).Count
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		for number, k := range g.Kinds() {
			mean, peak := of(i, &k)
			if peak == 0 {
				continue
			}
			own := sent(sc, i, s, number, &k)
			asked := demand.Drawn(demand.Rated(s.TelemetryRate, s), s, sc.Messages(s.Number))
			part := 0.0
			if number == 0 && slices.Contains(takers, g.Name) {
				part = float64(g.Count) / float64(devices)
			}
			asked.Total, asked.Peak, asked.About = asked.Total*part, asked.Peak*part, true // those that find nobody connected bring nothing
			for _, d := range []demand.Demand{own, asked} {
				if d.Paused {
					continue // what is not sent brings nothing
				}
				d.Group, d.Bytes = k.Series(g), -1
				d.Total, d.Peak, d.Rises = d.Total*mean, d.Peak*peak, d.Rises || mean != peak
				d.About = d.About || mean != peak
				all = append(all, d)
			}
		}
	}
	return all
}

func of(op metrics.Operation, all []demand.Demand) []demand.Demand {
	for i := range all {
		all[i].Operation = op
	}
	return all
}

// rendered is how many bytes a group's messages from a source have on average: as many as it says, or as examples have.
func rendered(source payload.Source, g *scenario.Group) int {
	switch x := source.(type) {
	case nil:
		return len("{}")
	case interface{ Mean() int }:
		return x.Mean()
	case *payload.Filled:
		return max(x.Size(), rendered(x.Source(), g))
	}
	const examples = 100
	c := &payload.Context{Device: g.DeviceID(0), Group: g.Name, Number: g.FirstIndex, Now: time.Unix(1e9, 0).UTC(), Rand: rand.New(rand.NewPCG(1, 1)), Chance: 1}
	sum, buffer := 0, []byte(nil)
	for i := range examples {
		c.Seq = int64(1000 + i)
		buffer = source.Append(buffer[:0], c)
		sum += len(buffer)
	}
	return (sum + examples - 1) / examples
}

func reportSize(g *scenario.Group) int {
	if g.Report.Properties == nil {
		return reportBytes
	}
	return reportBytes + rendered(g.Report.Properties, g)
}
