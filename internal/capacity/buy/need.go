package buy

import (
	"fmt"
	"math"
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

// required is the smallest limit, in operations a second, that carries a class: the mean of the steady state, for which no burst helps,
// and all that the stages ask for, of which so much of the rate as a burst lasts may come at once.
func required(n *plan.Need, c *plan.Class, most bool) (rate float64, because why) {
	steady := c.SteadyLeast
	if most {
		steady = c.Steady
	}
	if _, served := serve(n, c, steady, most); served {
		return steady, why{allDay: true}
	}
	low, high := steady, math.Max(1e-9, 2*steady)
	for {
		if _, served := serve(n, c, high, most); served {
			break
		}
		low, high = high, 2*high
	}
	for range 100 {
		middle := (low + high) / 2
		if high-low <= 1e-12*high || middle <= low || middle >= high {
			break
		}
		if _, served := serve(n, c, middle, most); served {
			high = middle
		} else {
			low = middle
		}
	}
	because, _ = serve(n, c, low, most)
	return high, because
}

// serve plays the stages against a limit: a bucket that holds as much of its rate as a burst lasts, and is full at first. It returns what
// is too much for it.
func serve(n *plan.Need, c *plan.Class, limit float64, most bool) (too why, served bool) {
	const little = 1e-9      // of what adding up loses
	missing, since := 0.0, 0 // of a full bucket, and the stage since when
	volume, length := 0.0, 0.0
	next := 0
	for i := range c.Stages {
		a := &c.Stages[i]
		for ; next < a.Stage; next++ { // stages that ask for nothing
			missing = math.Max(0, missing-limit*n.Stages[next].Seconds)
			length += n.Stages[next].Seconds
		}
		next = a.Stage + 1
		if missing == 0 {
			since, volume, length = a.Stage, 0, 0
		}
		stage := seconds(n, a.Stage)
		v, over, takes := busiest(a, stage, limit, most)
		if need := missing + v - limit*takes; need > limit*n.Burst*(1+little)+little*v {
			return why{count: volume + v, over: length + over, from: since, to: a.Stage}, false
		}
		whole := mean(a, most) * stage
		missing = math.Max(0, missing+whole-limit*stage)
		volume, length = volume+whole, length+stage
	}
	return why{}, true
}

// seconds is how long a stage lasts; a rate is told over a second at least.
func seconds(n *plan.Need, stage int) float64 { return math.Max(1, n.Stages[stage].Seconds) }

func mean(a *plan.Ask, most bool) float64 {
	if most {
		return a.Mean
	}
	return a.MeanLeast
}

// busiest is the window of a stage in which most comes beyond a limit: how many operations, how long the window is, and how much time the
// limit has to serve them.
func busiest(a *plan.Ask, stage, limit float64, most bool) (volume, over, takes float64) {
	worst := math.Inf(-1)
	try := func(w, serves float64) {
		v := 0.0
		for i := range a.Bursts {
			v += within(&a.Bursts[i], w, stage, most)
		}
		if beyond := v - limit*serves; beyond > worst {
			worst, volume, over, takes = beyond, v, w, serves
		}
	}
	try(stage, stage)
	top, slope := 0.0, 0.0
	for i := range a.Bursts {
		b := &a.Bursts[i]
		mean, peak := rates(b, most)
		switch w := math.Min(b.Seconds, stage); {
		case b.Rises:
			top, slope = top+peak, slope+2*math.Max(0, peak-mean)/stage
			continue
		case w <= 1: // all at once: no time passes in which the limit would serve some of it
			try(w, 0)
		default:
			try(w, w)
		}
		top += mean
	}
	if slope > 0 && top > limit { // until what rises was below the limit
		w := math.Min(stage, (top-limit)/slope)
		try(w, w)
	}
	return volume, over, takes
}

func rates(b *plan.Burst, most bool) (mean, peak float64) {
	if most {
		return b.Mean, b.Peak
	}
	return b.MeanLeast, b.PeakLeast
}

// within is how many operations of a part come at most in a window of a stage.
func within(b *plan.Burst, window, stage float64, most bool) float64 {
	mean, peak := rates(b, most)
	if b.Rises {
		slope := 2 * math.Max(0, peak-mean) / stage
		return math.Min(peak*window-slope*window*window/2, math.Max(peak, mean*stage))
	}
	busy := peak * math.Min(b.Seconds, window)
	return math.Min(busy+mean*math.Max(0, window-b.Seconds), math.Max(busy, mean*stage))
}

// text says what of a class is more than a limit carries.
func (w why) text(n *plan.Need, class, allows string, needed, allowed float64) string {
	if w.allDay {
		state := ""
		if n.Steady != "" {
			state = " " + n.Steady
		}
		return fmt.Sprintf("%s: %s all day%s; %s %s", class, beyond(needed, allowed), state, allows, rate(allowed))
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

// beyond writes a rate that is more than a limit, with as many digits as it takes to see that.
func beyond(needed, limit float64) string {
	if text := rate(needed); text != rate(limit) {
		return text
	}
	if needed < 1 {
		return human.Apart(needed*60, limit*60) + "/min"
	}
	return human.Apart(needed, limit) + "/s"
}

// rate writes a rate with the unit that a person would choose.
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
