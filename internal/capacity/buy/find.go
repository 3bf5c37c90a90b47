package buy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// ErrNotSold is returned for a tier that the price list does not have.
var ErrNotSold = errors.New("the price list has no such tier")

// Options of Find.
type Options struct {
	// Tier and Units are what to hold the load to as well; none when Tier is empty.
	Tier  string
	Units int // 1 when 0
}

// Find says what must be bought for a load. It returns tier.ErrTier or ErrNotSold for a tier that cannot be held to.
func (m *Market) Find(n *plan.Need, o Options) (*report.Purchase, error) {
	l := newLoad(n)
	p := &report.Purchase{Devices: n.Devices, Steady: n.Steady, Tiers: m.tiers(l), Notes: n.Assumes, Prices: report.PurchasePrices{
		Currency: m.Prices.Currency, Region: m.Prices.Region, Date: m.Prices.Date, Source: m.Prices.Source,
		Limits: m.Limits.Source + ", " + m.Limits.Date,
	}}
	against, ok := m.cheapest(l, most)
	if ok {
		best := m.offer(l, against)
		p.Best = &best
		m.around(l, against, p)
	} else {
		if against = m.largest(l); against.limits.Units == 0 {
			needs := "one for production, B1 to B3 or S1 to S3: F1 is for trying things out"
			if l.twins {
				needs = "one with twins for production, S1, S2 or S3"
			}
			return nil, fmt.Errorf("%w: it needs %s; add its price to per_unit_and_month", ErrNotSold, needs)
		}
		p.Hubs = m.hubs(n)
	}
	if sure, ok := m.cheapest(l, least); ok && (p.Best == nil || sure.limits.Tier != against.limits.Tier || sure.limits.Units != against.limits.Units) {
		x := m.offer(l, sure)
		p.BestLeast = &x
	}
	if o.Tier != "" {
		held, err := m.named(o)
		if err != nil {
			return nil, err
		}
		against = held
		x := m.offer(l, held)
		p.Held = &x
	}
	p.Notes = append(slices.Clone(p.Notes), m.unsold(l, ok)...)
	p.Against, p.Classes = m.offer(l, against), m.rows(l, against)
	p.SetUp = setUp(n, &against.limits)
	if free, carries, sold := m.free(l); sold && carries {
		p.Notes = append(p.Notes, fmt.Sprintf("%s is free and would carry it too: it is for trying things out, and not for production", free.limits.Tier))
	}
	return p, nil
}

// Cheapest is the price of the cheapest purchase that carries a load, and the purchase; false when none does.
func (m *Market) Cheapest(n *plan.Need) (report.Offer, bool) {
	l := newLoad(n)
	p, ok := m.cheapest(l, most)
	if !ok {
		return report.Offer{}, false
	}
	return report.Offer{Tier: string(p.limits.Tier), Units: p.limits.Units, PerMonth: p.price, Carries: true}, true
}

// around adds what is next to the best purchase.
func (m *Market) around(l *load, best purchase, p *report.Purchase) {
	next, ok := m.below(l, best, func(x *tier.Limits) bool { return !l.carries(x, m.Limits.DevicesPerHub, most) })
	if ok {
		x := m.offer(l, next)
		p.Next = &x
	}
	if clear, found := m.below(l, best, l.short); found && (clear.limits.Tier != next.limits.Tier || clear.limits.Units != next.limits.Units) {
		x := m.offer(l, clear)
		p.Clear = &x
	}
	if best.limits.Units == 1 {
		return
	}
	less, err := m.Limits.For(best.limits.Tier, best.limits.Units-1)
	if err != nil || ok && next.limits.Tier == less.Tier && next.limits.Units == less.Units {
		return
	}
	x := m.offer(l, purchase{less, best.price / float64(best.limits.Units) * float64(less.Units)})
	p.Less = &x
}

// named is a purchase by its name.
func (m *Market) named(o Options) (purchase, error) {
	l, err := m.Limits.For(tier.Tier(o.Tier), max(1, o.Units))
	if err != nil {
		return purchase{}, err
	}
	unit, sold := m.Prices.PerUnit[l.Tier]
	if !sold {
		return purchase{}, fmt.Errorf("%w: %s; add it to per_unit_and_month", ErrNotSold, l.Tier)
	}
	return purchase{l, unit * float64(l.Units)}, nil
}

// unsold names the tiers that would carry a load, had the price list them, when none that it has does.
func (m *Market) unsold(l *load, carried bool) (lines []string) {
	if carried {
		return nil
	}
	for i := range m.Limits.Tiers {
		t := &m.Limits.Tiers[i]
		if _, sold := m.Prices.PerUnit[t.Name]; sold || !t.Production {
			continue
		}
		for units := 1; units <= t.MaxUnits; units++ {
			if x, err := m.Limits.For(t.Name, units); err == nil && l.carries(&x, m.Limits.DevicesPerHub, most) {
				lines = append(lines, fmt.Sprintf("%s, %s would carry it: the price list does not have it", t.Name, human.Number(units, "unit")))
				break
			}
		}
	}
	return lines
}

