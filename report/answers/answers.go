// Package answers says of a run what somebody asks who looks for five seconds: did it hold, since when not, what failed and why, which
// group, and can it be believed.
package answers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/agents"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/report/reasons"
)

// Answer is a question with what the run says to it.
type Answer struct {
	Question string        // as people ask it
	Mark     findings.Mark // whether that is good news
	Text     string        // one line
	Lines    []string      // what there is to know beside it, a few lines at most
}

// most is how many lines go with an answer; the reports have all.
const most = 4

// Of are the five answers of a run, always in the same order.
func Of(h *report.History) []Answer {
	return []Answer{held(h.Run), since(h.Run), failed(h.Run), groups(h.Run), believable(h)}
}

// clocksAlone reports whether nothing stands against a run on agents but what is not known of their clocks.
func clocksAlone(r *report.Run) bool {
	unsure := false
	for i := range r.Agents {
		switch agents.StateOf(&r.Agents[i]) {
		case agents.Lost, agents.Slow:
			return false
		case agents.Unsure:
			unsure = true
		case agents.Well:
		}
	}
	return unsure && (r.Generator == nil || !r.Generator.Saturated)
}

// held says whether the target held.
func held(r *report.Run) Answer {
	a := Answer{Question: "Did it hold?", Mark: findings.Bad}
	n := human.Number(len(r.Thresholds), "threshold")
	switch r.Outcome {
	case report.Passed:
		a.Mark, a.Text = findings.Good, "Yes: the run did all it should, and all "+n+" held."
		switch len(r.Thresholds) {
		case 0:
			a.Text = "The run did all it should. It has no thresholds: nothing was asked of the target beyond that."
		case 1:
			a.Text = "Yes: the run did all it should, and its threshold held."
		}
	case report.Missed:
		a.Text = "No: " + orElse(r.Reason, "a threshold was missed") + "."
	case report.Saturated:
		a.Mark, a.Text = findings.Warn, "Nobody knows: the load was not the one that was asked for."
		if clocksAlone(r) || r.Guessed() {
			a.Text = "Nobody knows: " + r.Reason + "."
		}
	case report.Interrupted:
		a.Mark, a.Text = findings.Warn, "Nobody knows: it did not run to its end: "+orElse(r.Reason, "it was stopped")+"."
	default:
		a.Text = "No: the run failed: " + orElse(r.Reason, "it could not do what the scenario says") + "."
	}
	var missed, unsure, met, none int
	for i := range r.Thresholds {
		v := &r.Thresholds[i]
		switch {
		case v.CannotSay:
			unsure++
		case v.Pass:
			met++
		case v.NoData && r.Outcome != report.Missed: // it did not come so far
			none++
		default:
			if missed++; missed <= most {
				a.Lines = append(a.Lines, v.Threshold+": "+v.Observed)
			}
		}
	}
	if missed > most {
		a.Lines = append(a.Lines, fmt.Sprintf("and %d more", missed-most))
	}
	if told := r.Outcome == report.Passed || r.Outcome == report.Missed && unsure == 0; !told && len(r.Thresholds) > 0 {
		text := fmt.Sprintf("%d of %s held", met, n)
		for _, x := range []struct {
			n    int
			what string
		}{{missed, "%d missed"}, {unsure, "of %d nothing can be said"}, {none, "%d had nothing to judge"}} {
			if x.n > 0 {
				text += ", " + fmt.Sprintf(x.what, x.n)
			}
		}
		a.Lines = append(a.Lines, text)
	}
	return a
}

func orElse(text, otherwise string) string {
	if text = strings.TrimSuffix(text, "."); text == "" {
		return otherwise
	}
	return text
}

