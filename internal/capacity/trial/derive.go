package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// The stages of a trial, in their order. Those that it does not need are left out.
const (
	stageFirst   = "first"   // to the devices of the lowest load
	stageClean   = "clean"   // the lowest load, until the target answers as it did at first
	stageConnect = "connect" // all devices of the trial come
	stageGather  = "gather"  // until all are connected and everything is answered
	stageDrain   = "drain"   // more than the load, until what a target lets pass at once is used up
	stageRest    = "rest"    // until everything is answered
	stageSettle  = "settle"  // the load, until the figures have come to rest
	// Hold is the load, and what is judged of it.
	Hold = "hold"
)

// Preparing are the stages of a trial whose load is not what the trial is about.
func Preparing() []string {
	return []string{stageFirst, stageClean, stageConnect, stageGather, stageDrain, stageRest}
}

// Options of a Base. Zero values mean the defaults.
type Options struct {
	Hold   time.Duration // how long a load is judged; 30 s, or until a hundred operations are due
	Settle time.Duration // how long it may take to come to rest; twice as long as Hold
	// ConnectRate is at which rate devices are brought up, a second; the scenario's when 0.
	ConnectRate float64
	// Tier and Units are what the target is known to have, where the scenario cannot say so; they change nothing but what is said of it.
	Tier  string
	Units int
}

// Load reads the scenario once more, with further keys set.
type Load func(set []string) (*scenario.Scenario, error)

// Errors of NewBase, and of Make.
var (
	// ErrNothingToVary is returned for a scenario that has nothing of what is to be varied.
	ErrNothingToVary = errors.New("nothing to vary")
	// ErrNoThresholds is returned for a scenario that does not say what it means to hold.
	ErrNoThresholds = errors.New("no thresholds")
)

// overload is how many times the load is asked for while a burst is used up; see drainFor.
const overload = 3

// How many operations a verdict needs at least: few in all, and tail above a percentile that is judged.
const (
	few  = 100
	tail = 40
)

// Base is a scenario from which trials are made.
type Base struct {
	Scenario *scenario.Scenario
	Vary     Vary
	Own      float64  // the load that the scenario makes as it stands
	Notes    []string // what of the scenario trials leave out or add, a line each
	Limited  bool     // the target may throttle, so that bursts are used up
	Fresh    bool     // the target begins each trial anew

	load     Load
	o        Options
	source   map[string]any
	steady   *scenario.Stage
	explicit bool           // somebody said how long a load is judged
	carried  map[string]any // of the steady stage: what the target and the network do in it
	judged   map[string][]rule
	reports  float64 // a second and device, in the steady state
	sends    float64 // likewise
}

// rule is a threshold as it is written in the scenario of a trial.
type rule struct {
	Threshold string `json:"threshold"`
	Stage     string `json:"stage"`
	Window    string `json:"window,omitempty"`
	For       string `json:"for,omitempty"`
}

