package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/service"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// Need is what a scenario asks of an IoT Hub, whatever its tier: class by class of the operations that tiers limit, stage by
// stage, and for a whole day in the steady state. Rates are means of the schedule, operations a second; they do not follow single
// devices. What a query finds is not known before: least is with queries that find nothing, the other with such as find the whole
// fleet.
type Need struct {
	Devices  int         `json:"devices"`               // identities that the hub must know
	Burst    float64     `json:"burst_seconds"`         // so much of a limit's rate may come at once
	Steady   string      `json:"steady,omitempty"`      // the state that a day goes on in; empty for a run without devices
	Stages   []StageNeed `json:"stages"`                // in their order
	Classes  []Class     `json:"classes"`               // those of which there is anything
	Registry float64     `json:"registry_operations"`   // identities that are made before the run: once, at the registry's pace
	Tags     float64     `json:"tag_operations"`        // twins that are tagged before the first query: once, as fast as the hub takes it
	Metered  []Metered   `json:"-"`                     // what counts for messages
	Assumes  []string    `json:"assumptions,omitempty"` // what was taken to be so, one line each
}

// StageNeed is a stage of a Need.
type StageNeed struct {
	Name          string  `json:"name"`             // as the scenario has it
	Seconds       float64 `json:"duration_seconds"` // 0 when it ends with its last step
	MessagesLeast float64 `json:"messages_least"`   // metered by 4 KB, if queries find nothing
	Messages      float64 `json:"messages"`         // likewise, if they find the whole fleet
}

// Class is what is asked of one class of operations.
type Class struct {
	Class       string  `json:"class"`                   // its name, such as ClassReads
	Unit        string  `json:"unit,omitempty"`          // what is counted, where that is not the operation: "by 4 KB"
	SteadyLeast float64 `json:"steady_per_second_least"` // in the steady state, if queries find nothing
	Steady      float64 `json:"steady_per_second"`       // likewise, if they find the whole fleet
	Stages      []Ask   `json:"stages"`                  // those that ask for anything
}

// Ask is what one stage asks of a class.
type Ask struct {
	Stage     int     `json:"stage"`                 // its number, from 0
	MeanLeast float64 `json:"mean_per_second_least"` // over the stage, if queries find nothing
	Mean      float64 `json:"mean_per_second"`       // over the stage, if they find the whole fleet
	Peak      float64 `json:"peak_per_second"`       // in the busiest second, if all that comes in bursts does at once
	Bursts    []Burst `json:"-"`                     // of what the peak is made
}

// Burst is a part of an Ask that does not come evenly. Rates are a second.
type Burst struct {
	Mean, MeanLeast float64 // over the stage
	Peak, PeakLeast float64 // in the busiest time
	Seconds         float64 // that the busiest time lasts
	Rises           bool    // it changes evenly over the stage, and is at its peak at one end
}

// Metered is a number of operations that count for messages.
type Metered struct {
	Stage  int     // in which they come; SteadyDay for those of a day in the steady state
	Count  float64 // operations
	Bytes  int     // of each
	Page   int     // of a full page, where Bytes come in pages that are metered each; 0 where not
	Copies int     // how often each is metered; once when 0
	Finds  bool    // Bytes is what a query finds at most; at least it counts once
	Calls  float64 // then: how many queries that are
}

// SteadyDay stands for the number of a stage.
const SteadyDay = -2

// The classes of a Need, as people read them.
const (
	ClassConnections = "connections"    // new ones
	ClassTelemetry   = "telemetry"      // device-to-cloud messages
	ClassReads       = "twin reads"     // by devices and services
	ClassUpdates     = "twin updates"   // by devices and services
	ClassQueries     = "queries"        // each page of a result counts
	ClassMethods     = "direct methods" // each started 4 KB of request payload counts
	ClassJobs        = "jobs"           // operations on jobs
)

// need puts together what the demands of stages and steady state ask for, by means alone: walks would make it follow chance.
func (p *Plan) need(sc *scenario.Scenario) Need {
	n := Need{Devices: sc.Devices(), Burst: cmp.Or(p.burst, defaultBurst).Seconds()}
	if p.Steady != nil {
		n.Steady = p.Steady.String()
		if p.Steady.Longer != "" {
			n.Assumes = append(n.Assumes, p.Steady.Choice())
		}
	}
	for _, d := range service.SetUp(sc) {
		n.Registry += d.Units()
	}
	var all []demand.Demand
	for i := range p.spans {
		for _, c := range contributors() {
			all = add(all, i, c(sc, &demand.Part{Span: &p.spans[i]}))
		}
	}
	for i := range p.spans {
		n.Stages = append(n.Stages, StageNeed{Name: p.spans[i].Name, Seconds: p.spans[i].Duration.Seconds()})
	}
	n.Metered = append(metered(all, false), metered(p.daily, true)...)
	kb := tier.Limits{MeterBytes: 4 << 10}
	for _, m := range n.Metered {
		if m.Stage >= 0 {
			n.Stages[m.Stage].MessagesLeast += m.messages(kb, false)
			n.Stages[m.Stage].Messages += m.messages(kb, true)
		}
	}
	setUp := func(d *demand.Demand) bool { return d.Operation == metrics.OpTag && d.Peak == 0 && d.Stage == 0 }
	for _, d := range all {
		if setUp(&d) {
			n.Tags += d.Units()
		}
	}
	byStage := make([][]demand.Demand, len(p.spans))
	for _, d := range all {
		if !d.Paused && !setUp(&d) {
			byStage[d.Stage] = append(byStage[d.Stage], d)
		}
	}
	for _, x := range classesOf(tier.Limits{}) {
		c := Class{Class: x.name}
		for _, d := range p.daily {
			if slices.Contains(x.ops, d.Operation) && !d.Free {
				least, most := counts(&d)
				c.SteadyLeast += least / span.Day.Seconds()
				c.Steady += most / span.Day.Seconds()
			}
		}
		for i := range p.spans {
			if a, ok := ask(byStage[i], i, x.ops, max(p.spans[i].Duration, span.Second).Seconds()); ok {
				c.Stages = append(c.Stages, a)
			}
		}
		if blocks(x.name, all) {
			c.Unit = unit4KB
			n.Assumes = append(n.Assumes, p.methods(c.Steady))
		}
		if len(c.Stages) > 0 || c.Steady > 0 {
			n.Classes = append(n.Classes, c)
		}
	}
	return n
}

