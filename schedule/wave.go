package schedule

import (
	"iter"
	"math"
	"slices"
	"time"
)

// Wave is a sine around the line of a Segment:
//
//	Amplitude · sin(2π · (t/Period + Phase))
type Wave struct {
	Amplitude float64       // in the unit of the line; 0 for no wave
	Period    time.Duration // above 0 where there is an amplitude
	Phase     float64       // where in its period it begins, in periods: 0 on the line, going up; 0.25 at its highest
}

// IsZero reports whether there is no wave.
func (w Wave) IsZero() bool { return w.Amplitude == 0 }

// turn is where in its period the wave is after a time, from 0 to 1: whole periods are taken away first, so that long
// times lose no digits.
func (w Wave) turn(t time.Duration) float64 {
	x := float64(t%w.Period)/float64(w.Period) + w.Phase
	return x - math.Floor(x)
}

func (w Wave) at(t time.Duration) float64 {
	if w.IsZero() {
		return 0
	}
	return w.Amplitude * math.Sin(2*math.Pi*w.turn(t))
}

// area under the wave up to a time.
func (w Wave) area(t time.Duration) float64 {
	if w.IsZero() {
		return 0
	}
	return w.Amplitude * w.Period.Seconds() / (2 * math.Pi) * (math.Cos(2*math.Pi*w.Phase) - math.Cos(2*math.Pi*w.turn(t)))
}

// at is the value after a time of the segment.
func (s *Segment) at(t time.Duration) float64 {
	if s.Duration == 0 {
		return s.To + s.Wave.at(t)
	}
	return s.From + (s.To-s.From)*float64(t)/float64(s.Duration) + s.Wave.at(t)
}

func (s *Segment) first() float64 { return s.From + s.Wave.at(0) }
func (s *Segment) last() float64  { return s.To + s.Wave.at(s.Duration) }

// timeOfWave is the first nanosecond at which the area reaches n. The area never falls, so that it has one place.
func (s *Segment) timeOfWave(n float64) time.Duration {
	low, high := time.Duration(0), s.Duration // the area is below n at low, and reaches it at high
	// Newton's method from the middle; what it proposes is tried with its neighbour, so that the bounds close from both sides.
	guess := s.Duration / 2
	for tries := 0; high-low > 1; tries++ {
		if guess <= low || guess >= high || tries > 60 { // a rate next to 0 sends it far away
			guess = low + (high-low)/2
		}
		missing := n - s.area(guess)
		step := missing / max(s.at(guess), 1e-12) * float64(time.Second)
		if missing <= 0 {
			high = guess
		} else {
			low = guess
		}
		if math.Abs(step) > float64(high-low) {
			guess = low + (high-low)/2
			continue
		}
		next := guess + time.Duration(math.Ceil(step))
		if next == guess || next == high { // it is there: the neighbour below decides
			next = guess - 1
			if missing > 0 {
				next = guess + 1
			}
			if next == high {
				next--
			}
		}
		guess = next
	}
	return high
}

// slope of the line, a second.
func (s *Segment) slope() float64 {
	if s.Duration == 0 {
		return 0
	}
	return (s.To - s.From) / s.Duration.Seconds()
}

// turns are when the segment is at its highest or lowest, between its ends, in order.
func (s *Segment) turns() iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		w := s.Wave
		if w.IsZero() || s.Duration == 0 {
			return
		}
		// The slope is 0 where cos(2π·x) is that of the line over the steepest of the wave, twice a period.
		cos := -s.slope() / (w.Amplitude * 2 * math.Pi / w.Period.Seconds())
		if math.Abs(cos) >= 1 {
			return
		}
		x := math.Acos(cos) / (2 * math.Pi)
		inPeriod := []time.Duration{}
		for _, turn := range []float64{x, 1 - x} {
			at := turn - w.Phase
			at -= math.Floor(at)
			inPeriod = append(inPeriod, time.Duration(math.Round(at*float64(w.Period))))
		}
		slices.Sort(inPeriod)
		for begin := time.Duration(0); begin < s.Duration; begin += w.Period {
			for _, in := range inPeriod {
				if at := begin + in; at > 0 && at < s.Duration && !yield(at) {
					return
				}
			}
		}
	}
}

