package metrics

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/metrics/reason"
)

// ErrorCount is how often operations of one kind, and of one group where it is named, ended badly for one reason. The counts of an operation,
// group and outcome add up to what the histogram of that outcome holds.
type ErrorCount struct {
	Operation Operation `json:"operation"`       // which operation
	Group     string    `json:"group,omitempty"` // of devices, or the name of a query; empty for all together
	Outcome   string    `json:"outcome"`         // throttled, timeout, refused, error or unanswered
	Reason    string    `json:"reason"`          // of a bounded set; never an id, an address or a secret
	Count     uint64    `json:"count"`           // how often
	Last      time.Time `json:"last"`            // when it was met last; UTC
}

// maxReasons bounds how many reasons a run tells apart; further ones are counted as reason.Other.
const maxReasons = 50

// kindBound is the reasons that a run has seen so far.
type kindBound struct {
	seen  sync.Map // errorKey → nothing
	kinds atomic.Int64
}

// bound gives the reason under which an outcome is counted.
func (r *Recorder) bound(o Outcome, why string) string {
	if why == "" {
		why = plainReason(o)
	}
	k := errorKey{o, why}
	if _, ok := r.kinds.seen.Load(k); ok {
		return why
	}
	// Racing newcomers may pass the bound together: by no more than run at once.
	if r.kinds.kinds.Load() >= maxReasons {
		return reason.Other
	}
	if _, ok := r.kinds.seen.LoadOrStore(k, nil); !ok {
		r.kinds.kinds.Add(1)
	}
	return why
}

// errorTable counts by reason. Only operations that ended badly come here.
type errorTable struct{ counts sync.Map } // errorKey → *errorState

type errorKey struct {
	outcome Outcome
	reason  string
}

type errorState struct {
	count atomic.Uint64
	last  atomic.Int64 // Unix nanoseconds
}

func (t *errorTable) add(k errorKey, at time.Time) {
	s, ok := t.counts.Load(k)
	if !ok {
		s, _ = t.counts.LoadOrStore(k, new(errorState))
	}
	state := s.(*errorState)
	state.count.Add(1)
	state.last.Store(at.UnixNano())
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
	default:
		return reason.Other
	}
}

func (t *errorTable) snapshot(op Operation, group string) []ErrorCount {
	var all []ErrorCount
	t.counts.Range(func(k, v any) bool {
		key, state := k.(errorKey), v.(*errorState)
		if n := state.count.Load(); n > 0 {
			all = append(all, ErrorCount{op, group, key.outcome.String(), key.reason, n, time.Unix(0, state.last.Load()).UTC()})
		}
		return true
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
