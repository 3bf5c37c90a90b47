// Package buy finds what must be bought of Azure IoT Hub for a load: the cheapest tier and number of units that carry it all day and
// in its peaks, what binds, and why all that is cheaper does not. It is arithmetic: pure functions of a load, limits and prices.
package buy

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/twinfleet/twinfleet/internal/capacity/price"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Market is what can be bought, and for how much.
type Market struct {
	Limits tier.Table // of the tiers
	Prices price.List // of their units
}

// BuiltIn is the market of the program's own data files.
func BuiltIn() (Market, error) {
	limits, err := tier.BuiltIn()
	if err != nil {
		return Market{}, err
	}
	prices, err := price.BuiltIn()
	return Market{limits, prices}, err
}

// kb is the meter of every tier but F1.
const kb = 4 << 10

// load is a need with what each of its classes requires.
type load struct {
	*plan.Need
	classes []demand
	twins   bool
	day     [2]float64 // messages, metered by 4 KB: least and most
}

// demand is a class with the smallest limits that carry it.
type demand struct {
	*plan.Class
	required [2]float64 // if queries find nothing, and the whole fleet
	because  [2]why
}

const (
	least = 0
	most  = 1
)

func newLoad(n *plan.Need) *load {
	l := &load{Need: n}
	for i := range n.Classes {
		d := demand{Class: &n.Classes[i]}
		for k := range d.required {
			d.required[k], d.because[k] = required(n, d.Class, k == most)
		}
		l.classes = append(l.classes, d)
		l.twins = l.twins || needsTwins(d.Class.Class)
	}
	for k := range l.day {
		l.day[k] = n.Messages(kb, k == most)
	}
	return l
}

func needsTwins(class string) bool {
	switch class {
	case plan.ClassReads, plan.ClassUpdates, plan.ClassMethods, plan.ClassJobs:
		return true
	}
	return false
}

// limitOf is what a tier allows of a class.
func limitOf(l *tier.Limits, class string) tier.Rate {
	switch class {
	case plan.ClassConnections:
		return l.Connects
	case plan.ClassTelemetry:
		return l.Telemetry
	case plan.ClassReads:
		return l.TwinReads
	case plan.ClassUpdates:
		return l.TwinWrites
	case plan.ClassQueries:
		return l.Queries
	case plan.ClassMethods:
		return l.Methods
	default:
		return l.Jobs
	}
}

// fits allows for the error of adding up.
func fits(needed, allowed float64) bool { return needed <= allowed*(1+1e-9) }

// carries tells whether limits carry the load: least or most.
func (l *load) carries(x *tier.Limits, perHub, k int) bool {
	if l.twins && !x.HasTwins || l.Devices > perHub {
		return false
	}
	for i := range l.classes {
		if d := &l.classes[i]; !fits(d.required[k], limitOf(x, d.Class.Class).PerSecond) {
			return false
		}
	}
	quota := float64(x.MessagesPerDay)
	if x.MeterBytes == kb && !fits(l.day[k], quota) {
		return false
	}
	return l.CutOff(x.MeterBytes, quota, k == most) == 0
}

// purchase is a tier with units and its price.
type purchase struct {
	limits tier.Limits
	price  float64
}

// each goes through the purchases of a tier, from one unit to the most.
func (m *Market) each(t *tier.Row, yield func(purchase) bool) {
	unit, sold := m.Prices.PerUnit[t.Name]
	if !sold {
		return
	}
	for units := 1; units <= t.MaxUnits; units++ {
		if l, err := m.Limits.For(t.Name, units); err != nil || !yield(purchase{l, unit * float64(units)}) {
			return
		}
	}
}

// smallest is the fewest units of a tier that carry the load, and else the most units that there are.
func (m *Market) smallest(l *load, t *tier.Row, k int) (p purchase, carries, sold bool) {
	m.each(t, func(x purchase) bool {
		p, sold = x, true
		carries = l.carries(&x.limits, m.Limits.DevicesPerHub, k)
		return !carries
	})
	return p, carries, sold
}

