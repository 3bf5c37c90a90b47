package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/answer"
	"github.com/twinfleet/twinfleet/internal/capacity/rollout/advise"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report/human"
)

// rate writes devices a second.
func rate(x float64) string { return trial.ConnectRate.Number(x) }

func seconds(s float64) string { return human.Duration(time.Duration(s * float64(time.Second))) }

// roughly writes a time in whole seconds, or in hours and minutes.
func roughly(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d >= time.Minute {
		d = d.Round(time.Second)
	}
	return human.Duration(d)
}

// Headline is the answer in a line.
func (a *Answer) Headline() string {
	devices := human.Number(a.Devices, "device")
	b := &a.BringUp
	switch {
	case a.End == answer.Unreachable:
		return "no answer: the target cannot be loaded"
	case a.End == search.Generator && b.Held == 0 && a.byRoom(false):
		return "the target has no room for " + devices
	case a.End == search.Generator && b.Held == 0:
		return fmt.Sprintf("the generator did not deliver %s devices; of the target nothing can be said", rate(b.Over))
	case a.End == search.Below:
		return fmt.Sprintf("%s do not come up with the thresholds held, not even at %s", devices, rate(a.lowest()))
	case a.End == search.Unstable:
		return "no answer: trials of one rate contradict each other"
	case b.Held == 0:
		return "nothing is known yet"
	}
	text := fmt.Sprintf("%s come up at %s, in %s", devices, rate(b.Held), roughly(b.Takes))
	if b.End == search.AtLeast || b.End == search.Generator {
		text = fmt.Sprintf("%s come up at %s at least, in %s", devices, rate(b.Held), roughly(b.Takes))
	}
	if a.End == search.Generator && b.End != search.Generator && a.byRoom(true) {
		return text + "; the target has no room for the fleets of all storms"
	}
	if a.End == search.Generator {
		return text + "; the generator did not deliver what comes after"
	}
	if row := a.whole(); row != nil && row.Verdict != search.Undelivered {
		text += "; a storm takes " + within(row.BackAll)
	}
	return text
}

// byRoom reports whether the last trial that was not made, of storms or of bringing up, was not since the target cannot be made large enough for
// its fleet.
func (a *Answer) byRoom(storm bool) bool {
	for i := len(a.Trials) - 1; i >= 0; i-- {
		if r := &a.Trials[i]; r.IsStorm() == storm && r.Verdict == search.Undelivered {
			return r.Limit == trial.ByTarget
		}
	}
	return false
}

func (a *Answer) lowest() float64 {
	lowest := 0.0
	for i := range a.Trials {
		if r := a.Trials[i].Rate; lowest == 0 || r < lowest {
			lowest = r
		}
	}
	return lowest
}

// whole is the storm of the whole fleet; nil when there is none yet.
func (a *Answer) whole() *Row {
	for i := range a.Storms {
		if a.Storms[i].Devices == a.Devices {
			return &a.Storms[i]
		}
	}
	return nil
}

// within writes how long something took that may not have come to its end.
func within(s float64) string {
	if s == 0 {
		return "without end"
	}
	return roughly(s)
}

// BringUpLines are what there is to say of bringing the fleet up, one fact each.
func (a *Answer) BringUpLines() []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	b := &a.BringUp
	if b.Held > 0 {
		text := fmt.Sprintf("%s: a device every %s", rate(b.Held), seconds(b.Interval))
		switch {
		case b.Missed > 0:
			say("%s; %s does not hold", text, rate(b.Missed))
		case b.End == search.AtLeast:
			say("%s; nothing higher was to be tried", text)
		default:
			say("%s", text)
		}
	}
	if b.End == search.Generator && !a.byRoom(false) { // that the headline says
		say("the generator did not deliver %s: run this on a larger machine, or the target on another one", rate(b.Over))
		if b.Need != nil {
			lines = append(lines, b.Need.Lines(trial.ConnectRate.Text)...)
		}
	}
	if b.Confidence > 0 {
		say("%.0f %% sure that the limit lies between them", 100*min(b.Confidence, 0.99))
	}
	switch b.Limit {
	case trial.ByThrottle:
		text := "what binds: the limit of " + b.Class
		if b.Bound > 0 {
			text += fmt.Sprintf("; %s allows %s, after a burst", a.Tier, rate(b.Bound))
		}
		say("%s", text)
	case trial.ByTarget:
		say("what binds: the target itself: %s", cut(b.Cause, 70))
	}
	if b.Own > 0 && b.Held > 0 {
		holds := "that holds"
		switch {
		case b.Own > b.Held && b.Missed > 0:
			holds = "that does not hold"
		case b.Own > b.Held:
			holds = "more than was delivered"
		}
		say("the scenario as it stands brings them up at %s: %s", rate(b.Own), holds)
	}
	return lines
}

