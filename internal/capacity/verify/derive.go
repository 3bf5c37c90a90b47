package verify

import (
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// The lengths of a verification.
const (
	calm      = 15 * time.Second // of a stage in which nothing changes, at most
	day       = 24 * time.Hour
	leastLong = 30 * time.Second // of the stage that stands for the day
	mostLong  = 2 * time.Minute
	mostStep  = 10 * time.Minute // of an interval at which devices act in step, to wait for
)

// classes are the classes of a need, as hubs name them.
func classes() map[string]tier.Class {
	return map[string]tier.Class{
		plan.ClassConnections: tier.ClassConnect, plan.ClassTelemetry: tier.ClassTelemetry, plan.ClassReads: tier.ClassTwinRead,
		plan.ClassUpdates: tier.ClassTwinUpdate, plan.ClassQueries: tier.ClassQuery, plan.ClassMethods: tier.ClassMethod, plan.ClassJobs: tier.ClassJob,
	}
}

// trial is a scenario on the embedded hub with a tier, short enough to be waited for.
type trial struct {
	sc      *scenario.Scenario
	steady  time.Duration // of the stage that stands for the day; 0 for none
	takes   time.Duration // in all, without what steps take
	without []string      // what was left out of the scenario
}

// derive makes the trial of a scenario: ramps, storms and steps as it has them; stages in which nothing changes are cut short, and
// their rest passes in an instant; after the stage with the steady state comes one that stands for the day.
func derive(sc *scenario.Scenario, p *plan.Plan, o *report.Offer, steady time.Duration, limits func(*report.Offer, string) float64) *trial {
	c := *sc
	t := &trial{sc: &c, steady: steady}
	x := &target.Trial{Skips: make(map[string]target.Skip), AtOnce: make(map[string]float64)}
	c.Target = target.Target{
		Hub: "embedded", Kind: target.Embedded, Transport: target.Memory, Keep: true, Tier: o.Tier, Units: o.Units, Burst: sc.Target.Burst, QueryLag: sc.Target.QueryLag,
		Trial: x,
	}
	c.Thresholds, c.Scaled, c.Fitted = nil, nil, nil
	c.Fleet.Client, c.Fleet.SourceAddresses = "lean", nil
	c.Service.Queries = slices.Clone(sc.Service.Queries)
	c.Service.Methods = slices.Clone(sc.Service.Methods)
	c.Service.TwinReads = slices.Clone(sc.Service.TwinReads)
	c.Service.Rollouts = slices.Clone(sc.Service.Rollouts)
	c.Service.Jobs = slices.Clone(sc.Service.Jobs)
	c.Stages = nil
	names := func(name string) bool {
		return slices.ContainsFunc(sc.Stages, func(t scenario.Stage) bool { return t.Name == name })
	}
	if stage, ok := setUp(sc, unused("set-up", names)); ok {
		x.From = sc.Stages[0].Name
		c.Stages = append(c.Stages, stage)
		c.Service.Tags = nil
		for i := range c.Service.Rollouts {
			if c.Service.Rollouts[i].Stage == "" {
				c.Service.Rollouts[i].Stage = x.From
			}
		}
		for i := range c.Service.Jobs {
			if c.Service.Jobs[i].Stage == "" {
				c.Service.Jobs[i].Stage = x.From
			}
		}
	}
	timed := len(sc.Service.Rollouts)+len(sc.Service.Jobs) > 0
	active := 0
	faults := false
	for i := range sc.Stages {
		s := sc.Stages[i]
		faults = faults || s.Hub != nil || s.Network != nil
		s.Hub, s.Network = nil, nil
		before := active
		if s.Devices >= 0 {
			active = s.Devices
		}
		if !timed && active == before && s.ByGroup == nil && constant(&s) && s.Duration > calm {
			x.Skips[s.Name] = skipped(&p.Need, i, s.Duration-calm)
			s.Duration = calm
		}
		t.takes += s.Duration
		if s.ConnectRate != nil && s.ConnectRate.To > 0 && s.Duration == 0 {
			t.takes = max(t.takes, t.takes-s.Duration+time.Duration(math.Abs(float64(active-before))/s.ConnectRate.To*float64(time.Second)))
		}
		c.Stages = append(c.Stages, s)
		if steady > 0 && p.Steady != nil && s.Name == p.Steady.Stage {
			x.Steady = unused("all-day", names)
			c.Stages = append(c.Stages, lasting(s, x.Steady, steady))
			t.takes += steady
			follow(&c, s.Name, x.Steady)
			x.AtOnce = atOnce(sc, p, steady)
			for _, c := range p.Need.Classes { // no more than the burst of a quiet day
				class := string(classes()[c.Class])
				x.AtOnce[class] = min(x.AtOnce[class], p.Need.Burst*limits(o, c.Class))
			}
			x.Share = steady.Seconds() / math.Max(steady.Seconds(), day.Seconds()-upTo(&p.Need, i))
		}
	}
	if faults {
		t.without = append(t.without, "faults of hub and network")
	}
	return t
}

// unused is a name that no stage has.
func unused(name string, taken func(string) bool) string {
	for taken(name) {
		name += "-"
	}
	return name
}

// setUp is a stage that tags before limits hold, as a hub is set up before its day.
func setUp(sc *scenario.Scenario, name string) (s scenario.Stage, ok bool) {
	s = scenario.Stage{Name: name, Devices: -1}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		if tags := sc.Service.Tags[g.Name]; tags != nil {
			s.Steps = append(s.Steps, scenario.Step{Tag: &scenario.TagStep{Group: g.Name, Tags: tags}})
		}
	}
	return s, len(s.Steps) > 0
}

