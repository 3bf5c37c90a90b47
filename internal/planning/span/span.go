// Package span lays the stages of a scenario out in time, each with what came before it.
package span

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/roster"
)

// Span is a stage with what came before it.
type Span struct {
	*scenario.Stage
	Number   int            // from 0
	At       time.Duration  // its start
	Duration time.Duration  // how long it lasts; that of the stage, or what its connect_rate takes
	Ramp     time.Duration  // how long the number of devices changes
	From, To int            // active devices
	Mean     float64        // of them, over the span
	Steepest float64        // devices that come or go a second, at most
	Steady   bool           // they come or go evenly
	Rate     schedule.Curve // at which they do, with a connect_rate
	Course   schedule.Curve // of their number, when points or a sine say it; nil for a line
	Come     float64        // devices that come, in all; more than To has above From where others go meanwhile
	Endless  bool           // it stands for a state that goes on, not for a part of the run; see States
	Groups   []Crowd        // active devices by group; nil when each has its share of them
	All      []Span         // of the run
	Open     bool           // a stage before, or this one, is as long as its steps take
	Faults   bool           // in a stage before, or this one, connections may be lost or refused
}

// Unsure tells whether counts of a group's devices depend on how fast the target answers.
func (s *Span) Unsure(g *scenario.Group) bool {
	return s.Open || s.Faults || !g.Online.IsZero() || g.Reconnects()
}

// WithSteps reports whether the stage ends with its last step.
func (s *Span) WithSteps() bool { return s.Duration == 0 && len(s.Steps) > 0 }

// End is when it is over.
func (s *Span) End() time.Duration { return s.At + s.Duration }

// Crowd is the active devices of a group.
type Crowd struct {
	From, To float64 // at the start and at the end of the stage
	Mean     float64 // over it
	Most     float64 // at the most
	Come     float64 // that come in it, all ways up together
}

// straight is a crowd that goes from one number to another.
func straight(from, to, mean float64) Crowd {
	return Crowd{from, to, mean, max(from, to), max(0, to-from)}
}

// More is how many of them come in the span.
func (c Crowd) More() float64 { return c.Come }

// Peak is how many there are at the most.
func (c Crowd) Peak() float64 { return c.Most }

// Stays reports whether there are as many all along.
func (c Crowd) Stays() bool { return c.From == c.To && c.Come == 0 && c.Most == c.To }

// CrowdOf is that of the i-th group.
func (s *Span) CrowdOf(sc *scenario.Scenario, i int) Crowd {
	if s.Groups != nil {
		return s.Groups[i]
	}
	part := Share(sc, &sc.Fleet.Groups[i])
	return Crowd{float64(s.From) * part, float64(s.To) * part, s.Mean * part, float64(s.Peak()) * part, s.Come * part}
}

// crowds are the active devices by group, when a stage tells them apart: before are those of the stage before.
func (s *Span) crowds(sc *scenario.Scenario, before []Crowd, after []int) []Crowd {
	if after == nil {
		return nil
	}
	if s.Course != nil {
		return s.coursing(sc, before, after)
	}
	come := 0.5 // of the way, in the mean
	if s.From != s.To && s.ByGroup == nil {
		come = (s.Mean - float64(s.From)) / float64(s.To-s.From)
	}
	all := make([]Crowd, len(after))
	for i, n := range after {
		from, to := 0.0, float64(n)
		if before != nil {
			from = before[i].To
		}
		all[i] = straight(from, to, from+come*(to-from))
	}
	return all
}

// coursing are the active devices by group of a stage with a course: those who come are of a group as often as it has devices that
// are not there, and those who go as often as it has some that are.
func (s *Span) coursing(sc *scenario.Scenario, before []Crowd, after []int) []Crowd {
	all := make([]Crowd, len(after))
	for i, n := range after {
		from, to, count := 0.0, float64(n), float64(sc.Fleet.Groups[i].Count)
		if before != nil {
			from = before[i].To
		}
		share := func(devices float64) float64 {
			if more := devices - float64(s.From); more >= 0 {
				return from + more*(count-from)/max(1, float64(sc.Devices()-s.From))
			}
			return from * devices / max(1, float64(s.From))
		}
		part := count / float64(sc.Devices())
		all[i] = Crowd{from, to, share(s.Mean), max(from, to, share(float64(s.Peak()))), max(0, to-from, s.Come*part)}
	}
	return all
}

