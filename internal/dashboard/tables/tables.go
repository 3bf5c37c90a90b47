// Package tables puts what is known of a run, now or in the end, into the tables of its live page. Figures that the page sorts by are
// numbers; all others are texts, written as the reports write them.
package tables

import (
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/reasons"
)

// maxRows bounds each table, and with it what the page is sent every second.
const maxRows = 200

// Evidence is what is known of a run. Nothing of it is changed.
type Evidence struct {
	Run      *report.Run           // required, with Totals; its stages have theirs where that is known
	Over     bool                  // Run is the whole record
	Now      time.Duration         // since the run began
	Window   *metrics.Snapshot     // the last second; nil when there is none
	Standing *report.Standing      // the last; nil before the first
	Rules    []threshold.Threshold // of the scenario, in its order
	Devices  []metrics.DeviceCount // as they were when a stage last ran
	Outside  *metrics.Snapshot     // what was intended before the stages; nil when that is not known, or Over
	// Generator is its figures as /metrics has them, Peaks the highest of each so far, by name.
	Generator []metrics.Figure
	Peaks     map[string]float64
}

// Tables is everything that the page shows beside its charts.
type Tables struct {
	Answer     Answer      `json:"answer"`
	Thresholds []Threshold `json:"thresholds"`
	Operations []Operation `json:"operations"`
	Reasons    []Reason    `json:"reasons"`
	Groups     []Group     `json:"groups"`
	Stages     []Stage     `json:"stages"`
	Waves      []Wave      `json:"waves"`
	Generator  Generator   `json:"generator"`
	Agents     Agents      `json:"agents"`
}

// Counts is the account of some operations.
type Counts struct {
	Scheduled uint64 `json:"scheduled"` // that were due
	OK        uint64 `json:"ok"`        // that ended well
	Failed    uint64 `json:"failed"`    // timeout, refused, error or unanswered
	Throttled uint64 `json:"throttled"` // that the target shed
	Dropped   uint64 `json:"dropped"`   // that never started
	Open      uint64 `json:"open"`      // under way
	Late      uint64 `json:"late"`      // of Scheduled: started late
	Why       string `json:"why"`       // why some were dropped; empty when none were
}

// Of makes the tables.
func Of(e *Evidence) *Tables {
	parts := reasons.Parts(e.Run)
	t := &Tables{
		Thresholds: thresholds(e), Operations: operations(e), Reasons: reasonRows(e, parts), Groups: groups(e, parts), Stages: stages(e),
		Waves: waves(e), Generator: generator(e), Agents: agentRows(e),
	}
	t.Answer = answer(e, t)
	return t
}

func countsOf(a account.Account) Counts {
	failed := uint64(0)
	for _, o := range []metrics.Outcome{metrics.Timeout, metrics.Refused, metrics.Failed, metrics.Unanswered} {
		failed += a.Outcomes[o]
	}
	return Counts{
		a.Scheduled, a.Outcomes[metrics.OK], failed, a.Outcomes[metrics.Throttled], a.DroppedTotal(), a.Open, a.Late, a.Why(),
	}
}

// countsIn is the account of the operations of a snapshot: of one group, or of all when it is empty.
func countsIn(s *metrics.Snapshot, group string) Counts {
	var of []*metrics.SeriesSnapshot
	for i := range s.Series {
		if x := &s.Series[i]; group == "" || metrics.InGroup(x.Group, group) && x.Operation != metrics.OpQuery {
			of = append(of, x)
		}
	}
	return countsOf(account.Of(of...))
}
