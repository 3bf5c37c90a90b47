// Package plan tells what a scenario will ask of its target and of the machine that runs it, before it
// runs: pure functions of the scenario. Figures are those of the schedule; what the target makes of them
// the run shows.
package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/report/human"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/devices"
	"github.com/twinfleet/twinfleet/internal/planning/service"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/internal/planning/walk"
	"github.com/twinfleet/twinfleet/internal/planning/words"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// Plan is what a scenario will do. Rates are operations a second unless their name says otherwise.
type Plan struct {
	Scenario string  `json:"scenario"`         // its name
	Seed     uint64  `json:"seed"`             // from which all chance follows
	Target   string  `json:"target"`           // what kind of target; without credentials
	Hub      bool    `json:"hub"`              // it is an IoT Hub, or stands for one: with twins, and limits by tier
	Devices  int     `json:"devices"`          // of all groups
	Peak     int     `json:"peak_devices"`     // active at once, at most
	Seconds  float64 `json:"duration_seconds"` // of all stages
	Open     bool    `json:"open_ended"`       // a stage ends with its last step: the run takes longer

	Groups     []Group    `json:"groups"`           // in the order of the scenario
	Stages     []Stage    `json:"stages"`           // in their order
	Operations []Load     `json:"operations"`       // in the order of reports; those that there are
	Steady     *Steady    `json:"steady,omitempty"` // nil for a run without devices
	Machine    Machine    `json:"machine"`          // what the run needs where it runs
	Metering   Metering   `json:"metering"`         // messages, as a hub bills them
	Tier       *TierCheck `json:"tier,omitempty"`   // nil without a tier
	Need       Need       `json:"need"`             // what must be bought
	Notes      []string   `json:"notes,omitempty"`  // what a reader must know, one line each

	spans   []span.Span
	demands []demand.Demand
	daily   []demand.Demand // of a day in the steady state
	burst   time.Duration
}

// Steady is the busiest state in which the run could stay.
type Steady struct {
	Stage   string `json:"stage"`   // the one that is such a state, or that ends in it
	Stays   bool   `json:"stays"`   // it is such a state
	Devices int    `json:"devices"` // that are active in it
	// Within says that the stage has so many devices at the most, and ends without any.
	Within bool `json:"within,omitempty"`
	// Longer is the longest stage in which the run could stay, where that is another, which asks for less.
	Longer string `json:"longer_stage,omitempty"`
}

// String says which state it is: "as in stage hold", or "with the 1,000 devices at the end of stage up".
func (s *Steady) String() string {
	if s.Stays {
		return "as in stage " + s.Stage
	}
	if s.Within {
		return "with the " + human.Number(s.Devices, "device") + " that stage " + s.Stage + " has at the most"
	}
	return "with the " + human.Number(s.Devices, "device") + " at the end of stage " + s.Stage
}

// Choice says why this state and not the longer one stands for a day; empty without one.
func (s *Steady) Choice() string {
	if s.Longer == "" {
		return ""
	}
	return fmt.Sprintf("all day is as in stage %s, the busiest in which the run could stay: stage %s lasts longer and asks for less", s.Stage, s.Longer)
}

// Group is a group of devices.
type Group struct {
	Name    string `json:"name"`    // as the scenario has it
	Devices int    `json:"devices"` // that there are
}

// Stage is a stage of the scenario.
type Stage struct {
	Name    string  `json:"name"`                      // as the scenario has it
	Seconds float64 `json:"duration_seconds"`          // 0 when it ends with its last step
	From    int     `json:"from_devices"`              // active at its start
	To      int     `json:"to_devices"`                // active at its end
	Most    int     `json:"most_devices,omitempty"`    // active at the most, where that is more than at both ends; else 0
	Does    string  `json:"does,omitempty"`            // what it does beside changing the number of devices
	Steps   bool    `json:"ends_with_steps,omitempty"` // it lasts as long as its steps take
}

// Load is one operation over the whole run.
type Load struct {
	Operation string  `json:"operation"`               // its name in metrics
	Peak      float64 `json:"peak_per_second"`         // in the busiest second
	PeakStage string  `json:"peak_stage,omitempty"`    // that has the busiest second
	Steady    float64 `json:"steady_per_second"`       // in the steady state, of what is on a schedule
	Total     float64 `json:"total"`                   // in the whole run
	Paused    float64 `json:"paused_total,omitempty"`  // further ones that become due while a stage pauses the fleet, and are dropped
	Devices   float64 `json:"devices_total,omitempty"` // that they are about, where one is a call about several
	Estimate  bool    `json:"estimate"`                // Total depends on the target's answers; if false it is exact when the target answers at once
	Unpaced   bool    `json:"unpaced"`                 // part of it is not on a schedule: as fast as the target answers
}

// contributors are all that ask for something.
func contributors() []demand.Contributor {
	return append(devices.Contributors(), service.Contributors()...)
}

// Options of Make.
type Options struct {
	// Tier and Units are what to hold the scenario to; those of its target when empty.
	Tier  string
	Units int // 1 when 0
	// Quick plans by means alone: it follows no device and estimates no machine. Totals that chance decides differ a little.
	Quick bool
}

// ErrTier is returned for a tier or a number of units that cannot be bought.
var ErrTier = tier.ErrTier