// cheapest is the least expensive purchase for production that carries the load; of two at one price the one with fewer units.
func (m *Market) cheapest(l *load, k int) (best purchase, ok bool) {
	for i := range m.Limits.Tiers {
		t := &m.Limits.Tiers[i]
		if !t.Production {
			continue
		}
		if p, carries, _ := m.smallest(l, t, k); carries && (!ok || cheaper(p, best)) {
			best, ok = p, true
		}
	}
	return best, ok
}

func cheaper(a, b purchase) bool {
	return cmp.Or(cmp.Compare(a.price, b.price), cmp.Compare(a.limits.Units, b.limits.Units)) < 0
}

// short tells whether limits do not carry the load for sure, by a tenth.
func (l *load) short(x *tier.Limits) bool {
	for i := range l.classes {
		if d := &l.classes[i]; d.required[least] > 1.1*limitOf(x, d.Class.Class).PerSecond {
			return true
		}
	}
	return l.CutOff(x.MeterBytes, 1.1*float64(x.MessagesPerDay), false) > 0
}

// below is the most expensive purchase that is cheaper than one and fails, of tiers that have what the load uses. One for production
// comes before F1.
func (m *Market) below(l *load, than purchase, fails func(*tier.Limits) bool) (best purchase, ok bool) {
	for i := range m.Limits.Tiers {
		t := &m.Limits.Tiers[i]
		if l.twins && !t.Twins {
			continue
		}
		m.each(t, func(x purchase) bool {
			if x.price >= than.price {
				return false
			}
			if !fails(&x.limits) {
				return true
			}
			if !ok || x.limits.Production && !best.limits.Production || x.limits.Production == best.limits.Production && x.price > best.price {
				best, ok = x, true
			}
			return true
		})
	}
	return best, ok
}

// offer says of a purchase whether it carries the load, and if not why.
func (m *Market) offer(l *load, p purchase) report.Offer {
	x := &p.limits
	o := report.Offer{Tier: string(x.Tier), Units: x.Units, PerMonth: p.price, Trial: !x.Production}
	allows := "one unit allows"
	if x.Units > 1 {
		allows = fmt.Sprintf("%s units allow", human.Count(x.Units))
	}
	if l.twins && !x.HasTwins {
		o.Fails = append(o.Fails, fmt.Sprintf("twins: tier %s has none", x.Tier))
		return o
	}
	if l.Devices > m.Limits.DevicesPerHub {
		o.Fails = append(o.Fails, fmt.Sprintf("devices: %s; a hub has at most %s, whatever its tier", human.Count(l.Devices), human.Count(m.Limits.DevicesPerHub)))
	}
	for i := range l.classes {
		d := &l.classes[i]
		limit := limitOf(x, d.Class.Class)
		says := allows
		if limit.PerHub {
			says = "the hub allows, whatever its units,"
		}
		if !fits(d.required[least], limit.PerSecond) {
			o.Fails = append(o.Fails, d.because[least].text(l.Need, d.Class.Class, says, d.required[least], limit.PerSecond))
		} else if !fits(d.required[most], limit.PerSecond) {
			o.Possible = append(o.Possible, "if queries find the whole fleet, "+d.because[most].text(l.Need, d.Class.Class, says, d.required[most], limit.PerSecond))
		}
	}
	quota := float64(x.MessagesPerDay)
	o.CutOff, o.CutOffFirst = l.CutOff(x.MeterBytes, quota, false), l.CutOff(x.MeterBytes, quota, true)
	cutOff := func(at float64, find bool) string {
		meter := ""
		if x.MeterBytes != kb {
			meter = fmt.Sprintf(" of %d bytes", x.MeterBytes)
		}
		day := max(l.Messages(x.MeterBytes, find), 0)
		counts := fmt.Sprintf("a day counts %s%s", messages(day), meter)
		if day <= quota { // what comes before the days that go on is too much
			counts = fmt.Sprintf("the stages of the run count %s%s, and a day that goes on %s", messages(l.RunMessages(x.MeterBytes, find)), meter, messages(day))
		}
		return fmt.Sprintf("messages: %s, %s %s; the fleet is cut off after about %s", counts, allows, count(quota), roughly(at))
	}
	switch {
	case o.CutOff > 0:
		o.Fails = append(o.Fails, cutOff(o.CutOff, false))
	case o.CutOffFirst > 0:
		o.Possible = append(o.Possible, "if queries find the whole fleet, "+cutOff(o.CutOffFirst, true))
	}
	o.Carries = len(o.Fails) == 0 && len(o.Possible) == 0
	return o
}

