// Package exercise makes the trials of a rollout study: from a scenario it derives one in which the whole fleet comes up at a rate, or loses
// all its connections at once, runs it with the engine of every run, and reads from the record what came of it.
package exercise

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/scenario"
)

// The stages of a trial, in their order. A trial of bringing up ends with the second one.
const (
	stageRefill = "refill"   // of a target elsewhere: until the bursts that an earlier trial used are there again
	StageUp     = "bring-up" // all devices come, at the rate of the trial
	StageGather = "gather"   // until all are connected, and what connecting brings is answered
	StageStorm  = "storm"    // all lose their connections at once, and come back
)

// Part is what of a study a trial is for.
type Part string

// The parts of a study.
const (
	BringUp Part = "bring_up" // how fast the fleet can be brought up
	Storm   Part = "storm"    // how long a reconnect storm takes at a size
	Backoff Part = "backoff"  // with which back-off the fleet is back soonest
	Again   Part = "again"    // one of the best two back-offs with another seed
)

// Asked is a trial that is to be made.
type Asked struct {
	Number  int          `json:"number"`            // from 1, in the order of the trials
	Part    Part         `json:"part"`              // what it is for
	Phase   search.Phase `json:"phase,omitempty"`   // of a search for a rate; empty for storms
	Devices int          `json:"devices"`           // of the fleet
	Rate    float64      `json:"rate"`              // at which they come up, devices a second
	Backoff string       `json:"backoff,omitempty"` // of all groups: exponential, steep, fixed or none; empty leaves each its own
	Seed    uint64       `json:"seed"`              // of the run
}

// IsStorm reports whether connections are cut in it.
func (a *Asked) IsStorm() bool { return a.Part != BringUp }

// Trial is a trial that can be run.
type Trial struct {
	Asked
	Scenario *scenario.Scenario
	Expected time.Duration // how long it takes when nothing waits longer than it has to
}

// Options of a Base. Zero values mean the scenario's own.
type Options struct {
	Devices int    // of the whole fleet
	Tier    string // what the target is known to have, where the scenario cannot say so
	Units   int    // see Tier
}

// Base is a scenario from which the trials of a study are made.
type Base struct {
	Scenario *scenario.Scenario // as it stands
	Devices  int                // of the whole fleet
	Own      float64            // the rate at which the scenario brings its devices up, devices a second
	Notes    []string           // what of the scenario trials leave out or add, a line each
	Fresh    bool               // the target begins each trial anew

	load     trial.Load
	o        Options
	carried  map[string]any
	rules    map[string]map[string][]placed // by the stage that a trial ends with, then by selector
	periodic bool                           // devices do something on their own schedules
}

// placed is a threshold as it is written in the scenario of a trial.
type placed struct {
	Threshold string        `json:"threshold"`
	Stage     string        `json:"stage"`
	Window    string        `json:"window,omitempty"`
	For       string        `json:"for,omitempty"`
	needs     time.Duration // the stage must be so long for Window and For
}

// ErrNoDevices is returned for a scenario that brings no device up.
var ErrNoDevices = errors.New("no fleet to bring up")

// NewBase finds what the trials of a study have in common. It returns ErrNoDevices, trial.ErrNoThresholds, or what loading does.
func NewBase(load trial.Load, o Options) (*Base, error) {
	sc, err := load(nil)
	if err != nil {
		return nil, err
	}
	b := &Base{Scenario: sc, Devices: sc.Devices(), Own: trial.RampRate(sc), Fresh: sc.Target.Can().InProcess, load: load, o: o}
	if b.Own <= 0 {
		return nil, fmt.Errorf("%w: no stage of the scenario has devices; write stages: [{name: ramp, duration: 1m, devices: 100%%}]", ErrNoDevices)
	}
	if o.Devices > 0 {
		b.Devices = o.Devices
	}
	if n := len(sc.Fleet.Groups); b.Devices < n {
		return nil, fmt.Errorf("%w: %d devices are too few for %d groups; give each one at least", ErrNoDevices, b.Devices, n)
	}
	if len(sc.Thresholds) == 0 {
		return nil, fmt.Errorf(`%w: the scenario does not say what it means to hold; write, for example, thresholds: {connect: ["p(99) < 1s", "error_rate < 0.1%%"]}`,
			trial.ErrNoThresholds)
	}
	if b.carried, err = trial.Carried(sc); err != nil {
		return nil, err
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		b.periodic = b.periodic || g.Report.Every > 0 || g.Telemetry.Every > 0 || !g.Online.IsZero() || g.Tokens.Life > 0
	}
	b.leftOut()
	return b, b.place()
}

