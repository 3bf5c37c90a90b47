package plan

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/metrics"
)

// Metering is how many messages the scenario counts for against a tier's daily quota.
type Metering struct {
	MeterBytes int     `json:"meter_bytes"`     // a message for each started block of so many
	Run        float64 `json:"run_messages"`    // by the whole run
	Day        float64 `json:"day_messages"`    // by a day that goes on as the stage that stands for the run
	Stage      string  `json:"stage,omitempty"` // that one
}

const day = 24 * time.Hour

func (p *Plan) meter(spans []span, l tier.Limits) Metering {
	m := Metering{MeterBytes: l.MeterBytes}
	var steady float64
	for _, d := range p.demands {
		if d.Bytes < 0 {
			continue
		}
		n := d.Total * float64(l.Messages(d.Bytes)*int64(max(1, d.Copies)))
		m.Run += n
		if d.stage == p.typical && d.Peak > 0 {
			steady += n
		}
	}
	if len(spans) > 0 && spans[p.typical].Duration > 0 {
		m.Stage = spans[p.typical].Name
		m.Day = steady / spans[p.typical].Duration.Seconds() * day.Seconds()
	}
	return m
}

// TierCheck is a scenario held to a tier.
type TierCheck struct {
	Tier     string   `json:"tier"`
	Units    int      `json:"units"`
	Limits   []Limit  `json:"limits"`
	Exceeded []string `json:"exceeded,omitempty"` // for sure, one line each: which limit, where, by how much
	Possible []string `json:"possible,omitempty"` // depending on what queries find, or if it went on for a day
	SetUp    float64  `json:"setup_seconds"`      // to make the identities at the registry's rate
	Quota    float64  `json:"messages_per_day"`
	burst    time.Duration
}

// Limit is one limit of the tier and what the scenario asks of it.
type Limit struct {
	Class    string  `json:"class"`
	Allowed  float64 `json:"allowed_per_second"`
	Peak     float64 `json:"peak_per_second"`
	Steady   float64 `json:"steady_per_second"` // mean of the busiest stage
	Stage    string  `json:"stage,omitempty"`   // that one
	Exceeded bool    `json:"exceeded"`          // by more than a burst covers
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
		{"connections", l.Connects, false, []metrics.Operation{metrics.OpConnect}},
		{"telemetry", l.Telemetry, false, []metrics.Operation{metrics.OpTelemetry}},
		{"twin reads", l.TwinReads, true, []metrics.Operation{metrics.OpTwinGet, metrics.OpTwinRead}},
		{"twin updates", l.TwinWrites, true, []metrics.Operation{metrics.OpTwinReport, metrics.OpTag, metrics.OpDesiredPatch, metrics.OpDesiredReply}},
		{"queries", l.Queries, false, []metrics.Operation{metrics.OpQuery}},
		{"direct methods", l.Methods, true, []metrics.Operation{metrics.OpMethod}},
		{"jobs", l.Jobs, true, []metrics.Operation{metrics.OpJob}},
	}
}

// check holds the demands to the limits of a tier.
func (p *Plan) check(spans []span, l tier.Limits, burst time.Duration) *TierCheck {
	if burst == 0 {
		burst = defaultBurst
	}
	c := &TierCheck{Tier: string(l.Tier), Units: l.Units, Quota: float64(l.MessagesPerDay), burst: burst}
	for _, d := range p.demands {
		if d.Operation == metrics.OpProvision {
			c.SetUp += d.Total / l.Registry.PerSecond
		}
	}
	for _, x := range classesOf(l) {
		least, sure := p.checkClass(c, spans, x, l, func(*Demand) float64 { return 1 })
		most, possible := p.checkClass(c, spans, x, l, (*Demand).requests)
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
	if p.Metering.Run > c.Quota {
		c.Exceeded = append(c.Exceeded, fmt.Sprintf("messages: this run counts for %s, the day's quota is %s; the hub then refuses everything until midnight UTC", count(p.Metering.Run), count(c.Quota)))
	} else if p.Metering.Day > c.Quota {
		c.Possible = append(c.Possible, fmt.Sprintf("messages: a day of stage %s counts for %s, the day's quota is %s", p.Metering.Stage, count(p.Metering.Day), count(c.Quota)))
	}
	return c
}

// checkClass holds one class to its limit, stage by stage: what a stage asks for all along, and its bursts on
// top of that. It returns a line that says where it is exceeded, or "".
func (p *Plan) checkClass(c *TierCheck, spans []span, x class, l tier.Limits, requests func(*Demand) float64) (limit Limit, worst string) {
	limit = Limit{Class: x.name, Allowed: x.rate.PerSecond}
	for i := range spans {
		seconds := max(spans[i].Duration, second).Seconds()
		var steady, peak, total float64
		var mine []Demand
		for _, d := range p.demands {
			if d.stage != i || !has(x.ops, d.Operation) {
				continue
			}
			mine = append(mine, d)
			total += d.Total * requests(&d)
			steady += d.Total * requests(&d) / seconds
			peak += d.Peak * requests(&d)
		}
		if steady > limit.Steady {
			limit.Steady, limit.Stage = steady, spans[i].Name
		}
		limit.Peak = max(limit.Peak, peak)
		cover := x.rate.PerSecond * c.burst.Seconds()
		if over := (steady - x.rate.PerSecond) * seconds; over > cover {
			worst = fmt.Sprintf("%s: stage %s asks for %s in %s (%s), %s %s; some %s wait or are shed with 429",
				x.name, spans[i].Name, count(total), short(seconds), rate(steady), allows(l), rate(x.rate.PerSecond), count(over-cover))
			limit.Exceeded = true
			continue
		}
		for _, d := range mine {
			around := steady - d.Total*requests(&d)/seconds
			over := (d.Peak*requests(&d) + around - x.rate.PerSecond) * max(d.PeakFor, second).Seconds()
			if d.Peak > 0 && over > cover && !limit.Exceeded {
				worst = fmt.Sprintf("%s: stage %s has a burst of %s for %s, %s %s; some %s wait or are shed with 429",
					x.name, spans[i].Name, rate(d.Peak*requests(&d)+around), short(d.PeakFor.Seconds()), allows(l), rate(x.rate.PerSecond), count(over-cover))
				limit.Exceeded = true
			}
		}
	}
	if x.twins && !l.HasTwins && limit.Steady > 0 {
		worst, limit.Exceeded = fmt.Sprintf("%s: tier %s has none; take a standard tier", x.name, l.Tier), true
	}
	return limit, worst
}

func has(ops []metrics.Operation, op metrics.Operation) bool {
	for _, o := range ops {
		if o == op {
			return true
		}
	}
	return false
}

func allows(l tier.Limits) string {
	if l.Units == 1 {
		return fmt.Sprintf("one unit of %s allows", l.Tier)
	}
	return fmt.Sprintf("%d units of %s allow", l.Units, l.Tier)
}
