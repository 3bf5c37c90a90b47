package buy

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// why says which part of a load needs the most of a limit.
type why struct {
	allDay      bool    // the mean of the steady state
	count, over float64 // else: so many operations come within so many seconds
	from, to    int     // stages in which they do, by their place
}

// required is the smallest limit, in operations a second, that carries a class: the mean of the steady state, for which no burst
// helps, and every window of the stages, in which a burst may come at once on top of the rate: volume / (length + burst).
func required(n *plan.Need, c *plan.Class, most bool) (rate float64, because why) {
	rate, because = c.SteadyLeast, why{allDay: true}
	if most {
		rate = c.Steady
	}
	for i := range c.Stages {
		before, length := 0.0, 0.0 // of the stages from the j-th to the one before the i-th
		for j := i; j >= 0; j-- {
			if j < i {
				a := &c.Stages[j]
				seconds := seconds(n, a.Stage)
				before, length = before+mean(a, most)*seconds, length+seconds
				for k := a.Stage + 1; k < c.Stages[j+1].Stage; k++ { // those between that ask for nothing
					length += n.Stages[k].Seconds
				}
			}
			volume, over, r := busiest(&c.Stages[i], seconds(n, c.Stages[i].Stage), n.Burst, before, length, most)
			if r > rate*(1+1e-12) {
				rate, because = r, why{count: volume, over: over, from: c.Stages[j].Stage, to: c.Stages[i].Stage}
			}
		}
	}
	return rate, because
}

// seconds is how long a stage lasts; a rate is told over a second at least.
func seconds(n *plan.Need, stage int) float64 { return max(1, n.Stages[stage].Seconds) }

func mean(a *plan.Ask, most bool) float64 {
	if most {
		return a.Mean
	}
	return a.MeanLeast
}

// busiest is the window of a stage that needs the largest limit, given what came before it.
func busiest(a *plan.Ask, stage, burst, before, length float64, most bool) (volume, over, rate float64) {
	try := func(w, takes float64) {
		v := before
		for i := range a.Bursts {
			v += within(&a.Bursts[i], w, stage, most)
		}
		if r := v / (length + takes + burst); r > rate*(1+1e-12) {
			volume, over, rate = v, length+w, r
		}
	}
	try(stage, stage)
	for _, b := range a.Bursts {
		switch w := min(b.Seconds, stage); {
		case b.Rises:
			const steps = 64 // of a curve that is smooth
			for k := 1; k < steps; k++ {
				try(stage*float64(k)/steps, stage*float64(k)/steps)
			}
		case w <= 1: // all at once: no time passes in which the limit would serve some of it
			try(w, 0)
		default:
			try(w, w)
		}
	}
	return volume, over, rate
}

// within is how many operations of a part come at most in a window of a stage.
func within(b *plan.Burst, window, stage float64, most bool) float64 {
	mean, peak := b.MeanLeast, b.PeakLeast
	if most {
		mean, peak = b.Mean, b.Peak
	}
	if b.Rises {
		slope := 2 * max(0, peak-mean) / stage
		return min(peak*window-slope*window*window/2, max(peak, mean*stage))
	}
	busy := peak * min(b.Seconds, window)
	return min(busy+mean*max(0, window-b.Seconds), max(busy, mean*stage))
}

// text says what of a class is more than a limit carries.
func (w why) text(n *plan.Need, class, allows string, needed, allowed float64) string {
	if w.allDay {
		state := ""
		if n.Steady != "" {
			state = " " + n.Steady
		}
		return fmt.Sprintf("%s: %s all day%s; %s %s", class, rate(needed), state, allows, rate(allowed))
	}
	stage := "stage " + n.Stages[w.from].Name
	if w.to > w.from {
		stage = fmt.Sprintf("stages %s to %s", n.Stages[w.from].Name, n.Stages[w.to].Name)
	}
	within := "within " + short(w.over)
	if w.over <= 1 {
		within = "at once"
	}
	return fmt.Sprintf("%s: %s come %s in %s; %s %s, and %s at once", class, count(w.count), within, stage, allows, rate(allowed), count(allowed*n.Burst))
}

// count writes a number as whole things.
func count(x float64) string { return human.Count(int64(x + 0.5)) }

// short writes a time given in seconds.
func short(seconds float64) string {
	return human.Duration(time.Duration(seconds * float64(time.Second)))
}

// rate writes a rate with the unit that a person would choose, rounded up where rounding would hide that a limit is exceeded.
func rate(perSecond float64) string {
	number, unit := perSecond, "/s"
	if perSecond < 1 {
		number, unit = perSecond*60, "/min"
	}
	if number >= 100 {
		return count(number) + unit
	}
	text := strings.TrimSuffix(fmt.Sprintf("%.1f", number), ".0")
	return text + unit
}
