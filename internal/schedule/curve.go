package schedule

import (
	"iter"
	"math"
	"time"
)

// Segment is a stretch of time over which a value changes linearly.
//
//	To   |        ____/
//	     |   ____/
//	From |__/___________ t
//	     0          Duration
type Segment struct {
	Duration time.Duration
	From, To float64
}

// Curve is a value that changes piecewise linearly with time: a number of devices, or a rate per
// second. Before its start it has its first value, after its end its last.
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
	for _, s := range c {
		if t < s.Duration {
			return s.From + (s.To-s.From)*float64(t)/float64(s.Duration)
		}
		t -= s.Duration
	}
	return c[len(c)-1].To
}

// Integral is the area under the curve up to a time, in value-seconds: for a rate, how many
// events are due by then.
func (c Curve) Integral(t time.Duration) float64 {
	var area float64
	for _, s := range c {
		if t <= 0 {
			break
		}
		d := min(t, s.Duration)
		area += s.area(d)
		t -= d
	}
	return area
}

// area under the first d of the segment.
func (s Segment) area(d time.Duration) float64 {
	if s.Duration == 0 {
		return 0
	}
	x := d.Seconds()
	slope := (s.To - s.From) / s.Duration.Seconds()
	return s.From*x + slope*x*x/2
}

// TimeOf is when the integral reaches n: for a rate, when the n-th event is due. It is false when
// the curve ends before that. Values below zero have no meaning for it.
func (c Curve) TimeOf(n float64) (time.Duration, bool) {
	if n <= 0 {
		return 0, true
	}
	var at time.Duration
	for _, s := range c {
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
func (s Segment) timeOf(n float64) time.Duration {
	slope := (s.To - s.From) / s.Duration.Seconds()
	root := math.Sqrt(max(0, s.From*s.From+2*slope*n))
	return time.Duration(math.Round(2 * n / (s.From + root) * float64(time.Second)))
}

// Crossing is when the curve first reaches a level from either side: for a ramp of devices, when
// the device of that number is due. It is false when it never does.
func (c Curve) Crossing(level float64) (time.Duration, bool) {
	var at time.Duration
	for _, s := range c {
		low, high := min(s.From, s.To), max(s.From, s.To)
		if level >= low && level <= high {
			if s.From == s.To || s.Duration == 0 {
				return at, true
			}
			share := (level - s.From) / (s.To - s.From)
			return at + time.Duration(math.Round(share*float64(s.Duration))), true
		}
		at += s.Duration
	}
	return 0, false
}

// Step is a change of a whole number that follows a Curve.
type Step struct {
	At    time.Duration
	Count int // from then on
}

// Steps are the times at which a whole number that begins as from goes up or down by one to follow
// the curve. It goes up when the curve reaches the next number, and down when the curve has come
// down to the number below: in between, a ramp's last device is there.
func (c Curve) Steps(from int) iter.Seq[Step] {
	return func(yield func(Step) bool) {
		count, at := from, time.Duration(0)
		for _, s := range c {
			// The curve may jump where a segment begins.
			for count < int(math.Floor(s.From)) || count > int(math.Ceil(s.From)) {
				count += sign(s.From - float64(count))
				if !yield(Step{at, count}) {
					return
				}
			}
			for count < int(math.Floor(s.To)) || count > int(math.Ceil(s.To)) {
				count += sign(s.To - float64(count))
				share := (float64(count) - s.From) / (s.To - s.From)
				if !yield(Step{at + time.Duration(math.Round(share*float64(s.Duration))), count}) {
					return
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