// Moves are when devices come and go, from the start of the stage, given those who are there.
func (s *Span) Moves(active *roster.Roster) iter.Seq[roster.Move] {
	if s.ByGroup != nil {
		return slices.Values(active.Moves(s.ByGroup, s.Duration))
	}
	steps := schedule.Curve{{Duration: s.Duration, From: float64(s.From), To: float64(s.To)}}.Steps(s.From)
	switch {
	case s.Rate != nil:
		steps = s.Rate.Arrivals(s.From, s.To)
	case s.Course != nil:
		steps = s.Course.Steps(s.From)
	}
	return roster.Toward(s.From, steps)
}

// Peak is how many devices there are at the most.
func (s *Span) Peak() int {
	if s.Course != nil {
		return max(s.MostDevices(s.From), s.To)
	}
	return max(s.From, s.To)
}

// There is how many devices are active at a time of the stage, by means.
func (s *Span) There(at time.Duration) float64 {
	if s.Course != nil {
		return s.Course.At(at)
	}
	return float64(s.From) + float64(s.To-s.From)*min(1, at.Seconds()/max(s.Ramp.Seconds(), 1e-9))
}

// PeakFor is how long the busiest second of a group goes on: the whole stage when the number of devices stays.
func (s *Span) PeakFor(who Crowd) time.Duration {
	switch {
	case who.Stays():
		return s.Duration
	case s.Course != nil:
		return Busy(s.Course, s.Course.Integral, float64(s.Peak()))
	}
	return Second
}

// Rises reports whether the number of a group's devices changes evenly over the stage.
func (s *Span) Rises(who Crowd) bool { return s.Course == nil && !who.Stays() }

// Busy is for how long what comes along a curve comes at its peak, a second, so that a burst of that length on top of the mean holds
// whatever comes in any window: sum tells what has come by a time.
//
// The peak holds as long as the most that comes beyond the mean, between any two times, takes at the difference of both.
func Busy(c schedule.Curve, sum func(time.Duration) float64, peak float64) time.Duration {
	whole := c.Total()
	mean := sum(whole) / max(whole.Seconds(), 1e-9)
	if peak <= mean*(1+1e-9) {
		return whole
	}
	least, most := 0.0, 0.0
	for at := range samples(c) {
		beyond := sum(at) - mean*at.Seconds()
		least = min(least, beyond)
		most = max(most, beyond-least)
	}
	return min(whole, max(Second, time.Duration(most/(peak-mean)*float64(time.Second))))
}

// samples are times of a curve, close enough that what lies between two is almost a line; ends of its segments are among them.
func samples(c schedule.Curve) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		const lines, waves = 64, 32
		var begin time.Duration
		for i := range c {
			n := lines
			if w := c[i].Wave; !w.IsZero() {
				n = max(n, int(math.Ceil(waves*float64(c[i].Duration)/float64(w.Period))))
			}
			for k := 1; k <= n; k++ {
				if !yield(begin + time.Duration(float64(c[i].Duration)*float64(k)/float64(n))) {
					return
				}
			}
			begin += c[i].Duration
		}
	}
}

// Second is the shortest time over which a rate is told.
const Second = time.Second

// Busiest turns a number of operations that come evenly over a time into a rate of the busiest second.
func Busiest(n float64, over time.Duration) (peak float64, lasts time.Duration) {
	over = max(over, Second)
	return n / over.Seconds(), over
}