// unit4KB says that a started block counts, not a call.
const unit4KB = "by 4 KB"

// blocks tells whether an operation of a class counts more than once.
func blocks(class string, all []demand.Demand) bool {
	return class == ClassMethods && slices.ContainsFunc(all, func(d demand.Demand) bool { return d.Operation == metrics.OpMethod && d.Bytes > tier.MethodBytes })
}

// methods says how many calls are so many units that count.
func (p *Plan) methods(units float64) string {
	calls := 0.0
	for _, d := range p.daily {
		if d.Operation == metrics.OpMethod {
			calls += d.Units() / span.Day.Seconds()
		}
	}
	text := "direct methods count by each started 4 KB of their request"
	if calls > 0 {
		text += fmt.Sprintf(": %s calls/s all day are %s units/s", perSecond(calls), perSecond(units))
	}
	return text
}

func perSecond(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

// counts is how often a demand counts for its limit.
func counts(d *demand.Demand) (least, most float64) {
	blocks := 1.0
	if d.Operation == metrics.OpMethod {
		blocks = max(1, math.Ceil(float64(d.Bytes)/tier.MethodBytes))
	}
	least = d.Units() * blocks
	return least, least * d.RequestsEach()
}

// ask is what a stage, of which all demands are given, asks of some operations.
func ask(all []demand.Demand, stage int, ops []metrics.Operation, seconds float64) (a Ask, any bool) {
	a.Stage = stage
	for _, d := range all {
		if !slices.Contains(ops, d.Operation) || d.Free {
			continue
		}
		least, most := counts(&d)
		b := Burst{MeanLeast: least / seconds, Mean: most / seconds, Seconds: min(max(d.PeakFor, span.Second).Seconds(), seconds), Rises: d.Rises}
		b.PeakLeast, b.Peak = b.MeanLeast, b.Mean
		if d.Peak > 0 {
			each := least / d.Units()
			b.PeakLeast, b.Peak = d.Peak*each, d.Peak*each*d.RequestsEach()
		}
		a.Mean, a.MeanLeast, a.Peak, any = a.Mean+b.Mean, a.MeanLeast+b.MeanLeast, a.Peak+b.Peak, true
		a.Bursts = append(a.Bursts, b)
	}
	return a, any
}

// metered is what of some demands counts for messages.
func metered(all []demand.Demand, day bool) (out []Metered) {
	for _, d := range all {
		if d.Paused || d.Bytes < 0 {
			continue
		}
		m := Metered{Stage: max(0, d.Stage), Count: d.Units(), Bytes: d.Bytes, Page: d.Page, Copies: d.Copies, Finds: d.Finds, Calls: d.Total}
		if day {
			m.Stage = SteadyDay
		}
		out = append(out, m)
	}
	return out
}

func (m *Metered) messages(l tier.Limits, most bool) float64 {
	if m.Finds && !most {
		return m.Calls
	}
	return m.Count * float64(l.Paged(m.Bytes, m.Page)*int64(max(1, m.Copies)))
}

// RunMessages is what the stages count for, likewise.
func (n *Need) RunMessages(meterBytes int, most bool) (sum float64) {
	for _, m := range n.Metered {
		if m.Stage >= 0 {
			sum += m.messages(tier.Limits{MeterBytes: meterBytes}, most)
		}
	}
	return sum
}

// Messages is what a day in the steady state counts for, with a message for each started block of so many bytes: if queries find
// the whole fleet, or nothing.
func (n *Need) Messages(meterBytes int, most bool) float64 {
	sum := 0.0
	for _, m := range n.Metered {
		if m.Stage == SteadyDay {
			sum += m.messages(tier.Limits{MeterBytes: meterBytes}, most)
		}
	}
	return sum
}

// CutOff is when so many messages a day are used up for the first time, in seconds from the start of the run, which is taken for
// the start of the day and goes on in the steady state; 0 for never.
func (n *Need) CutOff(meterBytes int, quota float64, most bool) float64 {
	seconds, stages := make([]float64, len(n.Stages)), make([]float64, len(n.Stages))
	for i, s := range n.Stages {
		seconds[i] = s.Seconds
	}
	for _, m := range n.Metered {
		if m.Stage >= 0 {
			stages[m.Stage] += m.messages(tier.Limits{MeterBytes: meterBytes}, most)
		}
	}
	return cutOff(seconds, stages, n.Messages(meterBytes, most), quota)
}
