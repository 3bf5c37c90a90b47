// Package steady tells whether a series of figures has come to rest: whether what is measured now is what would be measured later.
package steady

import (
	"math"
	"slices"
	"time"
)

// Window is how many of the latest values are judged.
const Window = 10

// Options of a Series.
type Options struct {
	Bin    time.Duration // values are put together over so long; 1 s when 0
	Fewest uint64        // a bin goes on until so many operations ended in it; 1 when 0
	Floor  float64       // a change by less than this means nothing, whatever its direction
}

// Series is figures that came one after the other. The zero Series, whose bins are a second long, is ready.
type Series struct {
	Options

	values []float64
	times  []float64 // in seconds, the middle of each bin
	sum    float64
	count  uint64
	over   time.Duration
	at     time.Duration
}

// Add adds what came in a time: how many operations ended, and the sum of a figure over them. A time in which none ended adds to the
// bin, which stays open.
func (s *Series) Add(elapsed time.Duration, count uint64, sum float64) {
	s.sum += sum
	s.count += count
	s.over += elapsed
	s.at += elapsed
	if s.over < max(s.Bin, time.Second)-time.Second/10 || s.count < max(1, s.Fewest) {
		return
	}
	s.values = append(s.values, s.sum/float64(s.count))
	s.times = append(s.times, (s.at - s.over/2).Seconds())
	s.sum, s.count, s.over = 0, 0, 0
}

// Values are the means of the bins so far.
func (s *Series) Values() []float64 { return s.values }

// Waiting is for how long no bin was completed: nothing ended, or too few.
func (s *Series) Waiting() time.Duration { return s.over }

// Trend is where the values of a series go.
type Trend struct {
	Known       bool    // there are enough values to say
	Significant bool    // the direction is none of chance, at one chance in a hundred
	Change      float64 // over all the values, by the median of the slopes between any two (Theil and Sen)
	Slope       float64 // a second
	Median      float64 // of the values
}

// Of is the trend of the last n values, or of all when n is 0: by the test of Mann and Kendall, which asks only which of two values is
// larger, so that outliers and the shape of the distribution do not matter.
func (s *Series) Of(n int) Trend {
	values, times := s.values, s.times
	if n > 0 && len(values) >= n {
		values, times = values[len(values)-n:], times[len(times)-n:]
	}
	if len(values) < max(5, n) {
		if len(values) == 0 {
			return Trend{}
		}
		return Trend{Median: median(slices.Clone(values))}
	}
	up, slopes := 0, make([]float64, 0, len(values)*(len(values)-1)/2)
	ties := make(map[float64]float64)
	for i := range values {
		ties[values[i]]++
		for k := range i {
			switch d := values[i] - values[k]; {
			case d > 0:
				up++
			case d < 0:
				up--
			}
			slopes = append(slopes, (values[i]-values[k])/(times[i]-times[k]))
		}
	}
	count := float64(len(values))
	variance := count * (count - 1) * (2*count + 5)
	for _, t := range ties {
		variance -= t * (t - 1) * (2*t + 5)
	}
	variance /= 18
	z := 0.0
	if variance > 0 && up != 0 {
		z = (math.Abs(float64(up)) - 1) / math.Sqrt(variance)
	}
	slope := median(slopes)
	span := times[len(times)-1] - times[0]
	return Trend{Known: true, Significant: z > 2.58, Change: slope * span, Slope: slope, Median: median(slices.Clone(values))}
}

// Batches is the series in n parts of equal length, each the mean of its values: in a queue one value is like the next, and the test takes values
// to be independent of each other. It is the series itself when there are fewer than two for each.
func (s *Series) Batches(n int) *Series {
	each := len(s.values) / n
	if each < 2 {
		return s
	}
	b := &Series{Options: s.Options}
	skip := len(s.values) - n*each // the first ones
	for i := skip; i < len(s.values); i += each {
		value, time := 0.0, 0.0
		for k := i; k < i+each; k++ {
			value += s.values[k] / float64(each)
			time += s.times[k] / float64(each)
		}
		b.values, b.times = append(b.values, value), append(b.times, time)
	}
	return b
}

// After is the series with the last n values of the one before it, in one.
func (s *Series) After(before *Series, n int) *Series {
	if before == nil || before.at == 0 {
		return s
	}
	j := &Series{Options: s.Options}
	from := max(0, len(before.values)-n)
	j.values, j.times = slices.Clone(before.values[from:]), slices.Clone(before.times[from:])
	for i, v := range s.values {
		j.values, j.times = append(j.values, v), append(j.times, before.at.Seconds()+s.times[i])
	}
	return j
}

// part is the share of its median by which a series may change over a window and still be steady.
const part = 0.2

// Moves reports whether a trend is one that matters.
func (t Trend) Moves(floor float64) bool {
	return t.Known && t.Significant && math.Abs(t.Change) > max(floor, part*t.Median)
}

// Rises reports whether a trend goes up, by what matters.
func (t Trend) Rises(floor float64) bool { return t.Moves(floor) && t.Change > 0 }

// Steady reports whether the last Window values have no trend that matters.
func (s *Series) Steady() bool {
	t := s.Of(Window)
	return t.Known && !t.Moves(s.Floor)
}

func median(x []float64) float64 {
	slices.Sort(x)
	n := len(x)
	if n%2 == 1 {
		return x[n/2]
	}
	return (x[n/2-1] + x[n/2]) / 2
}
