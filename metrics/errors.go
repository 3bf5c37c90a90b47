package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics/internal/tally"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

// LostConnection is the outcome of an ErrorCount that is of connections which were made, and lost later on. It is the outcome of no operation.
const LostConnection = "lost"

// ErrorCount is how often operations of one kind, and of one group where it is named, ended badly for one reason. The counts of an operation,
// group and outcome add up to what the histogram of that outcome holds. Those of LostConnection, of connect, are connections beside.
type ErrorCount struct {
	Operation Operation `json:"operation"`       // which operation
	Group     string    `json:"group,omitempty"` // of devices, or the name of a query; empty for all together
	Outcome   string    `json:"outcome"`         // throttled, timeout, refused, error, unanswered or lost
	Reason    string    `json:"reason"`          // of a bounded set; never an id, an address or a secret
	Count     uint64    `json:"count"`           // how often
	Last      time.Time `json:"last"`            // when it was met last; UTC
}

// maxReasons bounds how many reasons a run tells apart; further ones are counted as reason.Other.
const maxReasons = 50

// errorKey is what reasons are counted by.
type errorKey struct {
	outcome Outcome
	reason  string
}

// bound gives the reason under which an outcome is counted.
func (r *Recorder) bound(o Outcome, why string) string {
	if why == "" {
		why = plainReason(o)
	}
	if !r.reasons.Admit(errorKey{o, why}) {
		return reason.Other
	}
	return why
}

// plainReason is the reason of an outcome of which no more is known.
func plainReason(o Outcome) string {
	switch o {
	case Throttled:
		return "throttled"
	case Timeout:
		return reason.NoAnswer
	case Refused:
		return "refused"
	case Unanswered:
		return "the run ended first"
	case lost:
		return "nothing is known of why"
	default:
		return reason.Other
	}
}

// errorCounts are the counts of a table, in the order of reports.
func errorCounts(t *tally.Table[errorKey], op Operation, group string) []ErrorCount {
	var all []ErrorCount
	t.Each(func(k errorKey, count uint64, last time.Time) {
		all = append(all, ErrorCount{op, group, k.outcome.String(), k.reason, count, last})
	})
	slices.SortFunc(all, compareErrors)
	return all
}

func (e ErrorCount) same(o ErrorCount) bool { return compareErrors(e, o) == 0 }

func compareErrors(a, b ErrorCount) int {
	return cmp.Or(cmp.Compare(a.Operation.rank(), b.Operation.rank()), cmp.Compare(a.Group, b.Group),
		cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Reason, b.Reason))
}

// ofAllGroups is counts that no longer say of which group they are.
func ofAllGroups(counts []ErrorCount) []ErrorCount {
	out := slices.Clone(counts)
	for i := range out {
		out[i].Group = ""
	}
	return out
}

// subErrors is what came since an earlier count.
func subErrors(now, earlier []ErrorCount) []ErrorCount {
	var out []ErrorCount
	for _, e := range now {
		if i := slices.IndexFunc(earlier, e.same); i >= 0 {
			e.Count -= min(e.Count, earlier[i].Count)
		}
		if e.Count > 0 {
			out = append(out, e)
		}
	}
	return out
}

func mergeErrors(a, b []ErrorCount) []ErrorCount {
	out := slices.Clone(a)
	for _, e := range b {
		i := slices.IndexFunc(out, e.same)
		if i < 0 {
			out = append(out, e)
			continue
		}
		out[i].Count += e.Count
		if e.Last.After(out[i].Last) {
			out[i].Last = e.Last
		}
	}
	slices.SortFunc(out, compareErrors)
	return out
}
