package plan

import (
	"iter"
	"math"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
)

// span is a stage with what came before it.
type span struct {
	*scenario.Stage
	number   int
	at       time.Duration  // its start
	Duration time.Duration  // how long it lasts; that of the stage, or what its connect_rate takes
	ramp     time.Duration  // how long the number of devices changes
	from, to int            // active devices
	mean     float64        // of them, over the span
	steepest float64        // devices that come or go a second, at most
	steady   bool           // they come or go evenly
	rate     schedule.Curve // at which they do, with a connect_rate
	endless  bool           // it stands for a state that goes on, not for a part of the run; see steadyOf
	groups   []crowd        // active devices by group; nil when each has its share of them
	walk     *walk          // nil when means must do
	all      []span         // of the run
	open     bool           // a stage before, or this one, is as long as its steps take
	faults   bool           // in a stage before, or this one, connections may be lost or refused
}

// unsure tells whether counts of a group's devices depend on how fast the target answers.
func (s *span) unsure(g *scenario.Group) bool {
	return s.open || s.faults || !g.Online.IsZero() || g.Tokens.Life > 0
}

// withSteps reports whether the stage ends with its last step.
func (s *span) withSteps() bool { return s.Duration == 0 && len(s.Steps) > 0 }

func (s *span) end() time.Duration { return s.at + s.Duration }

// crowd is the active devices of a group.
type crowd struct{ from, to, mean float64 }

// more is how many of them come in the span.
func (c crowd) more() float64 { return max(0, c.to-c.from) }

func (c crowd) peak() float64 { return max(c.from, c.to) }

// crowd is that of the i-th group.
func (s *span) crowd(sc *scenario.Scenario, i int) crowd {
	if s.groups != nil {
		return s.groups[i]
	}
	part := share(sc, &sc.Fleet.Groups[i])
	return crowd{float64(s.from) * part, float64(s.to) * part, s.mean * part}
}

// crowds are the active devices by group, when a stage tells them apart: before are those of the stage before.
func (s *span) crowds(before []crowd, after []int) []crowd {
	if after == nil {
		return nil
	}
	come := 0.5 // of the way, in the mean
	if s.from != s.to && s.ByGroup == nil {
		come = (s.mean - float64(s.from)) / float64(s.to-s.from)
	}
	all := make([]crowd, len(after))
	for i, n := range after {
		from, to := 0.0, float64(n)
		if before != nil {
			from = before[i].to
		}
		all[i] = crowd{from, to, from + come*(to-from)}
	}
	return all
}

// moves are when devices come and go, from the start of the stage, given those who are there.
func (s *span) moves(roster *schedule.Roster) iter.Seq[schedule.Move] {
	if s.ByGroup != nil {
		return slices.Values(roster.Moves(s.ByGroup, s.Duration))
	}
	steps := schedule.Curve{{Duration: s.Duration, From: float64(s.from), To: float64(s.to)}}.Steps(s.from)
	if s.rate != nil {
		steps = s.rate.Arrivals(s.from, s.to)
	}
	return schedule.Toward(s.from, steps)
}

func (s *span) peak() int { return max(s.from, s.to) }

// peakFor is how long the busiest second of a group goes on: the whole stage when the number of devices stays.
func (s *span) peakFor(who crowd) time.Duration {
	if who.from != who.to {
		return second
	}
	return s.Duration
}

// second is the shortest time over which a rate is told.
const second = time.Second

// busiest turns a number of operations that come evenly over a time into a rate of the busiest second.
func busiest(n float64, over time.Duration) (peak float64, lasts time.Duration) {
	over = max(over, second)
	return n / over.Seconds(), over
}

func spansOf(sc *scenario.Scenario) []span {
	spans := make([]span, len(sc.Stages))
	active, at := 0, time.Duration(0)
	for i := range sc.Stages {
		spans[i] = newSpan(&sc.Stages[i], i, active, at)
		active, at = spans[i].to, spans[i].end()
		spans[i].all = spans
		var before []crowd
		if i > 0 {
			before = spans[i-1].groups
			spans[i].open, spans[i].faults = spans[i-1].open, spans[i-1].faults
		}
		spans[i].groups = spans[i].crowds(before, sc.ActiveAt(i))
		spans[i].open = spans[i].open || spans[i].withSteps()
		spans[i].faults = spans[i].faults || spans[i].Storm != nil || disturbs(&sc.Stages[i])
	}
	return spans
}

