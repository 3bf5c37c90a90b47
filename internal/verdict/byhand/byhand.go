// Package byhand says what thresholds are worth once somebody has changed the load of a run by hand.
package byhand

import (
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Excuse takes back the verdict on a scenario's i-th threshold where what was done by hand decides it. What a threshold lacks because less
// was done than the scenario asks for says nothing of the target. Of another load than the scenario's nothing can be said at all, but for
// what had been missed before it changed.
func Excuse(sc *scenario.Scenario, started time.Time, acts report.Interventions, i int, v *threshold.Verdict) {
	if v.CannotSay || len(acts) == 0 {
		return
	}
	rule := &sc.Thresholds[i]
	for k := range acts {
		act := &acts[k]
		excused := false
		switch act.Act {
		case report.ActChanged:
			before := v.Missed() && !v.Since.IsZero() && v.Since.Before(started.Add(act.At))
			excused = !before && goesBeyond(sc, rule, act.Stage)
		case report.ActEnded, report.ActPaused: // a pause may last into later stages
			within := rule.Scope.Stage == "" || rule.Scope.Stage == act.Stage || act.Act == report.ActPaused && goesBeyond(sc, rule, act.Stage)
			excused = v.Missed() && within && rule.Scope.Window == 0 && (v.NoData || rule.WantsMore())
		}
		if excused {
			v.Pass, v.CannotSay, v.Why = false, true, acts.String()
			return
		}
	}
}

// goesBeyond reports whether a threshold is about a stage, or one after it.
func goesBeyond(sc *scenario.Scenario, rule *threshold.Threshold, stage string) bool {
	place := func(name string) int {
		return slices.IndexFunc(sc.Stages, func(t scenario.Stage) bool { return t.Name == name })
	}
	return rule.Scope.Stage == "" || place(rule.Scope.Stage) >= place(stage)
}