// constant tells whether a stage without devices that come or go is the same all along.
func constant(s *scenario.Stage) bool {
	same := func(r *scenario.Range) bool { return r == nil || r.Constant() }
	return s.Course == nil && s.Storm == nil && !s.Paused && len(s.Steps) == 0 && same(s.ReportRate) && same(s.TelemetryRate)
}

// skipped is what comes in the rest of a stage that is cut short.
func skipped(n *plan.Need, stage int, rest time.Duration) target.Skip {
	x := target.Skip{For: rest, Rates: make(map[string]float64), Messages: n.Stages[stage].MessagesLeast * rest.Seconds() / n.Stages[stage].Seconds}
	for _, c := range n.Classes {
		for _, a := range c.Stages {
			if a.Stage == stage {
				x.Rates[string(classes()[c.Class])] = a.MeanLeast
			}
		}
	}
	return x
}

// upTo is when a stage ends, in seconds from the start.
func upTo(n *plan.Need, stage int) (at float64) {
	for _, s := range n.Stages[:stage+1] {
		at += s.Seconds
	}
	return at
}

// lasting is a stage in which the state at the end of another goes on.
func lasting(s scenario.Stage, name string, d time.Duration) scenario.Stage {
	s.Name, s.Duration, s.Devices, s.ByGroup, s.Course, s.ConnectRate = name, d, -1, nil, nil, nil
	s.Storm, s.Paused, s.Steps = nil, false, nil
	s.ReportRate, s.TelemetryRate = s.ReportRate.Last(), s.TelemetryRate.Last()
	return s
}

// follow has what the service side does in a stage go on in another.
func follow(c *scenario.Scenario, stage, also string) {
	add := func(stages []string) []string {
		if slices.Contains(stages, stage) {
			return append(slices.Clone(stages), also)
		}
		return stages
	}
	for i := range c.Service.Queries {
		c.Service.Queries[i].Stages = add(c.Service.Queries[i].Stages)
	}
	for i := range c.Service.Methods {
		c.Service.Methods[i].Stages = add(c.Service.Methods[i].Stages)
	}
	for i := range c.Service.TwinReads {
		c.Service.TwinReads[i].Stages = add(c.Service.TwinReads[i].Stages)
	}
}

