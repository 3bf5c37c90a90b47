package schedule

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// shapes are curves of lines, jumps and waves that never go below 0.
func shapes() *rapid.Generator[Curve] {
	segment := rapid.Custom(func(t *rapid.T) Segment {
		x := Segment{
			Duration: time.Duration(rapid.Int64Range(0, 60_000).Draw(t, "ms")) * ms,
			From:     rapid.Float64Range(0, 2000).Draw(t, "from"), To: rapid.Float64Range(0, 2000).Draw(t, "to"),
		}
		if rapid.Bool().Draw(t, "waves") {
			x.Wave = Wave{
				Amplitude: min(x.From, x.To) * rapid.SampledFrom([]float64{0, 0.1, 0.5, 1}).Draw(t, "amplitude"),
				Period:    time.Duration(rapid.Int64Range(500, 90_000).Draw(t, "period")) * ms,
				Phase:     rapid.Float64Range(-2, 2).Draw(t, "phase"),
			}
		}
		return x
	})
	return rapid.Custom(func(t *rapid.T) Curve { return rapid.SliceOfN(segment, 1, 4).Draw(t, "segments") })
}

// plainAt is the value of a curve, by the definition of a wave and nothing else.
func plainAt(c Curve, t time.Duration) float64 {
	for i, x := range c {
		if t < x.Duration || i == len(c)-1 {
			t = min(t, x.Duration)
			share := 1.0
			if x.Duration > 0 {
				share = t.Seconds() / x.Duration.Seconds()
			}
			value := x.From + (x.To-x.From)*share
			if x.Wave.Amplitude != 0 {
				value += x.Wave.Amplitude * math.Sin(2*math.Pi*(t.Seconds()/x.Wave.Period.Seconds()+x.Wave.Phase))
			}
			return value
		}
		t -= x.Duration
	}
	return 0
}

// plainIntegral sums the values of a curve up in small steps, segment by segment, by Simpson's rule.
func plainIntegral(c Curve, to time.Duration) float64 {
	sum, at := 0.0, time.Duration(0)
	for i := range c {
		d := min(to-at, c[i].Duration)
		if d <= 0 {
			continue
		}
		one := Curve{c[i]}
		const steps = 4000
		h := d.Seconds() / steps
		for k := range steps {
			a := time.Duration(float64(d) * float64(k) / steps)
			b := time.Duration(float64(d) * (float64(k) + 1) / steps)
			last := plainAt(one, b)
			if k == steps-1 {
				last = plainAt(one, d)
			}
			sum += h / 6 * (plainAt(one, a) + 4*plainAt(one, a+(b-a)/2) + last)
		}
		at += c[i].Duration
	}
	return sum
}

// The events of a rate of any shape in any window are as many as the area under the rate, give or take one, as an independent
// integration tells it: no drift.
func TestEventsAreTheArea(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := shapes().Draw(t, "curve")
		whole := c.Total()
		if got, want := c.Integral(whole), plainIntegral(c, whole); math.Abs(got-want) > 0.01+1e-6*want {
			t.Fatalf("the integral is %v; summed up it is %v", got, want)
		}
		a := time.Duration(rapid.Float64Range(0, 1).Draw(t, "from") * float64(whole))
		b := a + time.Duration(rapid.Float64Range(0, 1).Draw(t, "to")*float64(whole-a))
		n := float64(c.Events(b) - c.Events(a))
		if want := plainIntegral(c, b) - plainIntegral(c, a); math.Abs(n-want) > 1.02+1e-6*want {
			t.Fatalf("%v events from %v to %v; the area is %v", n, a, b, want)
		}
	})
}

// The n-th event is due in the first nanosecond at which the area is n: Integral and TimeOf are the inverse of each other, and later events
// are due later.
func TestTimeOfInvertsEveryShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := shapes().Draw(t, "curve")
		whole := c.Integral(c.Total())
		a, b := rapid.Float64Range(0, 1).Draw(t, "a")*whole, rapid.Float64Range(0, 1).Draw(t, "b")*whole
		first, ok := c.TimeOf(min(a, b))
		if !ok {
			if min(a, b) > whole*(1-1e-9) {
				return
			}
			t.Fatalf("TimeOf(%v) found nothing in a curve with %v", min(a, b), whole)
		}
		if got := c.Integral(first); math.Abs(got-min(a, b)) > 1e-4+1e-9*whole {
			t.Fatalf("Integral(TimeOf(%v)) = %v", min(a, b), got)
		}
		if second, ok := c.TimeOf(max(a, b)); ok && second < first {
			t.Fatalf("event %v is due at %v, event %v at %v", min(a, b), first, max(a, b), second)
		}
	})
}

// A wave repeats itself exactly, hours later too.
func TestAWaveDoesNotDrift(t *testing.T) {
	c := Curve{{Duration: 1000 * time.Hour, From: 10, To: 10, Wave: Wave{Amplitude: 10, Period: 7 * s}}}
	for _, k := range []int64{0, 1, 1000, 500_000} {
		for n := int64(1); n <= 70; n++ {
			first, _ := c.Nth(n)
			later, ok := c.Nth(70*k + n)
			if d := later - first - time.Duration(k)*7*s; !ok || d.Abs() > 20*time.Microsecond {
				t.Fatalf("event %d of period %d comes %v beside its place", n, k, d)
			}
		}
	}
}

