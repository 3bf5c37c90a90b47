// Package change finds what of a scenario would have to be different for a cheaper purchase: it turns one knob of the scenario at a
// time, step by step, and plans anew.
package change

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Options of Find.
type Options struct {
	Market *buy.Market // required
	// Resize is the scenario with another number of devices; nil for one that cannot be resized.
	Resize func(devices int) (*scenario.Scenario, error)
	// Most bounds the changes that are returned; 4 when 0.
	Most int
}

// turn is a knob at a step.
type turn struct {
	key, text string
	size      float64 // of the change: by which factor
	apply     func() (*scenario.Scenario, error)
}

// knob is a value of the scenario with its steps, from the smallest change to the largest.
type knob []turn

// Find finds the smallest step of each knob that makes the purchase of a scenario cheaper, or possible, and returns the smallest of
// them, and what was tried.
func Find(sc *scenario.Scenario, best *report.Offer, o Options) ([]report.Change, report.Tried) {
	price := math.Inf(1)
	if best != nil {
		price = best.PerMonth
	}
	type found struct {
		report.Change
		size float64
	}
	var all []found
	var tried report.Tried
	for _, k := range append(knobs(sc), sizes(sc, o.Resize)) {
		for _, t := range k {
			changed, err := t.apply()
			if err != nil {
				continue // a size that the scenario does not take
			}
			p, err := plan.Make(changed, plan.Options{Quick: true})
			if err != nil {
				continue
			}
			tried.Changes++
			if !slices.Contains(tried.Keys, t.key) {
				tried.Keys = append(tried.Keys, t.key)
			}
			offer, ok := o.Market.Cheapest(&p.Need)
			if !ok || offer.PerMonth >= price {
				continue
			}
			x := found{report.Change{Key: t.key, Text: t.text, Offer: offer}, t.size}
			if best != nil {
				x.Saves = price - offer.PerMonth
			}
			all = append(all, x)
			break
		}
	}
	slices.SortStableFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(b.Saves, a.Saves))
	})
	var out []report.Change
	for _, x := range all[:min(len(all), cmp.Or(o.Most, 4))] {
		out = append(out, x.Change)
	}
	return out, tried
}

// copyOf is a scenario of which everything that knobs turn may be changed.
func copyOf(sc *scenario.Scenario) *scenario.Scenario {
	c := *sc
	c.Fleet.Groups = slices.Clone(sc.Fleet.Groups)
	c.Stages = slices.Clone(sc.Stages)
	c.Service.Queries = slices.Clone(sc.Service.Queries)
	c.Service.Methods = slices.Clone(sc.Service.Methods)
	c.Service.Rollouts = slices.Clone(sc.Service.Rollouts)
	c.Service.TwinReads = slices.Clone(sc.Service.TwinReads)
	if f := sc.Service.Freshness; f != nil {
		g := *f
		c.Service.Freshness = &g
	}
	return &c
}

// with is a change of a copy.
func with(sc *scenario.Scenario, do func(*scenario.Scenario)) func() (*scenario.Scenario, error) {
	return func() (*scenario.Scenario, error) {
		c := copyOf(sc)
		do(c)
		return c, nil
	}
}

// knobs are those of a scenario.
func knobs(sc *scenario.Scenario) []knob {
	return slices.Concat(groupKnobs(sc), sessionKnobs(sc), stageKnobs(sc), stormKnobs(sc), queryKnobs(sc), rateKnobs(sc))
}

// ladder is the intervals that a person would try after one: at most a dozen times as long.
func ladder(d time.Duration) (steps []time.Duration) {
	for _, s := range []time.Duration{
		500 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second,
		30 * time.Second, 45 * time.Second, time.Minute, 90 * time.Second, 2 * time.Minute, 3 * time.Minute, 5 * time.Minute, 10 * time.Minute,
		15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	} {
		if s > d && s <= 12*d {
			steps = append(steps, s)
		}
	}
	return steps
}

// every is a knob of an interval.
func every(sc *scenario.Scenario, key, what string, now time.Duration, set func(*scenario.Scenario, time.Duration)) knob {
	var k knob
	for _, d := range ladder(now) {
		k = append(k, turn{
			key: key, text: fmt.Sprintf("%s every %s instead of %s", what, timing.Text(d), timing.Text(now)), size: float64(d) / float64(now),
			apply: with(sc, func(c *scenario.Scenario) { set(c, d) }),
		})
	}
	return k
}