// inStep is how many operations of devices that act in step come in one instant, or in a second of several.
func inStep(devices int, sync bool, every time.Duration) float64 {
	if !sync || every <= 0 {
		return 0
	}
	return float64(devices) * math.Max(1, float64(time.Second)/float64(every))
}

// atOnce is how many operations of each class come at once in the steady state although they keep its mean: those that are in step,
// the pages of a query, and what chance piles up.
func atOnce(sc *scenario.Scenario, p *plan.Plan, over time.Duration) map[string]float64 {
	out := make(map[string]float64)
	for _, c := range p.Need.Classes {
		n := 3 + 3*math.Sqrt(c.Steady*over.Seconds())
		for i := range sc.Fleet.Groups {
			g := &sc.Fleet.Groups[i]
			if c.Class == plan.ClassUpdates {
				n += inStep(g.Count, g.Report.Sync, g.Report.Every)
			} else if c.Class == plan.ClassTelemetry {
				n += inStep(g.Count, g.Telemetry.Sync, g.Telemetry.Every)
			}
		}
		switch c.Class {
		case plan.ClassMethods, plan.ClassJobs: // they are due at equal distances
			n = 5
		case plan.ClassQueries: // likewise, each with all its pages
			n = 2
			for i := range sc.Service.Queries {
				n += math.Ceil(float64(sc.Devices()) / float64(max(1, sc.Service.Queries[i].PageSize)))
			}
			if f := sc.Service.Freshness; f != nil && f.Probe > 0 {
				n += 10
			}
		}
		out[string(classes()[c.Class])] = n
	}
	return out
}

// rhythm is an interval at which something of the scenario comes back.
type rhythm struct {
	period time.Duration
	inStep bool // all of it at once: a time that is no whole number of it has too much or too little
}

// rhythms are those of a scenario.
func rhythms(sc *scenario.Scenario) (all []rhythm) {
	add := func(period time.Duration, inStep bool) {
		if period > 0 {
			all = append(all, rhythm{period, inStep})
		}
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		add(g.Report.Every, g.Report.Sync)
		add(g.Telemetry.Every, g.Telemetry.Sync)
		if !g.Online.IsZero() { // devices that came together go together, at first
			add(g.Online.Mean()+g.Offline.Mean(), true)
		}
	}
	for i := range sc.Service.Queries {
		add(sc.Service.Queries[i].Every, true)
	}
	return all
}

// misfit is by how much a time is too long or too short for the rhythms of a scenario.
func misfit(d time.Duration, all []rhythm) (sum float64) {
	for _, r := range all {
		times := float64(d) / float64(r.period)
		off := math.Abs(times-math.Round(times)) / times
		if times < 1 {
			off = 1
		}
		if !r.inStep {
			off /= 20 // spread evenly, a part of it comes in a part of the time
		}
		sum += off
	}
	return sum
}

// long is how long the stage that stands for the day lasts: about a whole number of the scenario's intervals, and long enough for what
// is too much to show on an offer that does not carry it.
func long(sc *scenario.Scenario, p *plan.Plan, below *report.Offer, limits func(*report.Offer, string) float64) time.Duration {
	if p.Steady == nil {
		return 0
	}
	enough := func(d time.Duration) bool {
		if below == nil {
			return true
		}
		burst := atOnce(sc, p, d)
		for _, c := range p.Need.Classes {
			allowed := limits(below, c.Class)
			if over := (c.SteadyLeast - allowed) * d.Seconds(); over > 0 && over < 1.5*burst[string(classes()[c.Class])] {
				return false
			}
		}
		return true
	}
	all := rhythms(sc)
	from := leastLong
	for _, r := range all {
		if r.inStep && r.period <= mostStep {
			from = max(from, r.period)
		}
	}
	best, worst := from, math.Inf(1)
	for d := from; d <= max(mostLong, from); d += time.Second {
		off := misfit(d, all)
		if !enough(d) {
			off += 1000
		}
		if off < worst-0.02 { // a longer one must be worth it
			best, worst = d, off
		}
	}
	return best
}
