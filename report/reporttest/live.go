package reporttest

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
)

// Rules are the thresholds of Example, as a scenario has them.
func Rules() []threshold.Threshold {
	var rules []threshold.Threshold
	for _, r := range Example(2).Run.Rules {
		t, err := threshold.Parse(r.Selector, r.Expr)
		if err != nil {
			panic(err) // it is written above
		}
		rules = append(rules, t)
	}
	return rules
}

// Live is the samples of Example as an Observer is told of them: with the totals, and with how the run stands. Its first threshold
// holds; its second is missed from the fourth second on.
func Live(h *report.History) []report.Sample {
	run, rules := h.Run, Rules()
	samples := make([]report.Sample, 0, len(h.Samples))
	var total report.Sample
	for i, s := range h.Samples {
		if i == 0 {
			total = report.Sample{Window: s.Window}
		} else {
			total = total.Merge(s)
		}
		now := report.Sample{At: s.At, Window: s.Window, Total: total.Window}
		stand := report.Standing{
			Outlook: report.Holding, Reason: "1 of 2 thresholds met so far, 1 not yet to be judged", Connected: i + 1, Wanted: len(h.Samples), Fleet: run.Devices,
			Left: run.Ended.Sub(run.Started) - s.At, Rollouts: run.Waves,
		}
		for k, rule := range rules {
			state := judge.State{Verdict: rule.Evaluate(now.Total)}
			if v, ok := rule.Value(now.Total); ok {
				state.Value = &v
			}
			if k == 1 {
				state.Pass, state.Pending = false, i < 3
				if !state.Pending {
					state.Since = run.Started.Add(4 * time.Second)
					stand.Outlook, stand.Reason = report.Missing, state.Threshold+": "+state.Observed
				}
			}
			stand.Thresholds = append(stand.Thresholds, state)
		}
		now.Standing = &stand
		samples = append(samples, now)
	}
	return samples
}
