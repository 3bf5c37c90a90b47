// Package plan tells what a scenario will ask of its target and of the machine that runs it, before it
// runs: pure functions of the scenario. Figures are those of the schedule; what the target makes of them
// the run shows.
package plan

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// Plan is what a scenario will do. Rates are operations a second unless their name says otherwise.
type Plan struct {
	Scenario string  `json:"scenario"`
	Seed     uint64  `json:"seed"`
	Target   string  `json:"target"`           // what kind of target; without credentials
	Devices  int     `json:"devices"`          // of all groups
	Peak     int     `json:"peak_devices"`     // active at once, at most
	Seconds  float64 `json:"duration_seconds"` // of all stages
	Open     bool    `json:"open_ended"`       // a stage ends with its last step: the run takes longer

	Groups     []Group    `json:"groups"`
	Stages     []Stage    `json:"stages"`
	Operations []Load     `json:"operations"`
	Machine    Machine    `json:"machine"`
	Metering   Metering   `json:"metering"`
	Tier       *TierCheck `json:"tier,omitempty"` // nil without a tier
	Notes      []string   `json:"notes,omitempty"`

	demands []Demand
	typical int // the stage that stands for the run; see typicalOf
}

// Group is a group of devices.
type Group struct {
	Name    string `json:"name"`
	Devices int    `json:"devices"`
}

// Stage is a stage of the scenario.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"duration_seconds"` // 0 when it ends with its last step
	From    int     `json:"from_devices"`
	To      int     `json:"to_devices"`
	Does    string  `json:"does,omitempty"` // what it does beside changing the number of devices
}

// Load is one operation over the whole run.
type Load struct {
	Operation string  `json:"operation"`
	Peak      float64 `json:"peak_per_second"` // in the busiest second
	PeakStage string  `json:"peak_stage,omitempty"`
	Mean      float64 `json:"mean_per_second"` // over the stage that stands for the run, of what is on a schedule
	Total     float64 `json:"total"`           // in the whole run
	Unpaced   bool    `json:"unpaced"`         // part of it is not on a schedule: as fast as the target answers
}

// Demand is what one part of a scenario asks of the target in one stage.
type Demand struct {
	Operation metrics.Operation
	Group     string  // of devices, or a query's name
	Total     float64 // operations in the stage
	Peak      float64 // operations in the busiest second; 0 when not on a schedule
	PeakFor   time.Duration
	Requests  float64 // that the target counts for one operation, at most: a query's pages; 1 when 0
	Bytes     int     // of one operation as the target meters it; below 0 is free
	Copies    int     // how often one is metered; once when 0
	stage     int     // -1 before the first one
}

func (d *Demand) requests() float64 { return max(1, d.Requests) }

// contributor is one part of the language: what it asks for in a stage. To plan a new key, add one.
type contributor func(sc *scenario.Scenario, s *span) []Demand

func contributors() []contributor {
	return []contributor{connections, reports, telemetry, queries, steps, serviceLoads, rollouts, jobs, freshness}
}

// Options of Make.
type Options struct {
	// Tier and Units are what to hold the scenario to; those of its target when empty.
	Tier  string
	Units int
}

// Make plans a scenario. It returns tier.ErrTier for a tier that there is not.
func Make(sc *scenario.Scenario, o Options) (*Plan, error) {
	p := &Plan{Scenario: sc.Name, Seed: sc.Seed, Target: targetName(sc), Devices: sc.Devices()}
	for i := range sc.Fleet.Groups {
		p.Groups = append(p.Groups, Group{sc.Fleet.Groups[i].Name, sc.Fleet.Groups[i].Count})
	}
	p.add(-1, setUp(sc))
	spans := spansOf(sc)
	p.typical = typicalOf(spans)
	for i := range spans {
		s := &spans[i]
		p.Peak = max(p.Peak, s.peak())
		p.Seconds += s.Duration.Seconds()
		p.Open = p.Open || s.Duration == 0
		p.Stages = append(p.Stages, Stage{s.Name, s.Duration.Seconds(), s.from, s.to, does(s.Stage)})
		for _, c := range contributors() {
			p.add(i, c(sc, s))
		}
	}
	p.Operations = p.loads(spans)
	p.Machine = machineOf(sc, p.Peak)
	if o.Tier == "" {
		o = Options{sc.Target.Tier, sc.Target.Units}
	}
	p.Metering = p.meter(spans, tier.Limits{MeterBytes: 4 << 10})
	if o.Tier != "" {
		limits, err := tier.For(tier.Tier(o.Tier), max(1, o.Units))
		if err != nil {
			return nil, err
		}
		p.Metering = p.meter(spans, limits)
		p.Tier = p.check(spans, limits, sc.Target.Burst)
	}
	p.Notes = notes(sc)
	return p, nil
}

func (p *Plan) add(stage int, demands []Demand) {
	for _, d := range demands {
		if d.Total > 0 {
			d.stage = stage
			p.demands = append(p.demands, d)
		}
	}
}

func targetName(sc *scenario.Scenario) string {
	switch sc.Target.Kind {
	case scenario.Embedded:
		return "embedded hub"
	case scenario.Broker:
		return "MQTT broker"
	default:
		return "IoT Hub"
	}
}

// loads adds the demands up by operation, in the order of reports.
func (p *Plan) loads(spans []span) []Load {
	var all []Load
	for _, op := range metrics.Operations() {
		l := Load{Operation: string(op)}
		peaks := make(map[int]float64)
		found := false
		for _, d := range p.demands {
			if d.Operation != op {
				continue
			}
			found = true
			l.Total += d.Total
			l.Unpaced = l.Unpaced || d.Peak == 0
			peaks[d.stage] += d.Peak
			if d.stage == p.typical && d.Peak > 0 && spans[p.typical].Duration > 0 {
				l.Mean += d.Total / spans[p.typical].Duration.Seconds()
			}
		}
		if !found {
			continue
		}
		for i := range spans {
			if peaks[i] > l.Peak {
				l.Peak, l.PeakStage = peaks[i], spans[i].Name
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
