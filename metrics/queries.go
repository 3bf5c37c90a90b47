package metrics

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// RowCheck is what the freshness audit found of one device in one result of a query.
type RowCheck uint8

// The findings. Every device that the audit samples and that is, or should be, in a result is one of them.
const (
	RowOK       RowCheck = iota // it is there, as it should be
	RowMissing                  // it should be there and is not
	RowExtra                    // it is there and should not be
	RowStale                    // it is there in a state older than what the target had acknowledged
	RowUnjudged                 // its state was changing: either answer would be right
	rowChecks                   // how many there are
)

// RowChecks are all findings, in the order in which reports list them.
func RowChecks() []RowCheck { return []RowCheck{RowOK, RowMissing, RowExtra, RowStale, RowUnjudged} }

// String is the finding as labels and reports write it.
func (c RowCheck) String() string {
	return [...]string{"ok", "missing", "extra", "stale", "unjudged"}[min(c, RowUnjudged)]
}

// RowCounts counts findings.
type RowCounts struct {
	OK       int `json:"ok"`       // devices that were in a result, or were not, as they should
	Missing  int `json:"missing"`  // that should be there and were not
	Extra    int `json:"extra"`    // that were there and should not be
	Stale    int `json:"stale"`    // that were there as they had been before
	Unjudged int `json:"unjudged"` // whose state was changing
}

// Of is the count of one finding.
func (c RowCounts) Of(check RowCheck) int {
	return [rowChecks]int{c.OK, c.Missing, c.Extra, c.Stale, c.Unjudged}[check]
}

// Judged is how many findings say right or wrong.
func (c RowCounts) Judged() int { return c.OK + c.Missing + c.Extra + c.Stale }

func (c RowCounts) combine(o RowCounts, num func(a, b int) int) RowCounts {
	return RowCounts{num(c.OK, o.OK), num(c.Missing, o.Missing), num(c.Extra, o.Extra), num(c.Stale, o.Stale), num(c.Unjudged, o.Unjudged)}
}

// queryChecks is what is known of a query's results beside their time: whether they had the
// expected size, and what the audit found.
type queryChecks struct {
	met, unmet atomic.Int64
	rows       [rowChecks]atomic.Int64
}

func (q *queryChecks) counts() RowCounts {
	n := func(c RowCheck) int { return int(q.rows[c].Load()) }
	return RowCounts{n(RowOK), n(RowMissing), n(RowExtra), n(RowStale), n(RowUnjudged)}
}

// QueryExpectation counts a result that had the size that its query expects, or had not.
func (r *Recorder) QueryExpectation(query string, met bool) {
	q := r.query(query)
	if met {
		q.met.Add(1)
	} else {
		q.unmet.Add(1)
	}
}

// QueryRows adds to what the audit found in the results of a query.
func (r *Recorder) QueryRows(query string, check RowCheck, n int) {
	r.query(query).rows[min(check, RowUnjudged)].Add(int64(n))
}

// since is what came after an earlier count of the same query.
func (q QueryCount) since(earlier QueryCount) QueryCount {
	less := func(a, b int) int { return a - min(a, b) }
	q.Met, q.Unmet = less(q.Met, earlier.Met), less(q.Unmet, earlier.Unmet)
	q.Rows = q.Rows.combine(earlier.Rows, less)
	return q
}

// Query is the counts of one query, or of all when the name is empty; ok is false when there are none.
func (s *Snapshot) Query(name string) (sum QueryCount, ok bool) {
	more := func(a, b int) int { return a + b }
	for _, q := range s.Queries {
		if name != "" && q.Query != name {
			continue
		}
		ok = true
		sum = QueryCount{
			Query: name, Results: q.Results, Pages: sum.Pages + q.Pages, Runs: sum.Runs + q.Runs,
			Met: sum.Met + q.Met, Unmet: sum.Unmet + q.Unmet, Rows: sum.Rows.combine(q.Rows, more),
		}
	}
	return sum, ok
}

// addQueries adds what another Recorder had of queries, earlier: sizes are those of a result that came later, if there is one.
func addQueries(all, more []QueryCount) []QueryCount {
	for _, q := range more {
		i, found := slices.BinarySearchFunc(all, q, func(a, b QueryCount) int { return cmp.Compare(a.Query, b.Query) })
		if !found {
			all = slices.Insert(all, i, q)
			continue
		}
		x := &all[i]
		if x.Runs == 0 {
			x.Results = q.Results
		}
		x.Pages, x.Runs, x.Met, x.Unmet = x.Pages+q.Pages, x.Runs+q.Runs, x.Met+q.Met, x.Unmet+q.Unmet
		x.Rows = x.Rows.combine(q.Rows, func(a, b int) int { return a + b })
	}
	return all
}