// NewBase finds what trials of a scenario have in common. It returns ErrNothingToVary or ErrNoThresholds, or what loading returns.
func NewBase(load Load, v Vary, o Options) (*Base, error) {
	sc, err := load(nil)
	if err != nil {
		return nil, err
	}
	if why := v.possible(sc); why != "" {
		return nil, fmt.Errorf("%w: %s", ErrNothingToVary, why)
	}
	if len(sc.Thresholds) == 0 {
		return nil, fmt.Errorf(`%w: the scenario does not say what it means to hold; write, for example, thresholds: {%s: ["p(99) < 500ms", "error_rate < 0.1%%"]}`,
			ErrNoThresholds, exampleOf(v, sc))
	}
	p, err := plan.Make(sc, plan.Options{})
	if err != nil {
		return nil, fmt.Errorf("planning the scenario: %w", err)
	}
	if p.Steady == nil {
		return nil, fmt.Errorf("%w: no stage has devices", ErrNothingToVary)
	}
	b := &Base{Scenario: sc, Vary: v, Own: v.own(sc, p), load: load, o: o, Limited: sc.Target.Limited(), Fresh: sc.Target.Can().InProcess}
	if err := yaml.Load(sc.Source, &b.source); err != nil {
		return nil, fmt.Errorf("reading the scenario as it runs: %w", err)
	}
	b.explicit = o.Hold > 0
	b.o.Hold = max(b.o.Hold, longestWindow(sc))
	b.rates(p)
	b.carry(p.Steady.Stage)
	if l, ok := b.Limits(); ok && !l.HasTwins && b.usesTwins() {
		return nil, fmt.Errorf("%w: tier %s has no twins, which the scenario uses; take a standard tier", ErrNothingToVary, l.Tier)
	}
	if err := b.scope(); err != nil {
		return nil, err
	}
	if b.explicit {
		if t, err := b.make(b.probe(), 0); err == nil {
			if few := t.few(b.enough()); few != "" {
				b.note("%s", few)
			}
		}
	}
	return b, nil
}

// usesTwins reports whether a scenario does something with twins beside what connecting brings.
func (b *Base) usesTwins() bool {
	s := &b.Scenario.Service
	return b.Vary == ReportRate || b.Vary == TwinReadRate || b.Vary == MethodRate || len(b.Scenario.Rated(true)) > 0 || len(s.Tags)+len(s.TwinReads)+len(s.Methods) > 0
}

// exampleOf is an operation whose thresholds make sense for what is varied.
func exampleOf(v Vary, sc *scenario.Scenario) metrics.Operation {
	switch op := v.Operation(); {
	case op != "":
		return op
	case sc.Target.Can().Twins:
		return metrics.OpTwinReport
	}
	return metrics.OpTelemetry
}

func longestWindow(sc *scenario.Scenario) (longest time.Duration) {
	for i := range sc.Thresholds {
		longest = max(longest, sc.Thresholds[i].Scope.Window+sc.Thresholds[i].Scope.For)
	}
	return longest
}

// rates are what one device does in the steady state.
func (b *Base) rates(p *plan.Plan) {
	n := float64(max(1, p.Steady.Devices))
	if l := p.Find(metrics.OpTwinReport); l != nil {
		b.reports = l.Steady / n
	}
	if l := p.Find(metrics.OpTelemetry); l != nil {
		b.sends = l.Steady / n
	}
}

// carry finds the stage that a trial's load is like: what the target and the network do in it goes on in the trial.
func (b *Base) carry(steady string) {
	b.carried = make(map[string]any)
	stages, _ := b.source["stages"].([]any)
	for i := range b.Scenario.Stages {
		t := &b.Scenario.Stages[i]
		if t.Name != steady {
			continue
		}
		b.steady = t
		if i >= len(stages) {
			break
		}
		keys, _ := stages[i].(map[string]any)
		if network := keys["network"]; network != nil {
			b.carried["network"] = network
		}
		if network := keys["network"]; network != nil {
			b.note("the network of stage %s goes on in every trial: what it delays and loses counts", steady)
		}
		if hub, ok := keys["hub"].(map[string]any); ok {
			lasting := make(map[string]any)
			for _, key := range []string{"service", "drop_acks"} { // those that last with the stage
				if hub[key] != nil {
					lasting[key] = hub[key]
				}
			}
			if len(lasting) > 0 {
				b.carried["hub"] = lasting
			}
		}
	}
	b.noteLeftOut()
}

// probe is a load that any scenario can be made of.
func (b *Base) probe() float64 {
	if b.Own > 0 {
		return b.Own
	}
	return 1
}

func (b *Base) note(format string, a ...any) { b.Notes = append(b.Notes, fmt.Sprintf(format, a...)) }

