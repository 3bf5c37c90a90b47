package plan

import (
	"math"
	"time"

	"github.com/twinfleet/twinfleet/scenario"
)

// span is a stage with what came before it.
type span struct {
	*scenario.Stage
	number   int
	at       time.Duration // its start
	Duration time.Duration // how long it lasts; that of the stage, or what its connect_rate takes
	ramp     time.Duration // how long the number of devices changes
	from, to int           // active devices
	mean     float64       // of them, over the span
	steepest float64       // devices that come or go a second, at most
	steady   bool          // they come or go evenly
}

func (s *span) peak() int { return max(s.from, s.to) }

// peakFor is how long the busiest second goes on: the whole stage when the number of devices stays.
func (s *span) peakFor() time.Duration {
	if s.from != s.to {
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
		active, at = spans[i].to, at+spans[i].Duration
	}
	return spans
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
	s.ramp = rate.Total()
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

// typicalOf is the stage that stands for the run: the longest in which the number of devices stays, nothing is
// cut and devices do what they do; the longest of all when there is none.
func typicalOf(spans []span) int {
	best, steady := 0, false
	for i := range spans {
		s := &spans[i]
		calm := s.from == s.to && s.to > 0 && s.Storm == nil && !s.Paused && s.Duration > 0
		if (calm && !steady) || (calm == steady && s.Duration > spans[best].Duration) {
			best, steady = i, calm
		}
	}
	return best
}