// since says since when thresholds were missed, and when devices were gone.
func since(r *report.Run) Answer {
	a := Answer{Question: "Since when not?"}
	var first *threshold.Verdict // of those that are missed since a time that is known
	missed, unsure := 0, 0
	for i := range r.Thresholds {
		v := &r.Thresholds[i]
		when := r.MissedText(v)
		if v.Missed() && v.NoData && r.Outcome == report.Missed {
			when = "there was nothing to judge: " + v.Observed
		}
		if v.CannotSay {
			unsure++
		}
		if when == "" {
			continue
		}
		if missed++; missed <= most {
			a.Lines = append(a.Lines, v.Threshold+": "+when)
		}
		if !v.Since.IsZero() && (first == nil || v.Since.Before(first.Since)) {
			first = v
		}
	}
	switch {
	case first != nil:
		a.Mark, a.Text = findings.Bad, "The first threshold was "+r.MissedText(first)+", "+first.Since.UTC().Format("15:04:05 MST")+"."
	case missed > 0:
		a.Mark, a.Text = findings.Bad, "Only the end of the run showed that thresholds were missed."
	case len(r.Thresholds) == 0:
		a.Text = "There is no threshold that could be missed."
	case unsure > 0:
		a.Mark, a.Text = findings.Warn, fmt.Sprintf("Nobody knows: of %d of %s nothing can be said.", unsure, human.Number(len(r.Thresholds), "threshold"))
	default:
		a.Text = "No threshold was missed."
	}
	worst, more := findings.Outages(r)
	for _, o := range worst {
		a.Lines = append(a.Lines, o.String())
	}
	if more != "" {
		a.Lines = append(a.Lines, more)
	}
	return a
}

// failed says what failed, and why.
func failed(r *report.Run) Answer {
	all := account.OfRun(r)
	a := Answer{Question: "What failed, and why?"}
	throttled, dropped := all.Outcomes[metrics.Throttled], all.DroppedTotal()
	bad := all.Outcomes[metrics.Timeout] + all.Outcomes[metrics.Refused] + all.Outcomes[metrics.Failed] + all.Outcomes[metrics.Unanswered]
	var parts []string
	for _, x := range []struct {
		n    uint64
		what string
	}{{bad, "failed"}, {throttled, "throttled"}, {dropped, "never started"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s (%s)", human.Count(x.n), x.what, share(x.n, all.Scheduled)))
		}
	}
	switch {
	case all.Scheduled == 0:
		a.Text = "Nothing was begun."
	case len(parts) == 0:
		if r.Outcome == report.Passed || r.Outcome == report.Missed {
			a.Mark = findings.Good
		}
		a.Text = "Nothing: " + human.Number(int(all.Scheduled), "operation") + ", all done."
	default:
		a.Mark = findings.Warn
		if bad > 0 {
			a.Mark = findings.Bad
		}
		a.Text = "Of " + human.Number(int(all.Scheduled), "operation") + ": " + strings.Join(parts, ", ") + "."
	}
	found := reasons.Of(r)
	if len(parts) == 0 && slices.ContainsFunc(r.Totals.Errors, func(e metrics.ErrorCount) bool { return e.Outcome == metrics.LostConnection }) {
		a.Mark, a.Text = findings.Warn, a.Text+" Connections were lost."
	}
	for _, x := range found[:min(len(found), most)] {
		a.Lines = append(a.Lines, human.Count(x.Count)+" "+x.Text+" · "+x.Where())
	}
	if more := len(found) - most; more > 0 {
		a.Lines = append(a.Lines, human.Number(more, "more reason"))
	}
	if why := all.Why(); why != "" {
		a.Lines = append(a.Lines, "never started: "+why)
	}
	for _, s := range r.Steps {
		if !s.OK {
			a.Mark, a.Lines = findings.Bad, append(a.Lines, "step "+s.Text+": "+s.Detail)
		}
	}
	for _, f := range findings.Of(r) {
		if f.Mark == findings.Bad && !f.Agent { // those are answered below
			a.Mark, a.Lines = findings.Bad, append(a.Lines, f.Text)
		}
	}
	if len(a.Lines) > 2*most {
		a.Lines = append(a.Lines[:2*most], fmt.Sprintf("and %d more", len(a.Lines)-2*most))
	}
	return a
}

// share is a part of a whole, for people.
func share(n, of uint64) string {
	x := 100 * float64(n) / float64(max(of, 1))
	switch {
	case x < 0.01:
		return "less than 0.01 %"
	case x < 10:
		return fmt.Sprintf("%.2g %%", x)
	default:
		return fmt.Sprintf("%.1f %%", x)
	}
}