func (b *Base) note(format string, a ...any) { b.Notes = append(b.Notes, fmt.Sprintf(format, a...)) }

// leftOut says what of the load trials do not have.
func (b *Base) leftOut() {
	v, rated := &b.Scenario.Service, false
	for i := range b.Scenario.Stages {
		t := &b.Scenario.Stages[i]
		rated = rated || t.ReportRate != nil || t.TelemetryRate != nil
	}
	if rated {
		b.note("rates of the whole fleet (report_rate, telemetry_rate) are left out: devices do what connecting brings, and what is due on their own schedules")
	}
	if len(v.Queries)+len(v.Methods)+len(v.TwinReads)+len(v.Rollouts)+len(v.Jobs)+len(v.Tags) > 0 {
		b.note("the service side is left out: what it asks of the target comes on top")
	}
}

// brought are the operations that connecting brings.
func brought(op metrics.Operation) bool {
	switch op {
	case metrics.OpConnect, metrics.OpSubscribe, metrics.OpTwinGet, metrics.OpTwinReport, threshold.OfDevices:
		return true
	}
	return false
}

// place finds for each threshold the stage of a trial that it is about, in trials that end with the fleet up and in storms; or none.
func (b *Base) place() error {
	b.rules = map[string]map[string][]placed{StageGather: {}, StageStorm: {}}
	n := 0
	for i := range b.Scenario.Thresholds {
		t := &b.Scenario.Thresholds[i]
		up, storm := b.about(t)
		if up && t.Operation == threshold.OfDevices {
			up = b.put(StageGather, StageGather, t, false)
		} else if up {
			up = b.put(StageGather, StageUp, t, true)
		}
		if storm {
			storm = b.put(StageStorm, StageStorm, t, t.Operation != threshold.OfDevices)
		}
		switch {
		case !up && !storm:
			b.note("the threshold %s is left out: it is not about what connecting brings", t)
		case up:
			n++
		}
	}
	if n == 0 {
		return fmt.Errorf(`%w: none of the scenario's %d is about bringing devices up; write, for example, thresholds: {connect: ["p(99) < 1s"]}`,
			trial.ErrNoThresholds, len(b.Scenario.Thresholds))
	}
	return nil
}

// about says whether a threshold is judged while devices come up, and while they come back.
func (b *Base) about(t *threshold.Threshold) (up, storm bool) {
	if t.Operation == metrics.OpRecovery {
		return false, true
	}
	if !brought(t.Operation) || t.WantsMore() && t.ByStage() { // a number of the whole run says nothing of a part of it
		return false, false
	}
	active := 0
	for i := range b.Scenario.Stages {
		x := &b.Scenario.Stages[i]
		if x.Name == t.Scope.Stage {
			return x.Devices > active, x.Storm != nil
		}
		active = max(active, x.Devices)
	}
	return t.Scope.Stage == "", t.Scope.Stage == ""
}

// put adds a threshold to the trials of a kind, if it can be judged in them. windowed keeps its window.
func (b *Base) put(kind, stage string, t *threshold.Threshold, windowed bool) bool {
	p := placed{Threshold: t.Expr, Stage: stage}
	if windowed && t.Scope.Window > 0 {
		p.Window, p.needs = t.Scope.Window.String(), t.Scope.Window+t.Scope.For
		if t.Scope.For > 0 {
			p.For = t.Scope.For.String()
		}
	}
	alone := *b
	alone.rules = map[string]map[string][]placed{kind: {t.Selector: {p}}}
	a := Asked{Part: BringUp, Devices: b.Devices, Rate: b.Own}
	if kind == StageStorm {
		a.Part = Storm
	}
	if _, err := alone.Make(a); err != nil {
		return false
	}
	b.rules[kind][t.Selector] = append(b.rules[kind][t.Selector], p)
	return true
}

// stage is one in the scenario of a trial.
type stage map[string]any

// How long a stage may take that ends when everything is answered.
const (
	longestGather = 5 * time.Minute
	shortestStorm = 10 * time.Minute
	slowest       = 20.0 // devices a second that come back at least, or a storm is not waited for to its end
)

func (b *Base) at(name string, d time.Duration) stage {
	s := stage{"name": name, "duration": d.Round(time.Millisecond).String()}
	maps.Copy(s, b.carried)
	return s
}

