package agents

import (
	"fmt"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// finer is how many times finer than the bound of a threshold a clock must be known for it.
const finer = 10

// Excuse takes back the verdict on the i-th of some thresholds if it is about freshness and the clock of an agent is not known well enough for its
// bound: freshness runs from an acknowledgement, by the agent's clock, to a result, by the coordinator's.
func Excuse(all []report.Agent, rules []threshold.Threshold, i int, v *threshold.Verdict) {
	if len(all) == 0 {
		return
	}
	bound, ok := rules[i].Time()
	if !ok || rules[i].Operation != metrics.OpFreshness || v.CannotSay || v.NoData {
		return
	}
	for i := range all {
		if c := all[i].Clock; c.Uncertainty > bound/finer {
			v.Pass, v.CannotSay = false, true
			v.Why = fmt.Sprintf("the clock of agent %s is known to ±%s alone: freshness within %s cannot be told", all[i].Name, human.Duration(c.Uncertainty), human.Duration(bound))
			return
		}
	}
}
