package schedule

import (
	"iter"
	"math"
	"time"
)

// Segment is a stretch of time over which a value changes linearly, with a wave around the line or without.
//
//	To   |        ____/
//	     |   ____/
//	From |__/___________ t
//	     0          Duration
type Segment struct {
	Duration time.Duration // 0 for a jump
	From, To float64       // of the line, at its start and at its end
	Wave     Wave          // around the line; the zero value is none
}

// Curve is a value that changes with time, segment by segment: a number of devices, or a rate per
// second. Before its start it has its first value, after its end its last. Rates are never below 0.
type Curve []Segment

// Total is how long the curve is.
func (c Curve) Total() time.Duration {
	var d time.Duration
	for _, s := range c {
		d += s.Duration
	}
	return d
}

// At is the value at a time. Where two segments meet with different values, the later one holds.
func (c Curve) At(t time.Duration) float64 {
	if len(c) == 0 {
		return 0
	}
	t = max(t, 0)
	for i := range c {
		if t < c[i].Duration {
			return c[i].at(t)
		}
		t -= c[i].Duration
	}
	return c[len(c)-1].last()
}

// Integral is the area under the curve up to a time, in value-seconds: for a rate, how many
// events are due by then.
func (c Curve) Integral(t time.Duration) float64 {
	var area float64
	for i := range c {
		if t <= 0 {
			break
		}
		d := min(t, c[i].Duration)
		area += c[i].area(d)
		t -= d
	}
	return area
}

// area under the first d of the segment.
func (s *Segment) area(d time.Duration) float64 {
	if s.Duration == 0 {
		return 0
	}
	x := d.Seconds()
	slope := (s.To - s.From) / s.Duration.Seconds()
	return s.From*x + slope*x*x/2 + s.Wave.area(d)
}

// TimeOf is when the integral reaches n: for a rate, when the n-th event is due. It is false when
// the curve ends before that. Values below zero have no meaning for it.
func (c Curve) TimeOf(n float64) (time.Duration, bool) {
	if n <= 0 {
		return 0, true
	}
	var at time.Duration
	for i := range c {
		s := &c[i]
		whole := s.area(s.Duration)
		if n <= whole && whole > 0 {
			return at + min(s.timeOf(n), s.Duration), true
		}
		n -= whole
		at += s.Duration
	}
	return 0, false
}

// timeOf solves From·x + slope·x²/2 = n for x, in the form that does not lose digits for a small slope.
func (s *Segment) timeOf(n float64) time.Duration {
	if !s.Wave.IsZero() {
		return s.timeOfWave(n)
	}
	slope := (s.To - s.From) / s.Duration.Seconds()
	// The root of From² + 2·slope·n, without squares: those of rates next to 0 are 0.
	q := math.Sqrt(2*math.Abs(slope)) * math.Sqrt(n)
	root := math.Hypot(s.From, q)
	if slope < 0 {
		root = math.Sqrt(max(0, s.From-q)) * math.Sqrt(s.From+q)
	}
	x := min(2*n/(s.From+root), s.Duration.Seconds())
	return time.Duration(math.Round(x * float64(time.Second)))
}

// Nth is when the n-th event of a rate is due, counted from 1: in the middle of its own unit of the
// integral. So the events of a constant rate are evenly apart, 100 a second over 2 s are 200, and the
// last of them is due before the end. It is false when the curve is over by then.
func (c Curve) Nth(n int64) (time.Duration, bool) {
	at, ok := c.TimeOf(float64(n) - 0.5)
	return at, ok && at < c.Total()
}

// Events is how many events of a rate are due before a time: those of which Nth is below it.
func (c Curve) Events(before time.Duration) int64 {
	due := func(n int64) bool {
		at, ok := c.Nth(n)
		return ok && at < before
	}
	n := int64(math.Round(c.Integral(before))) // give or take the rounding of times
	for n > 0 && !due(n) {
		n--
	}
	for due(n + 1) {
		n++
	}
	return n
}

// Arrivals are the times at which a whole number goes from one value to another, up or down, one at each
// event of a rate, until it is there or the curve is over.
func (c Curve) Arrivals(from, to int) iter.Seq[Step] {
	return func(yield func(Step) bool) {
		count := from
		for n := int64(1); count != to; n++ {
			at, ok := c.Nth(n)
			if !ok {
				return
			}
			count += sign(float64(to - from))
			if !yield(Step{at, count}) {
				return
			}
		}
	}
}

// Step is a change of a whole number that follows a Curve.
type Step struct {
	At    time.Duration // from the start of the curve
	Count int           // from then on
}

// Steps are the times at which a whole number that begins as from goes up or down by one to follow the
// curve: it is always the number nearest to the curve. So a ramp to n has its first step in the middle of
// its first n-th part and its last in the middle of the last, before its end; up and down mirror each
// other; and the number is, on average, the curve.
//
//	2 |         __________   Segment{10 s, 0, 2}:
//	1 |   ______|            one from 2.5 s on, two from 7.5 s on
//	0 |__|________________ t
func (c Curve) Steps(from int) iter.Seq[Step] {
	return func(yield func(Step) bool) {
		count, at := from, time.Duration(0)
		for i := range c {
			s := &c[i]
			// The curve may jump where a segment begins.
			first := s.first()
			for math.Abs(first-float64(count)) > 0.5 {
				count += sign(first - float64(count))
				if !yield(Step{at, count}) {
					return
				}
			}
			for part := range s.monotone() {
				for math.Abs(part.To-float64(count)) > 0.5 {
					up := sign(part.To - float64(count))
					step := at + part.reach(float64(count)+float64(up)/2)
					count += up
					if !yield(Step{step, count}) {
						return
					}
				}
			}
			at += s.Duration
		}
	}
}

func sign(x float64) int {
	if x < 0 {
		return -1
	}
	return 1
}