// arrival is how long devices take to come at a rate, with one more for the rounding of the last.
func arrival(devices int, rate float64) time.Duration {
	return time.Duration(math.Ceil(float64(devices+1)/rate*1000)) * time.Millisecond
}

// longestStorm is how long a storm is waited for.
func longestStorm(devices int) time.Duration {
	return shortestStorm + time.Duration(float64(devices)/slowest*float64(time.Second)).Round(time.Second)
}

// burst is for how long of its rate a target with the limits of a tier lets pass at once.
func (b *Base) burst() time.Duration {
	if d := b.Scenario.Target.Burst; d > 0 {
		return d
	}
	return time.Minute // as the embedded hub has it, and the plan assumes
}

// Make derives the scenario of a trial.
func (b *Base) Make(a Asked) (*Trial, error) {
	up := arrival(a.Devices, a.Rate)
	rise := b.at(StageUp, up)
	rise["devices"], rise["connect_rate"] = "100%", fmt.Sprintf("%.6f/s", a.Rate)
	var stages []stage
	t := &Trial{Asked: a, Expected: up + 2*time.Second}
	if !b.Fresh && b.Scenario.Target.Limited() {
		stages = append(stages, stage{"name": stageRefill, "duration": b.burst().String(), "devices": 0})
		t.Expected += b.burst()
	}
	stages = append(stages, rise, b.at(StageGather, longestGather))
	kind := StageGather
	if a.IsStorm() {
		kind = StageStorm
		s := b.at(StageStorm, longestStorm(a.Devices))
		s["storm"] = map[string]any{"drop": "100%"}
		stages = append(stages, s)
		t.Expected += max(12*time.Second, up/2) // the longest first wait of a back-off is 10 s
	}
	set := []string{"seed=" + strconv.FormatUint(a.Seed, 10)}
	if b.Scenario.Target.Can().Service {
		set = append(set, "service={}")
	}
	for _, x := range []struct {
		key   string
		value any
	}{{"stages", stages}, {"thresholds", b.judged(kind, up)}} {
		text, err := json.Marshal(x.value)
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", x.key, err)
		}
		set = append(set, x.key+"="+string(text))
	}
	if a.Backoff != "" {
		for i := range b.Scenario.Fleet.Groups {
			set = append(set, fmt.Sprintf("fleet.groups[%d].backoff=%s", i, a.Backoff))
		}
	}
	sc, err := b.load(append(set, trial.Resized(b.Scenario, a.Devices)...))
	if err != nil {
		return nil, fmt.Errorf("making the scenario of a trial of %d devices: %w", a.Devices, err)
	}
	t.Scenario = sc
	return t, nil
}

// judged are the thresholds of a trial. A window that is longer than the fleet takes to come up is the whole of it.
func (b *Base) judged(kind string, up time.Duration) map[string][]placed {
	all := make(map[string][]placed)
	for selector, rules := range b.rules[kind] {
		for _, p := range rules {
			if p.Stage == StageUp && p.needs > up {
				p.Window, p.For = "", ""
			}
			all[selector] = append(all[selector], p)
		}
	}
	return all
}

// Thresholds are those by which trials are judged: of bringing up, or of storms.
func (b *Base) Thresholds(storm bool) (texts []string, err error) {
	a := Asked{Part: BringUp, Devices: b.Devices, Rate: b.Own}
	if storm {
		a.Part = Storm
	}
	t, err := b.Make(a)
	if err != nil {
		return nil, err
	}
	for i := range t.Scenario.Thresholds {
		texts = append(texts, t.Scenario.Thresholds[i].String())
	}
	return texts, nil
}

// Backoff is the back-off of all groups; "" when they differ.
func (b *Base) Backoff() string {
	one := b.Scenario.Fleet.Groups[0].Backoff
	for i := range b.Scenario.Fleet.Groups {
		if b.Scenario.Fleet.Groups[i].Backoff != one {
			return ""
		}
	}
	return one
}

// Limits are what the target's tier allows, as far as anybody says which it is.
func (b *Base) Limits() (tier.Limits, bool) {
	name, units := b.o.Tier, b.o.Units
	if name == "" {
		name, units = b.Scenario.Target.Tier, b.Scenario.Target.Units
	}
	l, err := tier.For(tier.Tier(name), max(1, units))
	return l, err == nil
}