// disturbs tells whether a stage has faults that take connections away, in a way that only chance knows.
func disturbs(t *scenario.Stage) bool {
	w := t.Network
	return t.Hub != nil || w != nil && (w.Loss > 0 || w.HalfOpen > 0 || w.Partition != nil)
}

// endOf is how long the stages last together.
func endOf(spans []span) time.Duration {
	if len(spans) == 0 {
		return 0
	}
	return spans[len(spans)-1].end()
}

func newSpan(t *scenario.Stage, number, active int, at time.Duration) span {
	s := span{Stage: t, number: number, at: at, Duration: t.Duration, from: active, to: active, steady: true}
	if t.Devices >= 0 {
		s.to = t.Devices
	}
	way := math.Abs(float64(s.to - s.from))
	rate := t.ConnectCurve(active)
	if rate == nil || way == 0 {
		s.ramp = s.Duration
		s.steepest, _ = busiest(way, s.ramp)
		s.mean = float64(s.from+s.to) / 2
		return s
	}
	s.rate, s.ramp = rate, rate.Total()
	if over, ok := rate.TimeOf(way); ok {
		s.ramp = over
	}
	s.Duration = max(s.Duration, s.ramp)
	s.steady = t.ConnectRate.From == t.ConnectRate.To
	s.steepest = max(rate.At(0), rate.At(s.ramp))
	s.steepest = min(s.steepest, way) // that of a second
	// What came so far is a parabola; Simpson's rule is exact for it.
	middle := rate.Integral(s.ramp / 2)
	come := (4*middle + way) / 6 / max(way, 1) * float64(s.to-s.from)
	changing := (float64(s.from) + come) * s.ramp.Seconds()
	s.mean = (changing + float64(s.to)*(s.Duration-s.ramp).Seconds()) / max(s.Duration.Seconds(), 1e-9)
	return s
}

// steadyOf is a day in the busiest state in which the run could stay: with as many devices as are ever active, as
// the longest stage has it in which that number and all rates stay, nothing is cut and devices do what they do. When
// there is no such stage it is the state at the end of the longest that reaches the number. calm tells which; ok is
// false for a run without devices.
//
// When stages tell groups apart, of only asks of the stages that end with the same devices as one of them.
func steadyOf(spans []span, of *span) (s span, calm, ok bool) {
	most, best, likeness := 0, -1, 0
	for i := range spans {
		most = max(most, spans[i].peak())
	}
	if of.groups != nil {
		most = of.to
	}
	there := func(x *span) bool {
		return x.to == most && slices.EqualFunc(x.groups, of.groups, func(a, b crowd) bool { return a.to == b.to })
	}
	for i := range spans {
		x := &spans[i]
		if !there(x) || x.Duration == 0 {
			continue
		}
		like := 0
		if x.Storm == nil && !x.Paused {
			like++
			if x.from == x.to && constant(x.ReportRate) && constant(x.TelemetryRate) {
				like++
			}
		}
		if best < 0 || like > likeness || (like == likeness && x.Duration > spans[best].Duration) {
			best, likeness = i, like
		}
	}
	calm = likeness == 2
	if most == 0 {
		return span{}, false, false
	}
	if best < 0 { // it is reached in no time
		best = slices.IndexFunc(spans, func(x span) bool { return there(&x) })
	}
	t := *spans[best].Stage
	t.Steps, t.Storm, t.Paused = nil, nil, false
	if !calm {
		t.ReportRate, t.TelemetryRate = last(t.ReportRate), last(t.TelemetryRate)
	}
	t.Duration = day
	var groups []crowd
	for _, c := range spans[best].groups {
		groups = append(groups, crowd{c.to, c.to, c.to})
	}
	return span{
		Stage: &t, number: best, at: spans[best].at, Duration: day, from: most, to: most, mean: float64(most), groups: groups,
		steady: true, endless: true, all: spans,
	}, calm, true
}

func constant(r *scenario.Range) bool { return r == nil || r.From == r.To }

// last is a rate that stays what it came to.
func last(r *scenario.Range) *scenario.Range {
	if r == nil {
		return nil
	}
	return &scenario.Range{From: r.To, To: r.To}
}