// groups says which groups of devices it was.
func groups(r *report.Run) Answer {
	a := Answer{Question: "Which group?"}
	parts, names := account.Groups(r), r.GroupNames()
	if len(parts) == 0 {
		a.Text = "There is one group of devices."
		if len(names) == 1 {
			a.Text = "There is one group of devices: " + names[0] + "."
		} else if len(names) == 0 {
			a.Text = "No device was started."
		}
		return a
	}
	undone := func(p account.Part) uint64 { return p.Scheduled - min(p.Scheduled, p.Outcomes[metrics.OK]) }
	slices.SortStableFunc(parts, func(a, b account.Part) int { // the worst first
		return cmp.Compare(float64(undone(b))/float64(max(b.Scheduled, 1)), float64(undone(a))/float64(max(a.Scheduled, 1)))
	})
	var well, bad []string
	for _, p := range parts {
		if n := undone(p); n > 0 {
			bad = append(bad, p.Name)
			a.Lines = append(a.Lines, fmt.Sprintf("%s: %s of %s not done (%s)", p.Name, human.Count(n), human.Number(int(p.Scheduled), "operation"), share(n, p.Scheduled)))
		} else {
			well = append(well, p.Name)
		}
	}
	switch {
	case len(bad) == 0 && !account.OfRun(r).Well():
		a.Text = fmt.Sprintf("None of the %d groups of devices: what failed was of the service side.", len(parts))
	case len(bad) == 0:
		a.Mark, a.Text = findings.Good, fmt.Sprintf("None of the %d groups: all did all they should.", len(parts))
	case len(well) == 0:
		a.Mark, a.Text = findings.Warn, fmt.Sprintf("All of the %d groups, %s most.", len(parts), bad[0])
	default:
		a.Mark, a.Text = findings.Warn, list(bad)+"; not "+list(well)+"."
	}
	return a
}

// list is names, as far as one reads them.
func list(names []string) string {
	if more := len(names) - most; more > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// believable says whether the figures speak of the target, or of the machine that made the load.
func believable(h *report.History) Answer {
	r := h.Run
	a := Answer{Question: "Can I believe it?", Mark: findings.Good}
	switch {
	case r.Generator == nil:
		a.Mark, a.Text = findings.Warn, "Nobody knows: whether the machine delivered the load was not measured."
	case r.Generator.Saturated && r.Generator.Of(report.CauseAgents):
		a.Mark, a.Text, a.Lines = findings.Bad, "No: not all agents delivered the load that was asked for.", r.GeneratorLines()
	case r.Generator.Saturated && r.Generator.Of(report.CauseUnled):
		a.Mark, a.Text, a.Lines = findings.Bad, "No: nobody led the run for a while, so the load was not the one that was asked for.", r.GeneratorLines()
	case r.Generator.Saturated:
		a.Mark, a.Text, a.Lines = findings.Bad, "No: the machine did not deliver the load that was asked for, so figures may be its own.", r.GeneratorLines()
	default:
		a.Text, a.Lines = "Yes: the machine delivered the load that was asked for.", r.GeneratorLines()
	}
	for _, f := range findings.Agents(r) {
		a.Lines = append(a.Lines, f.Text)
		switch {
		case f.Mark == findings.Bad && a.Mark != findings.Bad:
			a.Mark, a.Text = findings.Bad, "No: not all agents delivered the load that was asked for."
		case f.Mark == findings.Warn && a.Mark == findings.Good:
			a.Mark, a.Text = findings.Warn, "Yes, but for times: the agents delivered the load, and the clocks of some are not well known."
		}
	}
	if len(a.Lines) > most {
		a.Lines = append(a.Lines[:most], fmt.Sprintf("and %d more", len(a.Lines)-most))
	}
	if r.Suspicion != "" {
		a.Lines = append(a.Lines, r.Suspicion)
		if a.Mark == findings.Good {
			a.Mark, a.Text = findings.Warn, "Nobody knows: the machine delivered the load, and something else is likely to have spoiled the run."
		}
	}
	if !h.Whole {
		a.Lines = append(a.Lines, "the record is cut: what came after is not known")
		if a.Mark == findings.Good {
			a.Mark, a.Text = findings.Warn, "As far as it goes: the machine delivered the load until the record ends."
		}
	}
	if gaps := findings.Gaps(h); len(gaps) > 0 {
		a.Lines = append(a.Lines, fmt.Sprintf("%s without figures of each second", human.Number(len(gaps), "time")))
	}
	return a
}