// Of are the stages of a scenario.
func Of(sc *scenario.Scenario) []Span {
	spans := make([]Span, len(sc.Stages))
	active, at := 0, time.Duration(0)
	for i := range sc.Stages {
		spans[i] = newSpan(&sc.Stages[i], i, active, at)
		active, at = spans[i].To, spans[i].End()
		spans[i].All = spans
		var before []Crowd
		if i > 0 {
			before = spans[i-1].Groups
			spans[i].Open, spans[i].Faults = spans[i-1].Open, spans[i-1].Faults
		}
		spans[i].Groups = spans[i].crowds(sc, before, sc.ActiveAt(i))
		spans[i].Open = spans[i].Open || spans[i].WithSteps()
		spans[i].Faults = spans[i].Faults || spans[i].Storm != nil || Disturbs(&sc.Stages[i])
	}
	return spans
}

// Disturbs tells whether a stage has faults that take connections away, in a way that only chance knows.
func Disturbs(t *scenario.Stage) bool {
	w := t.Network
	return t.Hub != nil || w != nil && (w.Loss > 0 || w.HalfOpen > 0 || w.Partition != nil)
}

// EndOf is how long the stages last together.
func EndOf(spans []Span) time.Duration {
	if len(spans) == 0 {
		return 0
	}
	return spans[len(spans)-1].End()
}

func newSpan(t *scenario.Stage, number, active int, at time.Duration) Span {
	s := Span{Stage: t, Number: number, At: at, Duration: t.Duration, From: active, To: active, Steady: true}
	if t.Devices >= 0 {
		s.To = t.Devices
	}
	way := math.Abs(float64(s.To - s.From))
	s.Come = max(0, float64(s.To-s.From))
	if s.Course = t.DeviceCurve(active); s.Course != nil {
		s.follow()
		return s
	}
	rate := t.ConnectCurve(active)
	if rate == nil || way == 0 {
		s.Ramp = s.Duration
		s.Steepest, _ = Busiest(way, s.Ramp)
		s.Mean = float64(s.From+s.To) / 2
		return s
	}
	s.Rate, s.Ramp = rate, rate.Total()
	if over, ok := rate.TimeOf(way); ok {
		s.Ramp = over
	}
	s.Duration = max(s.Duration, s.Ramp)
	s.Steady = t.ConnectRate.Constant()
	s.Steepest = min(rate.Most(0, s.Ramp), way) // that of a second
	// What came so far is a parabola; Simpson's rule is exact for it, and for other shapes in small parts.
	parts := 1
	if t.ConnectRate.Shape != nil {
		parts = 500
	}
	come := 0.0
	for i := range parts {
		at := func(part float64) float64 {
			return rate.Integral(time.Duration((float64(i) + part) / float64(parts) * float64(s.Ramp)))
		}
		come += (at(0) + 4*at(0.5) + at(1)) / 6 / float64(parts)
	}
	come *= float64(s.To-s.From) / max(way, 1)
	changing := (float64(s.From) + come) * s.Ramp.Seconds()
	s.Mean = (changing + float64(s.To)*(s.Duration-s.Ramp).Seconds()) / max(s.Duration.Seconds(), 1e-9)
	return s
}

// follow has the number of devices follow a course: how many come, how fast at most, and how many there are in the mean.
func (s *Span) follow() {
	c, whole := s.Course, s.Duration
	s.Ramp, s.Steady = whole, false
	s.Mean = c.Integral(whole) / max(whole.Seconds(), 1e-9)
	jump := max(0, c.At(0)-float64(s.From)) // at its beginning
	s.Come = jump + c.Climb(0, whole)
	s.Steepest = jump + c.Climb(0, Second)
	for at := range samples(c) {
		s.Steepest = max(s.Steepest, c.Climb(at-Second/2, at+Second/2), c.Climb(max(0, at-Second), at), c.Climb(at, at+Second))
	}
}

// State is a day in a state in which the run could stay.
type State struct {
	Span
	Calm bool // a stage is such a state; else one ends in it
}