// largest is the purchase for production that allows the most: the last unit of the last tier that has what the load uses.
func (m *Market) largest(l *load) (p purchase) {
	for i := range m.Limits.Tiers {
		t := &m.Limits.Tiers[i]
		if l.twins && !t.Twins || !t.Production {
			continue
		}
		m.each(t, func(x purchase) bool {
			if p.limits.Units == 0 || x.limits.MessagesPerDay >= p.limits.MessagesPerDay {
				p = x
			}
			return true
		})
	}
	return p
}

// free is the tier that is not for production.
func (m *Market) free(l *load) (p purchase, carries, sold bool) {
	for i := range m.Limits.Tiers {
		if t := &m.Limits.Tiers[i]; !t.Production {
			return m.smallest(l, t, most)
		}
	}
	return purchase{}, false, false
}

// mostHubs bounds the search for a number of hubs: one for each device of the largest fleet.
const mostHubs = 10_000_000

// hubs is how many hubs carry a load that one does not.
func (m *Market) hubs(n *plan.Need) *report.Hubs {
	carried := func(hubs int) bool {
		_, ok := m.cheapest(newLoad(split(n, hubs)), most)
		return ok
	}
	if !carried(mostHubs) {
		return &report.Hubs{}
	}
	low, high := 1, mostHubs // low does not carry it, high does
	for high-low > 1 {
		if mid := (low + high) / 2; carried(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	part := newLoad(split(n, high))
	each, _ := m.cheapest(part, most)
	return &report.Hubs{Count: high, Each: m.offer(part, each), PerMonth: each.price * float64(high)}
}

// split is the load of each of some hubs that share a fleet evenly. Queries are asked of each of them.
func split(n *plan.Need, hubs int) *plan.Need {
	part := *n
	share := 1 / float64(hubs)
	part.Devices = (n.Devices + hubs - 1) / hubs
	part.Registry, part.Tags = n.Registry*share, n.Tags*share
	part.Stages = append([]plan.StageNeed(nil), n.Stages...)
	part.Classes, part.Metered = nil, nil
	for _, c := range n.Classes {
		rest := share // of what queries ask for whatever they find
		if c.Class == plan.ClassQueries || c.Class == plan.ClassJobs {
			rest = 1
		}
		of := func(least, most float64) (float64, float64) { return least * rest, least*rest + (most-least)*share }
		x := plan.Class{Class: c.Class}
		x.SteadyLeast, x.Steady = of(c.SteadyLeast, c.Steady)
		for _, a := range c.Stages {
			y := plan.Ask{Stage: a.Stage, Peak: a.Peak * max(rest, share)}
			y.MeanLeast, y.Mean = of(a.MeanLeast, a.Mean)
			for _, b := range a.Bursts {
				z := plan.Burst{Seconds: b.Seconds, Rises: b.Rises}
				z.MeanLeast, z.Mean = of(b.MeanLeast, b.Mean)
				z.PeakLeast, z.Peak = of(b.PeakLeast, b.Peak)
				y.Bursts = append(y.Bursts, z)
			}
			x.Stages = append(x.Stages, y)
		}
		part.Classes = append(part.Classes, x)
	}
	for _, x := range n.Metered {
		if x.Finds && x.Page > 0 { // each hub is asked, and finds its part
			x.Bytes = int(float64(x.Bytes) * share)
		} else {
			x.Count, x.Calls = x.Count*share, x.Calls*share
		}
		part.Metered = append(part.Metered, x)
	}
	return &part
}

// setUp says what is done once before the load.
func setUp(n *plan.Need, l *tier.Limits) (lines []string) {
	add := func(what string, operations, perSecond, burst float64) {
		if operations < 1 || perSecond <= 0 {
			return
		}
		takes := "at once, as a burst"
		if seconds := (operations - perSecond*burst) / perSecond; seconds > 0 {
			takes = "about " + human.Duration(time.Duration(seconds*float64(time.Second)).Round(time.Second))
		}
		lines = append(lines, fmt.Sprintf("%s: %s at %s, %s", what, human.Number(int(operations+0.5), "operation"), rate(perSecond), takes))
	}
	add("making the identities", n.Registry, l.Registry.PerSecond, 0)
	if l.HasTwins {
		add("tagging the twins", n.Tags, l.TwinWrites.PerSecond, n.Burst)
	}
	return lines
}
