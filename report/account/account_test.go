package account_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// sum is what an account has of all that was scheduled.
func sum(a account.Account) uint64 {
	n := a.Open + a.DroppedTotal()
	for _, x := range a.Outcomes {
		n += x
	}
	return n
}

// Nothing that was due vanishes: every account adds up, and the stages add up to the whole.
func TestNothingVanishes(t *testing.T) {
	run := reporttest.Example(20).Run
	whole := account.OfRun(run)
	if whole.Scheduled == 0 || sum(whole) != whole.Scheduled {
		t.Errorf("the whole: %d of %d", sum(whole), whole.Scheduled)
	}
	var lines uint64
	for _, l := range account.Lines(run.Totals) {
		a := account.Of(l.Series)
		if lines += a.Scheduled; sum(a) != a.Scheduled {
			t.Errorf("%s: %d of %d", l.Name, sum(a), a.Scheduled)
		}
	}
	if lines != whole.Scheduled {
		t.Errorf("the operations have %d of %d", lines, whole.Scheduled)
	}
	var stages uint64
	for _, p := range account.Stages(run) {
		if stages += p.Scheduled; sum(p.Account) != p.Scheduled {
			t.Errorf("stage %s: %d of %d", p.Name, sum(p.Account), p.Scheduled)
		}
	}
	if stages != whole.Scheduled {
		t.Errorf("the stages have %d of %d", stages, whole.Scheduled)
	}
}

// What lies in no stage is a part of its own.
func TestOutsideTheStages(t *testing.T) {
	run := reporttest.Example(20).Run
	run.Stages = run.Stages[:1]
	parts := account.Stages(run)
	if len(parts) != 2 || parts[1].Name != account.Outside || parts[0].Scheduled+parts[1].Scheduled != account.OfRun(run).Scheduled {
		t.Errorf("%+v", parts)
	}
}

// Tables have as many cells as columns, and no column that holds nothing.
func TestTables(t *testing.T) {
	for _, table := range account.Tables(reporttest.Example(20).Run, nil) {
		columns := len(table.Columns)
		if table.Parts {
			columns--
		}
		filled := make([]bool, columns)
		for _, row := range table.Rows {
			if len(row.Cells) != columns {
				t.Fatalf("%s: %d cells in %d columns: %q", table.Title, len(row.Cells), columns, row.Cells)
			}
			for i, cell := range row.Cells {
				filled[i] = filled[i] || cell != ""
			}
		}
		for i, full := range filled {
			if !full {
				t.Errorf("%s: column %d of %q holds nothing", table.Title, i, table.Columns)
			}
		}
	}
}