// States are those of a run: each stage in which the number of devices and all rates stay, nothing is cut and devices do what they
// do. When no such stage has as many devices as are ever active, the end of the longest that reaches the number is one as well.
// There is none for a run without devices. A stage of a capacity trial that only prepares is no such state.
//
// When stages tell groups apart, of only asks of the stages that end with the same devices as one of them.
func States(spans []Span, of *Span) (states []State) {
	most, likeness := 0, -1
	for i := range spans {
		most = max(most, spans[i].goal())
	}
	if of.Groups != nil {
		most = of.goal()
	}
	if most == 0 {
		return nil
	}
	prepares := Preparing(func(yield func(string) bool) {
		for i := range spans {
			if !yield(spans[i].Name) {
				return
			}
		}
	})
	there := func(x *Span) bool {
		return x.goal() == most && slices.EqualFunc(x.Groups, of.Groups, func(a, b Crowd) bool { return a.To == b.To })
	}
	var alike []int // the stages that are most like a state that stays
	for i := range spans {
		x := &spans[i]
		if x.Duration == 0 || prepares(x.Name) {
			continue
		}
		like := 0
		if x.Storm == nil && !x.Paused {
			like++
			if x.From == x.To && x.Course == nil && constant(x.ReportRate) && constant(x.TelemetryRate) {
				like++
			}
		}
		if !there(x) {
			if like == 2 && x.To > 0 && of.Groups == nil { // fewer devices may do more
				states = append(states, State{endless(spans, i, true), true})
			}
			continue
		}
		if like > likeness {
			alike, likeness = nil, like
		}
		if like == likeness {
			alike = append(alike, i)
		}
	}
	calm := likeness == 2
	if !calm && len(alike) > 0 {
		alike = []int{slices.MaxFunc(alike, func(a, b int) int { return cmp.Compare(spans[a].Duration, spans[b].Duration) })}
	}
	if len(alike) == 0 { // it is reached in no time
		alike = []int{max(0, slices.IndexFunc(spans, func(x Span) bool { return there(&x) }))}
	}
	for _, i := range alike {
		states = append(states, State{endless(spans, i, calm), calm})
	}
	return states
}

// endless is a day in the state of a stage, or in that at its end.
func endless(spans []Span, i int, calm bool) Span {
	devices := spans[i].goal()
	t := *spans[i].Stage
	t.Steps, t.Storm, t.Paused, t.Course = nil, nil, false, nil
	if !calm {
		t.ReportRate, t.TelemetryRate = t.ReportRate.Last(), t.TelemetryRate.Last()
	}
	t.Duration = Day
	var groups []Crowd
	for _, c := range spans[i].Groups {
		if spans[i].To == 0 { // it ends without devices
			c.To = c.Most
		}
		groups = append(groups, straight(c.To, c.To, c.To))
	}
	return Span{
		Stage: &t, Number: i, At: spans[i].At, Duration: Day, From: devices, To: devices, Mean: float64(devices), Groups: groups,
		Steady: true, Endless: true, All: spans,
	}
}

// Preparing tells, given the names of a run's stages, which of them only prepare for its stage hold, as those of a capacity trial
// do: some ask for more than the load, to use up what may come at once. Of other runs none does.
func Preparing(stages iter.Seq[string]) func(stage string) bool {
	names := slices.Collect(stages)
	has := func(stage string) bool { return slices.Contains(names, stage) }
	if !has("hold") || !has("gather") && !(has("drain") && has("rest")) {
		return func(string) bool { return false }
	}
	return func(stage string) bool {
		return slices.Contains([]string{"first", "clean", "connect", "gather", "drain", "rest", "settle"}, stage)
	}
}

func constant(r *scenario.Range) bool { return r == nil || r.Constant() }

// goal is how many devices the stage comes to: at its end, or, when a course ends without any, at the most.
func (s *Span) goal() int {
	if s.Course != nil && s.To == 0 {
		return s.Peak()
	}
	return s.To
}

// Share is the part of the fleet that a group is: devices start in random order.
func Share(sc *scenario.Scenario, g *scenario.Group) float64 {
	return float64(g.Count) / float64(sc.Devices())
}

// Day is that of a meter.
const Day = 24 * time.Hour

// StartIn is when something begins that is told after the start of a stage; the first when it has no name.
func StartIn(spans []Span, stage string, after time.Duration) time.Duration {
	for _, x := range spans {
		if stage == "" || x.Name == stage {
			return x.At + after
		}
	}
	return after
}
