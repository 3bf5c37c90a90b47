package answer

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report/human"
)

// text writes a load as what is varied.
func (a *Answer) text(load float64) string { return a.Vary.Text(load) }

// Headline is the answer in a line.
func (a *Answer) Headline() string {
	switch a.End {
	case search.Found:
		return fmt.Sprintf("%s hold; %s do not", a.text(a.Held), a.Vary.Number(a.Missed))
	case search.AtLeast:
		return fmt.Sprintf("%s hold, and nothing higher was to be tried", a.text(a.Held))
	case search.Below:
		return fmt.Sprintf("not even %s hold", a.text(a.lowest()))
	case search.Generator:
		if a.byFleet() {
			return fmt.Sprintf("%s hold; %s are more than these devices make", a.text(a.Held), a.Vary.Number(a.Over))
		}
		if a.byRoom() && a.Held == 0 {
			return "the target has no room for " + a.text(a.Over)
		}
		if a.byRoom() {
			return fmt.Sprintf("%s hold; the target has no room for %s", a.text(a.Held), a.Vary.Number(a.Over))
		}
		if a.Held == 0 {
			return fmt.Sprintf("the generator did not deliver %s; of the target nothing can be said", a.text(a.Over))
		}
		return fmt.Sprintf("%s hold; the generator did not deliver %s", a.text(a.Held), a.Vary.Number(a.Over))
	case search.Exhausted:
		if a.Held == 0 {
			return fmt.Sprintf("the day's messages were used up at %s; of the rate nothing can be said", a.text(a.Over))
		}
		return fmt.Sprintf("%s hold; at %s the day's messages were used up", a.text(a.Held), a.Vary.Number(a.Over))
	case search.Unstable:
		return "no answer: trials of one load contradict each other"
	case Changed:
		return "no answer: the target did not come back to what it was"
	case Unreachable:
		if a.Held > 0 {
			return "the target went away: " + a.sofar()
		}
		return "no answer: the target cannot be loaded"
	case NoData:
		return "no answer: a threshold had nothing to judge"
	}
	return a.sofar()
}

// byFleet reports whether the load that was not made is more than the devices' in_flight lets them make.
func (a *Answer) byFleet() bool {
	n := len(a.Trials)
	return n > 0 && a.Trials[n-1].Limit == trial.ByFleet
}

// byRoom reports whether the load was not made since the target cannot be made large enough for it.
func (a *Answer) byRoom() bool {
	n := len(a.Trials)
	return n > 0 && a.Trials[n-1].Limit == trial.ByTarget && a.Trials[n-1].Verdict == search.Undelivered
}

// sofar says what is known of a search that has not ended.
func (a *Answer) sofar() string {
	switch {
	case a.Held > 0 && a.Missed > 0:
		return fmt.Sprintf("so far %s hold and %s do not", a.text(a.Held), a.Vary.Number(a.Missed))
	case a.Held > 0:
		return fmt.Sprintf("so far %s hold", a.text(a.Held))
	case a.Missed > 0:
		return fmt.Sprintf("so far %s do not hold", a.text(a.Missed))
	}
	return "nothing is known yet"
}

func (a *Answer) lowest() float64 {
	if len(a.Curve) == 0 {
		return 0
	}
	return a.Curve[0].Load
}

