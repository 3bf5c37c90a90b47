// Package advise says which back-off brings a fleet back soonest without harm, from what storms with each of them did. It is arithmetic: it
// runs nothing.
package advise

import (
	"cmp"
	"math"
	"slices"
)

// Run is what one storm did. Times are in seconds since the cut.
type Run struct {
	Backoff   string  // with which it was
	Back99    float64 // until 99 % were back; 0 when they were not
	BackAll   float64 // until all were; 0 when they were not
	Harm      uint64  // operations that were throttled, refused or failed
	Missed    int     // thresholds
	Delivered bool    // the generator did what was asked: else nothing is said of the target
}

// harmless reports whether all came back with nothing throttled, refused or failed, and every threshold met.
func (r *Run) harmless() bool { return r.Harm == 0 && r.Missed == 0 && r.Back99 > 0 && r.BackAll > 0 }

// Choice is a back-off with its storms together: times are means.
type Choice struct {
	Backoff  string  `json:"backoff"`
	Storms   int     `json:"storms"`   // that the generator delivered
	Harmless bool    `json:"harmless"` // in each of them
	Returned bool    `json:"returned"` // all devices came back, in each of them
	Back99   float64 `json:"back_99"`  // seconds; 0 when 99 % were not back in one
	BackAll  float64 `json:"back_all"` // seconds; 0 when not all were
	Harm     float64 `json:"harm"`     // operations that were throttled, refused or failed
	Missed   int     `json:"missed"`   // thresholds, in the worst of them

	spread, harms float64 // between the storms: of Back99, and of Harm
}

// Advice is the recommendation.
type Advice struct {
	Best      string   `json:"best"`               // the back-off; "" when no storm was delivered
	Alike     string   `json:"alike,omitempty"`    // another one that is within the noise of Best; "" for none
	Harmless  bool     `json:"harmless"`           // Best did no harm; else it did the least of all
	Confirmed bool     `json:"confirmed"`          // Best and the next were repeated with another seed
	Order     []Choice `json:"order"`              // best first
	Silent    []string `json:"silent,omitempty"`   // back-offs of which nothing can be said: the generator did not deliver
	Noise     float64  `json:"noise_99,omitempty"` // seconds by which times of Best and the next may differ without meaning anything
}

// Resolution of times: connections are looked at ten times a second, at the cut and at the return; and the share by which times of two storms
// differ all the same.
const (
	resolution = 0.2 // seconds
	share      = 0.02
)

// Of puts storms together and recommends. The order is: all came back without harm, the soonest 99 % first; then all came back, the least harm
// first; then the others, likewise.
func Of(runs []Run) Advice {
	var a Advice
	a.Order, a.Silent = together(runs)
	slices.SortStableFunc(a.Order, compare)
	if len(a.Order) == 0 {
		return a
	}
	if len(a.Order) > 1 {
		x, y := &a.Order[0], &a.Order[1]
		a.Confirmed = x.Storms > 1 && y.Storms > 1
		a.Noise = noise(x, y)
		if class(x) == class(y) && (x.Harmless || near(x.Harm, y.Harm, max(x.harms, y.harms))) {
			switch {
			case x.Back99 > 0 && y.Back99 > 0 && near(x.Back99, y.Back99, a.Noise):
				a.Alike = y.Backoff
			case !x.Harmless && y.Back99 > 0 && (x.Back99 == 0 || y.Back99 < x.Back99): // alike in harm: the sooner one
				*x, *y = *y, *x
			}
		}
	}
	a.Best, a.Harmless = a.Order[0].Backoff, a.Order[0].Harmless
	return a
}

// together makes a choice of each back-off, in the order in which they come first.
func together(runs []Run) (all []Choice, silent []string) {
	var names []string
	for i := range runs {
		if !slices.Contains(names, runs[i].Backoff) {
			names = append(names, runs[i].Backoff)
		}
	}
	for _, name := range names {
		c := Choice{Backoff: name, Harmless: true, Returned: true}
		var times, alls, harms []float64
		for i := range runs {
			r := &runs[i]
			if r.Backoff != name || !r.Delivered {
				continue
			}
			c.Storms++
			c.Harmless = c.Harmless && r.harmless()
			c.Returned = c.Returned && r.BackAll > 0
			c.Missed = max(c.Missed, r.Missed)
			times, alls, harms = append(times, r.Back99), append(alls, r.BackAll), append(harms, float64(r.Harm))
		}
		if c.Storms == 0 {
			silent = append(silent, name)
			continue
		}
		c.Back99, c.BackAll, c.Harm = mean(times, true), mean(alls, true), mean(harms, false)
		c.spread, c.harms = slices.Max(times)-slices.Min(times), slices.Max(harms)-slices.Min(harms)
		all = append(all, c)
	}
	return all, silent
}

// mean is the mean of some values; 0 when one of them is 0 and that means never.
func mean(values []float64, zeroIsNever bool) float64 {
	sum := 0.0
	for _, v := range values {
		if v == 0 && zeroIsNever {
			return 0
		}
		sum += v
	}
	return sum / float64(len(values))
}

// class is the first thing that back-offs are ordered by.
func class(c *Choice) int {
	switch {
	case c.Harmless:
		return 0
	case c.Returned:
		return 1
	}
	return 2
}

func compare(a, b Choice) int {
	if x, y := class(&a), class(&b); x != y {
		return x - y
	}
	never := func(t float64) float64 {
		if t == 0 {
			return math.Inf(1)
		}
		return t
	}
	return cmp.Or(cmp.Compare(a.Harm, b.Harm), cmp.Compare(a.Missed, b.Missed), cmp.Compare(never(a.Back99), never(b.Back99)), cmp.Compare(never(a.BackAll), never(b.BackAll)))
}

// noise is by how much the times of two back-offs may differ without meaning anything: by what storms of one differ with the seed.
func noise(x, y *Choice) float64 {
	return max(resolution, x.spread, y.spread, share*max(x.Back99, y.Back99))
}

func near(a, b, by float64) bool { return math.Abs(a-b) <= by }