// Messages is how many messages a day of a load counts for, at most; see plan.Metering.
func (b *Base) Messages(load float64) (float64, error) {
	x := *b
	x.Limited, x.o.Hold = false, time.Hour // no stage is longer
	t, err := x.make(load, 0)
	if err != nil {
		return 0, err
	}
	o := plan.Options{Tier: b.o.Tier, Units: b.o.Units}
	p, err := plan.Make(t.Scenario, o)
	if err != nil {
		return 0, fmt.Errorf("planning a day of %s: %w", b.Vary.Text(load), err)
	}
	return p.Metering.Day, nil
}

// Thresholds are those that a trial is judged by, as the scenario of a trial has them.
func (b *Base) Thresholds() (all []threshold.Threshold, err error) {
	t, err := b.make(b.probe(), 0)
	if err != nil {
		return nil, err
	}
	return t.Scenario.Thresholds, nil
}

// Trial is the scenario of one trial.
type Trial struct {
	Scenario *scenario.Scenario
	Load     float64
	Devices  int           // that are active while the load is held
	Rate     float64       // operations a second of what is judged, as asked for; of devices what they do together
	Hold     time.Duration // how long the load is judged
	Settle   time.Duration // how long it may take to come to rest
	Cleans   bool          // it begins with the lowest load
	Drains   bool          // it uses a burst up
	Longest  time.Duration // that the stages may take
}

// Make derives the scenario of a trial of a load. In a target that does not begin anew each trial begins with the load first, unless that is 0.
// The seed is the trial's.
func (b *Base) Make(load, first float64, seed uint64) (*Trial, error) {
	if b.Fresh {
		first = 0
	}
	return b.make(load, first, "seed="+strconv.FormatUint(seed, 10))
}

// make derives the scenario of a trial.
func (b *Base) make(load, first float64, more ...string) (*Trial, error) {
	t := &Trial{Load: load, Cleans: first > 0, Drains: b.Limited}
	t.Rate = b.rateOf(load)
	t.Hold = b.o.Hold
	if !b.explicit {
		t.Hold = max(t.Hold, defaultHold, b.seldom(t.Load), min(longestHold, time.Duration(b.enough()/max(t.Rate, 1e-3)*float64(time.Second)))).Round(time.Second)
	}
	t.Settle = max(b.o.Settle, 2*t.Hold)
	if b.o.Settle > 0 {
		t.Settle = b.o.Settle
	}
	set, devices, err := b.keys(t, first)
	if err != nil {
		return nil, err
	}
	sc, err := b.load(append(append(set, b.size(devices)...), more...))
	if err != nil {
		return nil, fmt.Errorf("making the scenario of a trial of %s: %w", b.Vary.Text(load), err)
	}
	t.Scenario = sc
	for i := range sc.Stages {
		t.Longest += sc.Stages[i].Duration
	}
	t.Devices = sc.Devices()
	return t, nil
}

// How long a load is judged: by default, and at most when operations are rare.
const (
	defaultHold = 30 * time.Second
	longestHold = 10 * time.Minute
)

// enough is how many operations a verdict needs, by the strictest percentile.
func (b *Base) enough() float64 {
	n := float64(few)
	for i := range b.Scenario.Thresholds {
		if q, ok := b.Scenario.Thresholds[i].Percentile(); ok && q < 1 {
			n = max(n, tail/(1-q))
		}
	}
	return min(n, most)
}

// most is how many operations are always enough.
const most = 40_000

// seldom is how long it takes until everything that is due now and then was due: queries, and what devices do in the same instant.
func (b *Base) seldom(load float64) time.Duration {
	longest := time.Duration(0)
	for i := range b.Scenario.Service.Queries {
		every := b.Scenario.Service.Queries[i].Every
		if b.Vary == QueryRate && b.Own > 0 {
			every = time.Duration(float64(every) * b.Own / load)
		}
		longest = max(longest, every)
	}
	for i := range b.Scenario.Fleet.Groups {
		g := &b.Scenario.Fleet.Groups[i]
		if g.Report.Sync {
			longest = max(longest, g.Report.Every)
		}
		for _, k := range g.Kinds() {
			if k.Sync {
				longest = max(longest, k.Every)
			}
		}
	}
	return min(longestHold, longest+longest/2)
}