// groupKnobs are how often devices report and send, and whether all at once.
func groupKnobs(sc *scenario.Scenario) (all []knob) {
	var reports, messages []int
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		key := "fleet.groups." + g.Name
		whose := ""
		if len(sc.Fleet.Groups) > 1 {
			whose = " of " + g.Name
		}
		if g.Report.Every > 0 && len(g.Report.Types) > 0 {
			reports = append(reports, i)
			all = append(all, every(sc, key+".reported.every", "reports"+whose, g.Report.Every, func(c *scenario.Scenario, d time.Duration) {
				c.Fleet.Groups[i].Report.Every = d
			}))
			if g.Report.Sync {
				all = append(all, knob{{
					key: key + ".reported.sync", text: "reports" + whose + " spread over their interval instead of in one instant (sync: false)", size: 1,
					apply: with(sc, func(c *scenario.Scenario) { c.Fleet.Groups[i].Report.Sync = false }),
				}})
			}
		}
		if g.Telemetry.Every > 0 {
			messages = append(messages, i)
			all = append(all, every(sc, key+".telemetry.every", "telemetry"+whose, g.Telemetry.Every, func(c *scenario.Scenario, d time.Duration) {
				c.Fleet.Groups[i].Telemetry.Every = d
			}))
			if g.Telemetry.Sync {
				all = append(all, knob{{
					key: key + ".telemetry.sync", text: "telemetry" + whose + " spread over its interval instead of in one instant (sync: false)", size: 1,
					apply: with(sc, func(c *scenario.Scenario) { c.Fleet.Groups[i].Telemetry.Sync = false }),
				}})
			}
		}
	}
	seldom := func(key, what string, of []int, set func(*scenario.Group, time.Duration)) {
		if len(of) < 2 {
			return
		}
		var k knob
		for _, factor := range []int{2, 3, 4, 6, 10} {
			k = append(k, turn{
				key: key, text: fmt.Sprintf("%s of all groups %d times as seldom", what, factor), size: float64(factor),
				apply: with(sc, func(c *scenario.Scenario) {
					for _, i := range of {
						set(&c.Fleet.Groups[i], time.Duration(factor))
					}
				}),
			})
		}
		all = append(all, k)
	}
	seldom("fleet.groups.*.reported.every", "reports", reports, func(g *scenario.Group, factor time.Duration) { g.Report.Every *= factor })
	seldom("fleet.groups.*.telemetry.every", "telemetry", messages, func(g *scenario.Group, factor time.Duration) { g.Telemetry.Every *= factor })
	return all
}

// stageKnobs are how fast devices come, and rates that stages ask for.
func stageKnobs(sc *scenario.Scenario) (all []knob) {
	active := make([]int, len(sc.Stages)+1) // before each of them
	order := make([]int, len(sc.Stages))
	come := func(i int) float64 { // devices a second
		if t := &sc.Stages[i]; t.Duration > 0 {
			return float64(active[i+1]-active[i]) / t.Duration.Seconds()
		}
		return math.Inf(1)
	}
	for i := range sc.Stages {
		order[i], active[i+1] = i, active[i]
		if t := &sc.Stages[i]; t.Devices >= 0 {
			active[i+1] = t.Devices
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(come(b), come(a)) })
	const most = 10 // of a staircase the steepest stairs
	for _, i := range order[:min(len(order), most)] {
		t := &sc.Stages[i]
		before, active := active[i], active[i+1]
		key := "stages." + t.Name
		if active > before {
			if t.ConnectRate != nil {
				all = append(all, slower(sc, key+".connect_rate", "devices come in stage "+t.Name, t.ConnectRate, func(c *scenario.Scenario, r *scenario.Range) {
					c.Stages[i].ConnectRate = r
				}))
			} else if t.Duration > 0 {
				var k knob
				for _, d := range ladder(t.Duration) {
					k = append(k, turn{
						key: key + ".duration", text: fmt.Sprintf("stage %s over %s instead of %s", t.Name, timing.Text(d), timing.Text(t.Duration)), size: float64(d) / float64(t.Duration),
						apply: with(sc, func(c *scenario.Scenario) { c.Stages[i].Duration = d }),
					})
				}
				all = append(all, k)
			}
		}
		if t.ReportRate != nil {
			all = append(all, slower(sc, key+".report_rate", "reports in stage "+t.Name, t.ReportRate, func(c *scenario.Scenario, r *scenario.Range) {
				c.Stages[i].ReportRate = r
			}))
		}
		if t.TelemetryRate != nil {
			all = append(all, slower(sc, key+".telemetry_rate", "telemetry in stage "+t.Name, t.TelemetryRate, func(c *scenario.Scenario, r *scenario.Range) {
				c.Stages[i].TelemetryRate = r
			}))
		}
	}
	return all
}