// cut keeps a long cause to a line.
func cut(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// Lines are what there is to say beside the tables, one fact each.
func (a *Answer) Lines() []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch a.End {
	case search.Below:
		say("%s", a.Why)
		say("no storm was tried: no rate is known at which the fleet comes up; begin lower with --from")
	case search.Unstable:
		say("the target, or this machine, does not behave alike from trial to trial; leave both alone while this runs")
	case answer.Unreachable:
		say("%s", a.Why)
		say("see %q", "twinfleet doctor")
	case search.Generator:
		if a.Why != "" {
			say("%s", a.Why)
		}
	case search.Stopped:
		if a.Dir == "" {
			say("%s; nothing is kept to go on from", a.Why)
			break
		}
		say("%s; the same command goes on from the %s that are finished", a.Why, human.Number(len(a.Trials), "trial"))
	}
	return lines
}

// AdviceLines are the recommendation, and what it rests on.
func (a *Answer) AdviceLines() []string {
	v := a.Advice
	if v == nil {
		return nil
	}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if v.Best == "" {
		return []string{"no recommendation: the generator delivered no storm as it was asked"}
	}
	best := &v.Order[0]
	switch {
	case v.Harmless && v.Alike != "":
		say("recommended: %s or %s: alike, back soonest without harm (99 %% in %s)", v.Best, v.Alike, within(best.Back99))
	case v.Harmless:
		say("recommended: %s: back soonest without harm (99 %% in %s)", v.Best, within(best.Back99))
	case v.Alike != "":
		say("no back-off is without harm; %s and %s do the least, and are alike: %s", v.Best, v.Alike, harmOf(best))
	default:
		say("no back-off is without harm; %s does the least: %s", v.Best, harmOf(best))
	}
	if len(v.Order) > 1 {
		next := &v.Order[1]
		text := fmt.Sprintf("next is %s: 99 %% in %s, %s", next.Backoff, within(next.Back99), harmOf(next))
		switch {
		case v.Confirmed && v.Alike != "":
			text = fmt.Sprintf("both were repeated with another seed: they differ by no more than %s, which is noise", seconds(v.Noise))
		case v.Confirmed:
			text += "; both were repeated with another seed"
		}
		say("%s", text)
	}
	if len(v.Silent) > 0 {
		say("of %s nothing can be said: the generator did not deliver the storm", strings.Join(v.Silent, ", "))
	}
	return lines
}

// harmOf says what a back-off did to operations and thresholds.
func harmOf(c *advise.Choice) string {
	text := "nothing throttled, refused or failed"
	if c.Harm > 0 {
		text = human.Count(int64(c.Harm+0.5)) + " operations throttled, refused or failed"
	}
	switch {
	case !c.Returned:
		text += ", and not all came back"
	case c.Missed == 1:
		text += ", a threshold missed"
	case c.Missed > 1:
		text += fmt.Sprintf(", %d thresholds missed", c.Missed)
	}
	return text
}

// StormColumns are the heads of StormRows.
func StormColumns() []string {
	return []string{"devices", "99 % back", "all back", "peak", "throttled", "refused", "failed", "attempts", "missed", "burst"}
}

// StormRows are the storms by size, for people.
func (a *Answer) StormRows() [][]string {
	rows := make([][]string, 0, len(a.Storms))
	for i := range a.Storms {
		r := &a.Storms[i]
		left := "?"
		if r.Burst > 0 {
			left = fmt.Sprintf("%.0f %%", 100*max(0, r.LeftOver)/r.Burst)
		}
		rows = append(rows, append(figures(r, human.Count(r.Devices)), left))
	}
	return rows
}

// BackoffColumns are the heads of BackoffRows.
func BackoffColumns() []string {
	c := StormColumns()
	c[0] = "back-off"
	return c[:len(c)-1]
}

// BackoffRows are the storms by back-off, for people.
func (a *Answer) BackoffRows() [][]string {
	rows := make([][]string, 0, len(a.Backoffs))
	for i := range a.Backoffs {
		r := &a.Backoffs[i]
		name := r.Backoff
		if r.Seed != a.Seed {
			name += ", 2nd"
		}
		rows = append(rows, figures(r, name))
	}
	return rows
}

// figures are those of a storm, for people.
func figures(r *Row, name string) []string {
	if r.Verdict == search.Undelivered {
		why := "generator"
		if r.noRoom {
			why = "no room"
		}
		return []string{name, why, "-", "-", "-", "-", "-", "-", "-"}
	}
	return []string{
		name, back(r.Back99), back(r.BackAll), rate(r.Peak), count(r.Throttled), count(r.Refused), count(r.Failed), fmt.Sprintf("%.1f", r.Attempts), count(uint64(r.Missed)),
	}
}

func back(s float64) string {
	if s == 0 {
		return "never"
	}
	return seconds(s)
}

func count(n uint64) string {
	if n == 0 {
		return "-"
	}
	return human.Count(n)
}

// Legend says how the columns of the storms are to be read.
func (a *Answer) Legend() string {
	text := "attempts are a device's; missed are thresholds; "
	if row := a.whole(); row != nil && row.Burst > 0 {
		return text + "bursts are as the bring-up left them: burst is what was left of the one used up most at the cut (" + row.BurstOf + ")"
	}
	return text + "bursts, if the target has any, are as the bring-up left them"
}
