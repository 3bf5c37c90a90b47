package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/internal/planning/words"
	"github.com/twinfleet/twinfleet/metrics"
)

// TierCheck is a scenario held to a tier.
type TierCheck struct {
	Tier     string   `json:"tier"`               // its name, such as S1
	Units    int      `json:"units"`              // from 1
	Limits   []Limit  `json:"limits"`             // of which the scenario asks anything
	Exceeded []string `json:"exceeded,omitempty"` // for sure, one line each: which limit, where, by how much
	Possible []string `json:"possible,omitempty"` // depending on what queries find
	SetUp    float64  `json:"setup_seconds"`      // to make the identities at the registry's rate
	// Burst is how long a limit may be exceeded by its own rate.
	Burst time.Duration `json:"-"`
}

// Name is the tier with its units: "S1, 2 units".
func (c *TierCheck) Name() string {
	if c.Units == 1 {
		return c.Tier + ", 1 unit"
	}
	return fmt.Sprintf("%s, %d units", c.Tier, c.Units)
}

// Limit is one limit of the tier and what the scenario asks of it.
type Limit struct {
	Class    string  `json:"class"`              // what is limited, such as twin reads
	Allowed  float64 `json:"allowed_per_second"` // operations
	Peak     float64 `json:"peak_per_second"`    // in the busiest second
	Steady   float64 `json:"steady_per_second"`  // mean of the busiest stage
	Stage    string  `json:"stage,omitempty"`    // that one
	Exceeded bool    `json:"exceeded"`           // by more than a burst covers
}

// defaultBurst is assumed of the service, which evaluates limits over minutes and does not say more.
const defaultBurst = time.Minute

// class is a limit with the operations that it counts.
type class struct {
	name  string
	rate  tier.Rate
	twins bool // not in basic tiers
	ops   []metrics.Operation
}

func classesOf(l tier.Limits) []class {
	return []class{
		{ClassConnections, l.Connects, false, []metrics.Operation{metrics.OpConnect}},
		{ClassTelemetry, l.Telemetry, false, []metrics.Operation{metrics.OpTelemetry}},
		{ClassReads, l.TwinReads, true, []metrics.Operation{metrics.OpTwinGet, metrics.OpTwinRead}},
		{ClassUpdates, l.TwinWrites, true, []metrics.Operation{metrics.OpTwinReport, metrics.OpTag, metrics.OpDesiredPatch}},
		{ClassQueries, l.Queries, false, []metrics.Operation{metrics.OpQuery}},
		{ClassMethods, l.Methods, true, []metrics.Operation{metrics.OpMethod}},
		{ClassJobs, l.Jobs, true, []metrics.Operation{metrics.OpJob}},
	}
}

// check holds the demands to the limits of a tier.
func (p *Plan) check(l tier.Limits) *TierCheck {
	c := &TierCheck{Tier: string(l.Tier), Units: l.Units, Burst: cmp.Or(p.burst, defaultBurst)}
	for _, d := range p.demands {
		if d.Operation == metrics.OpProvision {
			c.SetUp += d.Units() / l.Registry.PerSecond
		}
	}
	for _, x := range classesOf(l) {
		least, sure := p.checkClass(c, x, l, func(*demand.Demand) float64 { return 1 })
		most, possible := p.checkClass(c, x, l, (*demand.Demand).RequestsEach)
		if most.Steady > 0 {
			most.Exceeded = least.Exceeded
			c.Limits = append(c.Limits, most)
		}
		if sure != "" {
			c.Exceeded = append(c.Exceeded, sure)
		} else if possible != "" {
			c.Possible = append(c.Possible, possible)
		}
	}
	return c
}

// checkClass holds one class to its limit, stage by stage: what a stage asks for all along, and its bursts on
// top of that. It returns a line that says where it is exceeded, or "".
func (p *Plan) checkClass(c *TierCheck, x class, l tier.Limits, requests func(*demand.Demand) float64) (limit Limit, worst string) {
	limit = Limit{Class: x.name, Allowed: x.rate.PerSecond}
	for i := range p.spans {
		seconds := max(p.spans[i].Duration, span.Second).Seconds()
		var steady, peak, total float64
		var mine []demand.Demand
		for _, d := range p.demands {
			if d.Stage != i || d.Paused || d.Free || !slices.Contains(x.ops, d.Operation) {
				continue
			}
			mine = append(mine, d)
			total += d.Units() * requests(&d)
			steady += d.Units() * requests(&d) / seconds
			peak += d.Peak * requests(&d)
		}
		if steady > limit.Steady {
			limit.Steady, limit.Stage = steady, p.spans[i].Name
		}
		limit.Peak = max(limit.Peak, peak)
		cover := x.rate.PerSecond * c.Burst.Seconds()
		if over := (steady - x.rate.PerSecond) * seconds; over > cover {
			worst = fmt.Sprintf("%s: stage %s asks for %s in %s (%s), %s %s; some %s wait or are shed with 429",
				x.name, p.spans[i].Name, words.Count(total), words.Short(seconds), words.Rate(steady), allows(l), words.Rate(x.rate.PerSecond), words.Count(over-cover))
			limit.Exceeded = true
			continue
		}
		for _, d := range mine {
			around := steady - d.Units()*requests(&d)/seconds
			over := (d.Peak*requests(&d) + around - x.rate.PerSecond) * max(d.PeakFor, span.Second).Seconds()
			if d.Peak > 0 && over > cover && !limit.Exceeded {
				worst = fmt.Sprintf("%s: stage %s has a burst of %s for %s, %s %s; some %s wait or are shed with 429",
					x.name, p.spans[i].Name, words.Rate(d.Peak*requests(&d)+around), words.Short(d.PeakFor.Seconds()), allows(l), words.Rate(x.rate.PerSecond),
					words.Count(over-cover))
				limit.Exceeded = true
			}
		}
	}
	if x.twins && !l.HasTwins && limit.Steady > 0 {
		worst, limit.Exceeded = fmt.Sprintf("%s: tier %s has none; take a standard tier", x.name, l.Tier), true
	}
	return limit, worst
}

func allows(l tier.Limits) string {
	if l.Units == 1 {
		return fmt.Sprintf("one unit of %s allows", l.Tier)
	}
	return fmt.Sprintf("%d units of %s allow", l.Units, l.Tier)
}