// Lines are what there is to say beside the headline, one fact each.
func (a *Answer) Lines() []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	a.sayEnd(say)
	if a.Held > 0 && a.Missed > 0 && a.Confidence > 0 {
		held, missed := a.trialsOf(a.Held), a.trialsOf(a.Missed)
		say("%.0f %% sure that the limit lies between them: %s was held in %d of %d trials, %s missed in %d of %d",
			100*min(a.Confidence, 0.99), a.Vary.Number(a.Held), held.Held, held.Held+held.Missed, a.Vary.Number(a.Missed), missed.Missed, missed.Held+missed.Missed)
	}
	if text := a.binds(); text != "" {
		say("%s", text)
	}
	if a.Own > 0 && a.Held > 0 {
		say("the scenario as it stands asks for %s: %s", a.Vary.Number(a.Own), a.ownHolds())
	}
	if d := a.Day; d != nil {
		text := fmt.Sprintf("all day: %s messages a day allow %s", human.Count(int64(d.Quota)), a.text(d.Load))
		if d.Load <= 0 {
			text = fmt.Sprintf("all day: %s messages a day do not even carry the rest of the scenario", human.Count(int64(d.Quota)))
		}
		if d.RunsOut > 0 {
			text += fmt.Sprintf("; at %s they are used up after %s", a.Vary.Number(a.Held), roughly(d.RunsOut))
		}
		say("%s", text)
	}
	if a.Knee > 0 {
		say("the knee is at %s: beyond it more load buys more waiting than work", a.Vary.Number(a.Knee))
	}
	if text := a.sayPrediction(); text != "" {
		lines = append(lines, text)
	}
	return lines
}

// ownHolds says whether the scenario's own load holds, and how much more.
func (a *Answer) ownHolds() string {
	least := ""
	if a.Missed == 0 {
		least = "at least "
	}
	const alike = 1.05
	switch ratio := a.Held / a.Own; {
	case ratio >= alike:
		return fmt.Sprintf("%s%s times as much holds", least, times(ratio))
	case ratio >= 1:
		return "that holds"
	case a.Missed > 0 && a.Missed <= a.Own:
		return fmt.Sprintf("that does not hold, %.0f %% of it does", 100*ratio)
	}
	return "that was not tried"
}

func (a *Answer) trialsOf(load float64) Point {
	for _, p := range a.Curve {
		if p.Load == load {
			return p
		}
	}
	return Point{}
}

// sayEnd says why a search ended without the limit, and what to do.
func (a *Answer) sayEnd(say func(string, ...any)) {
	switch a.End {
	case search.AtLeast:
		say("the limit lies above: go on with a higher --to")
	case search.Below:
		say("%s", a.lastWhy())
		say("begin lower, with --from %s for example, or ask whether the thresholds can be met at all", a.flag(a.lowest()/10))
	case search.Generator:
		say("%s", a.Why)
		switch {
		case a.byRoom() && a.Held == 0:
		case a.byFleet(), a.byRoom():
			say("the limit of the target lies at %s or above", a.Vary.Number(a.Held))
		case a.Held > 0:
			say("the limit lies at %s or above; run this on a larger machine, or the target on another one", a.Vary.Number(a.Held))
		default:
			say("begin lower with --from, or run this on a larger machine, or the target on another one")
		}
		if a.Need != nil && !a.byFleet() {
			for _, line := range a.Need.Lines(a.Vary.Text) {
				say("%s", line)
			}
		}
	case search.Exhausted:
		say("what binds is the day's messages, used up within minutes: a higher load cannot be tried today; more units have more messages")
	case search.Unstable:
		say("%s held and was missed by turns: the target, or this machine, does not behave alike from trial to trial", a.contradicted())
		say("make trials longer with --hold, or leave target and machine alone while it runs")
	case Changed:
		say("%s", strings.TrimPrefix(a.Why, trial.ErrNotClean.Error()+": "))
		say("it gets slower by itself, or needs longer to recover: of what it holds nothing can be said until that is mended")
	case NoData:
		say("%s", strings.TrimPrefix(a.Why, trial.ErrNoData.Error()+": "))
		say("nothing of it was due while the load was judged: give a longer --hold, or leave the threshold out")
	case Unreachable:
		say("%s", strings.TrimPrefix(a.Why, trial.ErrUnreachable.Error()+": "))
		say("see %q", "twinfleet doctor")
	case search.Stopped:
		say("%s; the same command goes on, with %s finished", a.Why, human.Number(len(a.Trials), "trial"))
	}
}

// flag writes a load as a flag has it.
func (a *Answer) flag(load float64) string {
	if a.Vary == trial.Devices {
		return fmt.Sprint(max(1, int(load)))
	}
	return strings.ReplaceAll(a.Vary.Number(load), ",", "")
}