// Few says that a verdict rests on fewer operations than its thresholds need; "" when it does not.
func (t *Trial) few(enough float64) string {
	if n := t.Rate * t.Hold.Seconds(); n < enough {
		return fmt.Sprintf("in %s some %.0f operations are due, of %.0f that the thresholds need: verdicts rest on little", t.Hold, n, enough)
	}
	return ""
}

// rateOf is how many operations a second of what is judged a load is.
func (b *Base) rateOf(load float64) float64 {
	if b.Vary != Devices {
		return load
	}
	return load * (b.reports + b.sends)
}

// drainFor is how long more than the load is asked for, so that a burst is used up whatever the limit is: a target whose limit L is
// below the load R lets pass a burst of L·B at once; asked for k·R it has used that up after B/(k-1) at the latest, since (k·R-L)·B/(k-1) is L·B or
// more. Of a target whose limit is above the load a burst hides nothing. What waits behind the burst takes some time more.
func (b *Base) drainFor() time.Duration {
	burst := b.Scenario.Target.Burst
	if burst <= 0 {
		burst = time.Minute // as the embedded hub has it, and the plan assumes
	}
	return (burst/(overload-1) + 10*time.Second).Round(time.Millisecond)
}

// keys are what a trial sets, and how many devices it has.
func (b *Base) keys(t *Trial, first float64) (set []string, devices int, err error) {
	devices = b.Scenario.Devices()
	if b.Vary == Devices {
		devices = int(math.Round(t.Load))
	}
	stages, more := b.stages(t, first, &devices)
	set = append(set, more...)
	for _, x := range []struct {
		key   string
		value any
	}{{"stages", stages}, {"thresholds", b.judged}} {
		text, err := json.Marshal(x.value)
		if err != nil {
			return nil, 0, fmt.Errorf("writing %s: %w", x.key, err)
		}
		set = append(set, x.key+"="+string(text))
	}
	service, err := b.service(t, first)
	return append(set, service...), devices, err
}

// size makes the fleet have so many devices, in the proportions of the scenario by the largest remainders; each group has one at least.
func (b *Base) size(devices int) (set []string) {
	own := b.Scenario.Devices()
	if devices == own {
		return nil
	}
	groups := b.Scenario.Fleet.Groups
	counts, rest, left := make([]int, len(groups)), make([]float64, len(groups)), devices
	for i := range groups {
		part := float64(devices) * float64(groups[i].Count) / float64(own)
		counts[i] = max(1, int(part))
		rest[i] = part - float64(counts[i])
		left -= counts[i]
	}
	for ; left > 0; left-- {
		i := slices.Index(rest, slices.Max(rest))
		counts[i]++
		rest[i]--
	}
	for i, n := range counts {
		set = append(set, fmt.Sprintf("fleet.groups[%d].count=%d", i, n))
	}
	return set
}

// never is so rare that it does not count.
const never = "9000h"

// quiet takes away what devices do on their own schedules.
func (b *Base) quiet(reports, messages bool) (set []string) {
	for i := range b.Scenario.Fleet.Groups {
		g := &b.Scenario.Fleet.Groups[i]
		if reports && g.Report.Every > 0 {
			set = append(set, fmt.Sprintf("fleet.groups[%d].reported.every=%s", i, never))
		}
		for _, k := range g.Kinds() {
			if messages && k.Every > 0 {
				set = append(set, fmt.Sprintf("fleet.groups[%d].%s.every=%s", i, k.Path(), never))
			}
		}
	}
	return set
}

func perSecond(rate float64) string { return fmt.Sprintf("%.6f/s", rate) }

// short writes a time without the parts that are 0; "" for none.
func short(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