// rows hold the load to a purchase, limit by limit.
func (m *Market) rows(l *load, p purchase) []report.PurchaseRow {
	var rows []report.PurchaseRow
	for i := range l.classes {
		d := &l.classes[i]
		limit := limitOf(&p.limits, d.Class.Class)
		r := report.PurchaseRow{
			Class: d.Class.Class, MeanLeast: d.SteadyLeast, Mean: d.Steady, NeededLeast: d.required[least], Needed: d.required[most],
			Allowed: limit.PerSecond, PerHub: limit.PerHub,
		}
		for _, a := range d.Stages {
			if a.Peak > r.Peak {
				r.Peak, r.PeakStage = a.Peak, l.Stages[a.Stage].Name
			}
		}
		rows = append(rows, r)
	}
	quota := float64(p.limits.MessagesPerDay)
	day := [2]float64{l.Messages(p.limits.MeterBytes, false), l.Messages(p.limits.MeterBytes, true)}
	r := report.PurchaseRow{Class: "messages a day", Day: true, MeanLeast: day[least], Mean: day[most], Allowed: quota}
	r.NeededLeast, r.Needed = l.quota(p.limits.MeterBytes, false), l.quota(p.limits.MeterBytes, true)
	rows = append(rows, r)
	if l.Devices > m.Limits.DevicesPerHub/10 {
		n := float64(l.Devices)
		rows = append(rows, report.PurchaseRow{Class: "devices", Day: true, MeanLeast: n, Mean: n, NeededLeast: n, Needed: n, Allowed: float64(m.Limits.DevicesPerHub), PerHub: true})
	}
	binds, worst := -1, math.Inf(1)
	for i := range rows {
		rows[i].Headroom = 1 - rows[i].Needed/rows[i].Allowed
		if rows[i].Headroom < worst {
			binds, worst = i, rows[i].Headroom
		}
	}
	if binds >= 0 {
		rows[binds].Binds = true
	}
	return rows
}

// quota is the smallest number of messages a day that is never used up.
func (l *load) quota(meter int, find bool) float64 {
	low, high := 0.0, 1.0
	for l.CutOff(meter, high, find) > 0 {
		low, high = high, 2*high
	}
	for range 60 {
		if high-low < 0.5 {
			break
		}
		if mid := (low + high) / 2; l.CutOff(meter, mid, find) > 0 {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Round(high)
}

// messages writes a number of them: a started one counts.
func messages(x float64) string { return human.Count(int64(math.Ceil(x - 1e-6))) }

// roughly writes a time that nobody needs to know to the second.
func roughly(seconds float64) string {
	switch s := int(seconds); {
	case s >= 3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	case s >= 60:
		return fmt.Sprintf("%d min", (s+30)/60)
	default:
		return fmt.Sprintf("%d s", max(1, s))
	}
}

// tiers are the smallest offers of each tier that carry the load; of those that do not the largest.
func (m *Market) tiers(l *load) []report.Offer {
	var all []report.Offer
	for i := range m.Limits.Tiers {
		if p, _, sold := m.smallest(l, &m.Limits.Tiers[i], most); sold {
			all = append(all, m.offer(l, p))
		}
	}
	slices.SortStableFunc(all, func(a, b report.Offer) int {
		carries := func(o report.Offer) int {
			if o.Carries {
				return 0
			}
			return 1
		}
		if c := cmp.Compare(carries(a), carries(b)); c != 0 || carries(a) == 1 {
			return c
		}
		return cmp.Compare(a.PerMonth, b.PerMonth)
	})
	return all
}

// Limit is what limits allow of a class of a need, in operations a second.
func Limit(l *tier.Limits, class string) float64 { return limitOf(l, class).PerSecond }