func (a *Answer) lastWhy() string {
	if n := len(a.Trials); n > 0 {
		return a.Trials[n-1].Why
	}
	return ""
}

// contradicted is the loads on which trials disagree.
func (a *Answer) contradicted() string {
	var loads []string
	for _, p := range a.Curve {
		if p.Held > 0 && p.Missed > 0 {
			loads = append(loads, a.Vary.Number(p.Load))
		}
	}
	if len(loads) == 0 {
		return "the same load"
	}
	return strings.Join(loads, ", ")
}

// binds says what keeps more load from being held.
func (a *Answer) binds() string {
	switch a.Limit {
	case trial.ByThrottle:
		text := "what binds: the throttle of " + a.Class
		if a.Bound > 0 {
			text += fmt.Sprintf("; %s allows %s", a.Tier, perTime(a.Bound))
		}
		return text
	case trial.ByQuota:
		return "what binds: the day's messages, which were used up"
	case trial.ByTarget:
		return "what binds: the target itself, by " + a.Cause
	case trial.ByTrend:
		return "what binds: the target itself: " + a.Cause
	}
	return ""
}

// sayPrediction says what the fit predicts, or why there is none.
func (a *Answer) sayPrediction() string {
	p := a.Prediction
	switch {
	case len(a.Curve) < 2, p == nil && a.NoFit == "":
		return ""
	case p == nil:
		return "no prediction: " + strings.TrimPrefix(a.NoFit, "no fit of the scalability law: ")
	case p.Linear, p.Maximum.Estimate == 0, p.Maximum.High == 0:
		return fmt.Sprintf("prediction (Universal Scalability Law, %d loads): throughput bends too little to predict a maximum", p.Loads)
	}
	text := fmt.Sprintf("prediction (Universal Scalability Law, %d loads): at most %s done", p.Loads, within(p.Maximum, human.Rate))
	if p.AtLoad.Estimate > 0 {
		text += fmt.Sprintf(", at %s", within(p.AtLoad, a.Vary.Number))
	}
	return text + fmt.Sprintf("; σ %.2g, κ %.2g", p.Sigma.Estimate, p.Kappa.Estimate)
}

// within writes an estimate with its interval.
func within(s Span, number func(float64) string) string {
	if s.High == 0 {
		return fmt.Sprintf("%s (%s or more)", number(s.Estimate), number(s.Low))
	}
	return fmt.Sprintf("%s (%s to %s)", number(s.Estimate), number(s.Low), number(s.High))
}

func times(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.1f", x)
	}
	return human.Count(int(x))
}

func perTime(rate float64) string {
	if rate < 1 {
		return fmt.Sprintf("%.3g/min", rate*60)
	}
	return fmt.Sprintf("%.4g/s", rate)
}

// roughly writes a long time with as many parts as people need.
func roughly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < time.Hour {
		return human.Duration(d.Round(time.Second))
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// Columns are the heads of Rows.
func Columns() []string {
	return []string{"load", "verdict", "done", "p50", "p99", "throttled", "failed"}
}

// Rows are the curve for people.
func (a *Answer) Rows() [][]string {
	rows := make([][]string, 0, len(a.Curve))
	for _, p := range a.Curve {
		rows = append(rows, []string{
			a.Vary.Number(p.Load), verdictOf(p), human.Rate(p.Done), duration(p.P50), duration(p.P99), share(p.Shed), share(p.Failed),
		})
	}
	return rows
}

func verdictOf(p Point) string {
	verdict, n := "held", p.Held
	if p.Missed >= p.Held {
		verdict, n = "missed", p.Missed
	}
	if p.Held+p.Missed == 1 {
		return verdict
	}
	return fmt.Sprintf("%s %d of %d", verdict, n, p.Held+p.Missed)
}

func duration(seconds float64) string {
	return human.Duration(time.Duration(seconds * float64(time.Second)))
}

func share(x float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g %%", 100*x)
}