// A whole number that follows a curve is always the nearest, and each step is where the curve passes the half.
func TestStepsFollowEveryShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := shapes().Draw(t, "curve").Scaled(0.01)
		from := rapid.IntRange(0, 30).Draw(t, "from")
		steps := slices.Collect(c.Steps(from))
		count, next, at := from, 0, time.Duration(0)
		for i := range 500 {
			now := time.Duration(float64(c.Total()) * float64(i) / 500)
			for next < len(steps) && steps[next].At <= now {
				if d := steps[next].Count - count; d != 1 && d != -1 || steps[next].At < at {
					t.Fatalf("step %d goes from %d to %d at %v", next, count, steps[next].Count, steps[next].At)
				}
				count, at = steps[next].Count, steps[next].At
				next++
			}
			if d := math.Abs(c.At(now) - float64(count)); d > 0.5+1e-6 {
				t.Fatalf("%d at %v, where the curve is %v", count, now, c.At(now))
			}
		}
	})
}

// What is the highest of a curve and how far it climbs is what one sees when one walks along it.
func TestMostAndClimb(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := shapes().Draw(t, "curve")
		a := time.Duration(rapid.Float64Range(0, 1).Draw(t, "from") * float64(c.Total()))
		b := a + time.Duration(rapid.Float64Range(0, 1).Draw(t, "to")*float64(c.Total()-a))
		most, climb, before := 0.0, 0.0, plainAt(c, a)
		const steps = 20_000
		for i := range steps + 1 {
			x := plainAt(c, a+time.Duration(float64(b-a)*float64(i)/steps))
			most, climb, before = max(most, x), climb+max(0, x-before), x
		}
		jump := 0.0 // at one of the ends: in it or not
		for i := range c {
			jump += math.Abs(c[i].first() - plainAt(c[max(0, i-1):max(1, i)], time.Hour))
			if c[i].Duration == 0 {
				jump += math.Abs(c[i].last() - c[i].first())
			}
		}
		if got := c.Most(a, b); got < most-1e-6 || got > most+jump+1e-3*most {
			t.Fatalf("the highest from %v to %v is %v; it is %v there", a, b, got, most)
		}
		if got := c.Climb(a, b); got < climb-jump-1e-3*climb-1e-6 || got > climb+jump+2e-3*climb+1e-6 {
			t.Fatalf("it climbs %v from %v to %v; it does %v", got, a, b, climb)
		}
	})
}

func TestMostOfAWave(t *testing.T) {
	for _, x := range []struct {
		name        string
		c           Curve
		most, climb float64
	}{
		{"points", Curve{{Duration: 30 * s, From: 10, To: 100}, {Duration: 90 * s, From: 100, To: 20}}, 100, 90},
		{"a jump", Curve{{Duration: s, From: 1, To: 1}, {Duration: s, From: 5, To: 0}}, 5, 4},
		{"a jump back", Curve{{Duration: s, From: 5, To: 0}, {Duration: s, From: 1, To: 1}}, 5, 1},
		{"a period", Curve{{Duration: 60 * s, From: 100, To: 100, Wave: Wave{50, 60 * s, 0}}}, 150, 100},
		{"an eighth of it", Curve{{Duration: 7500 * ms, From: 100, To: 100, Wave: Wave{50, 60 * s, 0}}}, 100 + 50*math.Sqrt2/2, 50 * math.Sqrt2 / 2},
		{"that goes down", Curve{{Duration: 30 * s, From: 100, To: 100, Wave: Wave{50, 60 * s, 0.25}}}, 150, 0},
		{"many", Curve{{Duration: 600 * s, From: 100, To: 100, Wave: Wave{50, 60 * s, 0}}}, 150, 1000},
	} {
		if got := x.c.Most(0, x.c.Total()); math.Abs(got-x.most) > 1e-6 {
			t.Errorf("%s: the highest is %v; want %v", x.name, got, x.most)
		}
		if got := x.c.Climb(0, x.c.Total()); math.Abs(got-x.climb) > 1e-6 {
			t.Errorf("%s: it climbs %v; want %v", x.name, got, x.climb)
		}
	}
}

// A curve that is made longer has its values at the same shares of the time, and so many more events.
func TestOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := shapes().Draw(t, "curve")
		before := c.Total()
		if before < s {
			return
		}
		whole := time.Duration(rapid.Int64Range(1000, 1_000_000).Draw(t, "ms")) * ms
		x := c.Over(whole)
		if x.Total() != whole {
			t.Fatalf("it lasts %v; want %v", x.Total(), whole)
		}
		if got, want := x.Integral(whole)*before.Seconds(), c.Integral(before)*whole.Seconds(); math.Abs(got-want) > 1e-3*(1+want) {
			t.Fatalf("the mean is another: %v instead of %v", got/before.Seconds()/whole.Seconds(), want/before.Seconds()/whole.Seconds())
		}
	})
}

func BenchmarkNth(b *testing.B) {
	for _, x := range []struct {
		name string
		c    Curve
	}{
		{"line", Curve{{Duration: time.Hour, From: 10_000, To: 90_000}}},
		{"wave", Curve{{Duration: time.Hour, From: 50_000, To: 50_000, Wave: Wave{Amplitude: 50_000, Period: time.Minute}}}},
	} {
		b.Run(x.name, func(b *testing.B) {
			n := int64(0)
			for b.Loop() {
				n = (n + 12_345) % 150_000_000
				x.c.Nth(n)
			}
		})
	}
}