// stretch is a part of a segment in which its value only goes up, or only down.
type stretch struct {
	*Segment
	from, to time.Duration // from the start of the segment
	From, To float64       // there
}

// monotone are the parts of a segment in which its value only goes up, or only down, in order.
func (s *Segment) monotone() iter.Seq[stretch] {
	return func(yield func(stretch) bool) {
		from, value := time.Duration(0), s.first()
		for at := range s.turns() {
			next := s.at(at)
			if !yield(stretch{s, from, at, value, next}) {
				return
			}
			from, value = at, next
		}
		yield(stretch{s, from, s.Duration, value, s.last()})
	}
}

// reach is when a value between those at its ends is reached, from the start of the segment.
func (p *stretch) reach(value float64) time.Duration {
	share := (value - p.From) / (p.To - p.From)
	if p.Wave.IsZero() {
		return p.from + time.Duration(max(0, share)*float64(p.to-p.from))
	}
	up := p.To > p.From
	low, high := p.from, p.to
	for high-low > 1 {
		middle := low + (high-low)/2
		if there := p.at(middle); up && there >= value || !up && there <= value {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// parts are the monotone parts of a curve between two times, with jumps as parts that take no time; times count from the
// start of the curve.
func (c Curve) parts(from, to time.Duration) iter.Seq2[float64, float64] {
	return func(yield func(a, b float64) bool) {
		at, value, began := time.Duration(0), 0.0, false
		for i := range c {
			s := &c[i]
			for part := range s.monotone() {
				a, b := max(from, at+part.from), min(to, at+part.to)
				if a > b || s.Duration > 0 && a == b && began {
					continue
				}
				first, last := s.at(a-at), s.at(b-at)
				if a == at {
					first = s.first()
				}
				if b == at+s.Duration {
					last = s.last()
				}
				if began && first != value && !yield(value, first) {
					return
				}
				if !yield(first, last) {
					return
				}
				value, began = last, true
			}
			at += s.Duration
		}
	}
}

// Most is the highest value of the curve between two times.
func (c Curve) Most(from, to time.Duration) float64 {
	most := c.At(from)
	for a, b := range c.parts(from, to) {
		most = max(most, a, b)
	}
	return most
}

// Climb is how far the curve goes up between two times, all ways up together; jumps between them count.
func (c Curve) Climb(from, to time.Duration) float64 {
	sum := 0.0
	for a, b := range c.parts(from, to) {
		sum += max(0, b-a)
	}
	return sum
}

// Scaled is the curve with all its values so many times as high.
func (c Curve) Scaled(factor float64) Curve {
	out := slices.Clone(c)
	for i := range out {
		out[i].From, out[i].To, out[i].Wave.Amplitude = out[i].From*factor, out[i].To*factor, out[i].Wave.Amplitude*factor
	}
	return out
}

// Over is the curve made longer, or shorter, in proportion, until it lasts so long; waves are as many as before. A curve that
// takes no time stays as it is.
func (c Curve) Over(whole time.Duration) Curve {
	before := c.Total()
	if before == 0 || before == whole {
		return c
	}
	factor := float64(whole) / float64(before)
	out := slices.Clone(c)
	var at, was time.Duration // ends of the segments are rounded, not their lengths: these add up
	for i := range out {
		was += c[i].Duration
		end := time.Duration(math.Round(float64(was) * factor))
		if i == len(out)-1 {
			end = whole
		}
		out[i].Duration, at = end-at, end
		if !out[i].Wave.IsZero() {
			out[i].Wave.Period = max(1, time.Duration(math.Round(float64(c[i].Wave.Period)*factor)))
		}
	}
	return out
}