// slower is a knob of a rate.
func slower(sc *scenario.Scenario, key, what string, now *scenario.Range, set func(*scenario.Scenario, *scenario.Range)) knob {
	var k knob
	for _, share := range []float64{0.75, 0.5, 0.3, 0.2, 0.1} {
		r := now.Scaled(share)
		k = append(k, turn{
			key: key, text: fmt.Sprintf("%s at %s instead of %s", what, span(r), span(now)), size: 1 / share,
			apply: with(sc, func(c *scenario.Scenario) { set(c, r) }),
		})
	}
	return k
}

// span is a rate as a scenario has it.
func span(r *scenario.Range) string {
	if r.Shape == nil && !r.Constant() {
		return perSecond(r.From) + ".." + perSecond(r.To)
	}
	return r.Words(perSecond)
}

func perSecond(x float64) string {
	if x > 0 && x < 1 {
		return fmt.Sprintf("%.3g/m", x*60)
	}
	return fmt.Sprintf("%.4g/s", x)
}

// queryKnobs are how often the service side asks, and in which pages.
func queryKnobs(sc *scenario.Scenario) (all []knob) {
	const page = 1000 // the most that a page may have (iot-hub-devguide-query-language)
	var regular []int
	for i := range sc.Service.Queries {
		q := &sc.Service.Queries[i]
		if q.Every > 0 {
			regular = append(regular, i)
			all = append(all, every(sc, "service.queries."+q.Name+".every", "query "+q.Name, q.Every, func(c *scenario.Scenario, d time.Duration) {
				c.Service.Queries[i].Every = d
			}))
		}
	}
	if len(regular) > 1 {
		var k knob
		for _, factor := range []int{2, 3, 4, 6, 12} {
			k = append(k, turn{
				key: "service.queries.*.every", text: fmt.Sprintf("all queries %d times as seldom", factor), size: float64(factor),
				apply: with(sc, func(c *scenario.Scenario) {
					for _, i := range regular {
						c.Service.Queries[i].Every *= time.Duration(factor)
					}
				}),
			})
		}
		all = append(all, k)
	}
	if slices.ContainsFunc(sc.Service.Queries, func(q scenario.Query) bool { return q.PageSize < page && q.PageSize < sc.Devices() }) {
		all = append(all, knob{{
			key: "service.queries.*.page_size", text: "pages of 1,000 items in all queries (page_size: 1000)", size: 1,
			apply: with(sc, func(c *scenario.Scenario) {
				for i := range c.Service.Queries {
					c.Service.Queries[i].PageSize = page
				}
			}),
		}})
	}
	if f := sc.Service.Freshness; f != nil {
		if f.Probe > 0 {
			all = append(all, every(sc, "service.freshness.probe", "freshness probes", f.Probe, func(c *scenario.Scenario, d time.Duration) {
				c.Service.Freshness.Probe = d
			}))
		}
		all = append(all, knob{{
			key: "service.freshness", text: "without the freshness audit, which only tests have", size: 1.01,
			apply: with(sc, func(c *scenario.Scenario) { c.Service.Freshness = nil }),
		}})
	}
	return all
}

// rateKnobs are direct methods, rollouts and twin reads.
func rateKnobs(sc *scenario.Scenario) (all []knob) {
	for i := range sc.Service.Methods {
		m := &sc.Service.Methods[i]
		all = append(all, slower(sc, "service.methods."+m.Name+".rate", "method "+m.Name, m.Rate, func(c *scenario.Scenario, r *scenario.Range) {
			c.Service.Methods[i].Rate = r
		}))
	}
	for i := range sc.Service.Rollouts {
		if x := &sc.Service.Rollouts[i]; x.Rate != nil && x.Rate.To > 0 {
			all = append(all, slower(sc, "service.rollouts."+x.Name+".rate", "rollout "+x.Name, x.Rate, func(c *scenario.Scenario, r *scenario.Range) {
				c.Service.Rollouts[i].Rate = r
			}))
		}
	}
	for i := range sc.Service.TwinReads {
		t := &sc.Service.TwinReads[i]
		all = append(all, slower(sc, fmt.Sprintf("service.twin_reads[%d].rate", i), "twin reads of "+t.Group, t.Rate, func(c *scenario.Scenario, r *scenario.Range) {
			c.Service.TwinReads[i].Rate = r
		}))
	}
	return all
}

// sizes are fewer devices.
func sizes(sc *scenario.Scenario, resize func(int) (*scenario.Scenario, error)) knob {
	var k knob
	if resize == nil {
		return k
	}
	for _, percent := range []int{95, 90, 80, 75, 60, 50} {
		n := sc.Devices() * percent / 100
		if n < 1 {
			break
		}
		k = append(k, turn{
			key: "--devices", text: fmt.Sprintf("%s instead of %s", human.Number(n, "device"), human.Count(sc.Devices())), size: 100 / float64(percent),
			apply: func() (*scenario.Scenario, error) { return resize(n) },
		})
	}
	return k
}
