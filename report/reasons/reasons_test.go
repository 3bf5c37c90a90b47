package reasons_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/reasons"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// bad is how many operations of a run ended other than well.
func bad(run *report.Run) (n uint64) {
	for i := range run.Totals.Series {
		x := &run.Totals.Series[i]
		n += x.Ended() - x.Count(metrics.OK)
	}
	return n
}

// Every operation that ended badly has a reason, however a record splits them.
func TestEveryFailureHasAReason(t *testing.T) {
	split := reporttest.Example(20).Run
	unsplit := reporttest.Example(20).Run
	for i := range unsplit.Stages {
		unsplit.Stages[i].Totals = nil
	}
	old := reporttest.Example(20).Run
	for i := range old.Stages {
		old.Stages[i].Totals = nil
	}
	for i := range old.Totals.Series {
		old.Totals.Series[i].Reasons = nil
	}
	for name, run := range map[string]*report.Run{"split by stage": split, "not split by stage": unsplit, "of all groups alone": old} {
		var parts, whole, lines uint64
		for _, p := range reasons.Parts(run) {
			parts += p.Count
		}
		for _, r := range reasons.Of(run) {
			whole += r.Count
		}
		for _, l := range reasons.Lines(run.Totals) {
			lines += l.Count
		}
		if want := bad(run); want == 0 || parts != want || whole != want || lines != want {
			t.Errorf("%s: %d in parts, %d in all, %d in lines; want %d", name, parts, whole, lines, want)
		}
	}
}

// A reason is one line, whatever a target writes.
func TestReasonsAreOneLine(t *testing.T) {
	s := &metrics.Snapshot{Errors: []metrics.ErrorCount{
		{Operation: metrics.OpConnect, Outcome: "refused", Reason: "not\nyou\x1b[2J", Count: 1},
		{Operation: metrics.OpTag, Outcome: "throttled", Reason: "throttled", Count: 1},
	}}
	lines := reasons.Lines(s)
	if got, want := lines[0].Text, "connect refused: not you [2J"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
	if got, want := lines[1].Text, "tag throttled"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}
