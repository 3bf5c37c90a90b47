package metrics

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrorCount is how often operations of one kind ended badly for one reason. The counts of an operation
// and outcome add up to what the histograms of that outcome hold.
type ErrorCount struct {
	Operation Operation `json:"operation"`
	Outcome   string    `json:"outcome"` // throttled, timeout, refused or error
	Reason    string    `json:"reason"`  // of a bounded set; never an id, an address or a secret
	Count     uint64    `json:"count"`
	Last      time.Time `json:"last"`
}

// maxReasons bounds how many reasons a run tells apart; further ones are counted as OtherReason.
const maxReasons = 50

// OtherReason is what Reason says of an error it does not know, and what takes the reasons over the bound.
const OtherReason = "another reason"

// errorTable counts by reason. Only operations that ended badly come here.
type errorTable struct {
	counts sync.Map // errorKey → *errorState
	kinds  atomic.Int64
}

type errorKey struct {
	operation Operation
	outcome   Outcome
	reason    string
}

type errorState struct {
	count atomic.Uint64
	last  atomic.Int64 // Unix nanoseconds
}

func (t *errorTable) add(k errorKey, at time.Time) {
	if k.reason == "" {
		k.reason = plainReason(k.outcome)
	}
	s, ok := t.counts.Load(k)
	if !ok {
		// Racing newcomers may pass the bound together: by no more than run at once.
		if t.kinds.Load() >= maxReasons {
			k.reason = OtherReason
		}
		if s, ok = t.counts.LoadOrStore(k, new(errorState)); !ok {
			t.kinds.Add(1)
		}
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
		return noAnswer
	case Refused:
		return "refused"
	default:
		return OtherReason
	}
}

func (t *errorTable) snapshot() []ErrorCount {
	var all []ErrorCount
	t.counts.Range(func(k, v any) bool {
		key, state := k.(errorKey), v.(*errorState)
		if n := state.count.Load(); n > 0 {
			all = append(all, ErrorCount{key.operation, key.outcome.String(), key.reason, n, time.Unix(0, state.last.Load()).UTC()})
		}
		return true
	})
	slices.SortFunc(all, compareErrors)
	return all
}

func (e ErrorCount) same(o ErrorCount) bool {
	return e.Operation == o.Operation && e.Outcome == o.Outcome && e.Reason == o.Reason
}

func compareErrors(a, b ErrorCount) int {
	return cmp.Or(cmp.Compare(a.Operation.rank(), b.Operation.rank()), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Reason, b.Reason))
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
