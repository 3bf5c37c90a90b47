// Package account says what became of everything that a run was to do: all together, by operation, by stage and by group.
package account

import (
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// Account is what became of the operations that were scheduled. Nothing vanishes:
//
//	Scheduled = all outcomes + Open + Dropped
type Account struct {
	Scheduled uint64                     // operations that were due
	Outcomes  map[metrics.Outcome]uint64 // that ended, by how
	Open      uint64                     // under way; 0 when the run is over
	Dropped   map[string]uint64          // never started, by reason
	Late      uint64                     // of Scheduled: started late
}

// Of is the account of some operations.
func Of(all ...*metrics.SeriesSnapshot) Account {
	a := Account{Outcomes: make(map[metrics.Outcome]uint64), Dropped: make(map[string]uint64)}
	for _, x := range all {
		a.Scheduled, a.Open, a.Late = a.Scheduled+x.Scheduled(), a.Open+x.InFlight(), a.Late+x.Late
		for _, o := range metrics.Outcomes() {
			a.Outcomes[o] += x.Count(o)
		}
		for reason, n := range x.Dropped {
			a.Dropped[reason] += n
		}
	}
	return a
}

// less is what is left of the account when a part is taken away.
func (a Account) less(part Account) Account {
	sub := func(x, y uint64) uint64 { return x - min(x, y) }
	out := Of()
	out.Scheduled, out.Open, out.Late = sub(a.Scheduled, part.Scheduled), sub(a.Open, part.Open), sub(a.Late, part.Late)
	for o, n := range a.Outcomes {
		out.Outcomes[o] = sub(n, part.Outcomes[o])
	}
	for reason, n := range a.Dropped {
		out.Dropped[reason] = sub(n, part.Dropped[reason])
	}
	return out
}

// DroppedTotal is how many never started.
func (a Account) DroppedTotal() (n uint64) {
	for _, x := range a.Dropped {
		n += x
	}
	return n
}

// Well reports whether all that was scheduled was done.
func (a Account) Well() bool { return a.Outcomes[metrics.OK] == a.Scheduled }

// String is the account as a sum of what is not nothing: 210 = ok 198 + throttled 2 + dropped 10 (in_flight 10).
func (a Account) String() string {
	parts := []string{"ok " + human.Count(a.Outcomes[metrics.OK])}
	for _, o := range metrics.Outcomes()[1:] {
		if n := a.Outcomes[o]; n > 0 {
			parts = append(parts, o.String()+" "+human.Count(n))
		}
	}
	if a.Open > 0 {
		parts = append(parts, "under way "+human.Count(a.Open))
	}
	if n := a.DroppedTotal(); n > 0 {
		parts = append(parts, "dropped "+human.Count(n)+" ("+a.Why()+")")
	}
	return human.Count(a.Scheduled) + " = " + strings.Join(parts, " + ")
}

// Why lists the reasons of what was dropped, the most frequent first; empty when nothing was.
func (a Account) Why() string {
	var reasons []string
	for reason, n := range a.Dropped {
		if n > 0 {
			reasons = append(reasons, reason)
		}
	}
	slices.SortFunc(reasons, func(x, y string) int {
		if a.Dropped[x] != a.Dropped[y] {
			return int(a.Dropped[y]) - int(a.Dropped[x])
		}
		return strings.Compare(x, y)
	})
	for i, reason := range reasons {
		reasons[i] = reason + " " + human.Count(a.Dropped[reason])
	}
	return strings.Join(reasons, ", ")
}

// OfRun is the account of everything that a run scheduled.
func OfRun(r *report.Run) Account { return Of(ofSnapshot(r.Totals)...) }

func ofSnapshot(s *metrics.Snapshot) []*metrics.SeriesSnapshot {
	all := make([]*metrics.SeriesSnapshot, len(s.Series))
	for i := range s.Series {
		all[i] = &s.Series[i]
	}
	return all
}