// Make plans a scenario. It returns ErrTier for a tier that there is not, and the Plan without one.
func Make(sc *scenario.Scenario, o Options) (*Plan, error) {
	p := &Plan{Scenario: sc.Name, Seed: sc.Seed, Target: sc.Target.Can().Name, Hub: sc.Target.Can().Twins, Devices: sc.Devices(), spans: span.Of(sc), burst: sc.Target.Burst}
	for i := range sc.Fleet.Groups {
		p.Groups = append(p.Groups, Group{sc.Fleet.Groups[i].Name, sc.Fleet.Groups[i].Count})
	}
	p.demands = add(nil, -1, service.SetUp(sc))
	var followed *walk.Walk
	if !o.Quick {
		followed = walk.Of(sc, p.spans)
	}
	for i := range p.spans {
		s := &p.spans[i]
		p.Peak = max(p.Peak, s.Peak())
		p.Seconds += s.Duration.Seconds()
		p.Open = p.Open || s.WithSteps()
		p.Stages = append(p.Stages, Stage{s.Name, s.Duration.Seconds(), s.From, s.To, 0, words.Does(s.Stage), s.WithSteps()})
		if most := s.Peak(); most > max(s.From, s.To) {
			p.Stages[i].Most = most
		}
		for _, c := range contributors() {
			p.demands = add(p.demands, i, c(sc, &demand.Part{Span: s, Walk: followed}))
		}
	}
	p.steady(sc)
	p.Operations = p.loads()
	if !o.Quick {
		p.Machine = p.machine(sc)
	}
	p.Need = p.need(sc)
	p.Notes = slices.Concat(sc.Scaled, sc.Fitted, words.Notes(sc, p.spans))
	if o.Tier == "" {
		o.Tier, o.Units = sc.Target.Tier, sc.Target.Units
	}
	return p, p.Hold(o)
}

// steady finds the busiest state in which the run could stay: the one that counts for the most messages.
func (p *Plan) steady(sc *scenario.Scenario) {
	kb := tier.Limits{MeterBytes: 4 << 10}
	type state struct {
		span.State
		messages, calls float64
		daily           []demand.Demand
	}
	var best, longest *state
	lasts := func(x *state) time.Duration { return p.spans[x.Number].Duration }
	for i := range p.spans {
		for _, s := range span.States(p.spans, &p.spans[i]) {
			x := &state{State: s}
			for _, c := range contributors() {
				x.daily = add(x.daily, s.Number, c(sc, &demand.Part{Span: &s.Span}))
			}
			for _, d := range x.daily {
				x.messages += messages(&d, kb, true)
				if d.Bytes >= 0 {
					x.calls += d.Units()
				}
			}
			if best == nil || cmp.Or(cmp.Compare(x.messages, best.messages), cmp.Compare(x.calls, best.calls),
				cmp.Compare(x.To, best.To), cmp.Compare(lasts(x), lasts(best))) > 0 {
				best = x
			}
			if x.Calm && (longest == nil || lasts(x) > lasts(longest)) {
				longest = x
			}
		}
		if p.spans[i].Groups == nil {
			break
		}
	}
	if best == nil {
		return
	}
	p.Steady, p.daily = &Steady{Stage: best.Name, Stays: best.Calm, Devices: best.To, Within: best.To != p.spans[best.Number].To}, best.daily
	if best.Calm && lasts(longest) > lasts(best) && longest.messages < best.messages {
		p.Steady.Longer = longest.Name
	}
}

// Hold holds the plan to another tier, or to none when o names none. It returns ErrTier.
func (p *Plan) Hold(o Options) error {
	p.Metering, p.Tier = p.meter(tier.Limits{MeterBytes: 4 << 10}), nil
	if o.Tier == "" {
		return nil
	}
	limits, err := tier.For(tier.Tier(o.Tier), max(1, o.Units))
	if err != nil {
		return err
	}
	p.Metering = p.meter(limits)
	p.Tier = p.check(limits)
	return nil
}

func add(to []demand.Demand, stage int, demands []demand.Demand) []demand.Demand {
	for _, d := range demands {
		if d.Total > 0 {
			d.Stage = stage
			to = append(to, d)
		}
	}
	return to
}

// loads adds the demands up by operation, in the order of reports.
func (p *Plan) loads() []Load {
	var all []Load
	for _, op := range metrics.Operations() {
		l := Load{Operation: string(op)}
		peaks := make(map[int]float64)
		found := false
		for _, d := range p.demands {
			if d.Operation != op {
				continue
			}
			found, l.Estimate = true, l.Estimate || d.About
			if d.Paused {
				l.Paused += d.Total
				continue
			}
			l.Total += d.Total
			if d.Units() != d.Total {
				l.Devices += d.Units()
			}
			l.Unpaced = l.Unpaced || d.Peak == 0
			peaks[d.Stage] += d.Peak
		}
		for _, d := range p.daily {
			if d.Operation == op && d.Peak > 0 {
				l.Steady += d.Total / span.Day.Seconds()
			}
		}
		if !found {
			continue
		}
		for i := range p.spans {
			if peaks[i] > l.Peak {
				l.Peak, l.PeakStage = peaks[i], p.spans[i].Name
			}
		}
		all = append(all, l)
	}
	return all
}

// Find is the load of an operation; nil when there is none.
func (p *Plan) Find(op metrics.Operation) *Load {
	for i := range p.Operations {
		if p.Operations[i].Operation == string(op) {
			return &p.Operations[i]
		}
	}
	return nil
}
