package metrics

import (
	"cmp"
	"slices"
	"time"
)

// Snapshot is all numbers of a run at one time, or, from Sub, what came between two times.
type Snapshot struct {
	At      time.Time        `json:"at"`
	Elapsed time.Duration    `json:"elapsed"` // since the Recorder was made; of a window: its length
	Stage   string           `json:"stage,omitempty"`
	Series  []SeriesSnapshot `json:"series"`
	Devices []DeviceCount    `json:"devices,omitempty"` // as they were at the end
	Queries []QueryCount     `json:"queries,omitempty"` // results as they were at the end
	Errors  []ErrorCount     `json:"errors,omitempty"`  // what ended badly, by reason
}

// DeviceCount is how many devices of a group are in a state.
type DeviceCount struct {
	Group string `json:"group"`
	State string `json:"state"`
	Count int    `json:"count"`
}

// QueryCount is the size of a query's last result, with its pages and runs so far.
type QueryCount struct {
	Query   string `json:"query"`
	Results int    `json:"results"`
	Pages   int    `json:"pages"`
	Runs    int    `json:"runs"`
	// Results that had the size which the query expects, and that had not; both 0 when it expects none.
	Met   int       `json:"met,omitempty"`
	Unmet int       `json:"unmet,omitempty"`
	Rows  RowCounts `json:"rows,omitzero"` // what the freshness audit found in the results
}

// SeriesSnapshot is the numbers of one operation and group.
//
//	Scheduled = OnTime + Late + Dropped
//	OnTime + Late = all outcomes + Abandoned + InFlight
type SeriesSnapshot struct {
	Operation Operation           `json:"operation"`
	Group     string              `json:"group,omitempty"`
	OnTime    uint64              `json:"on_time"`
	Late      uint64              `json:"late"`
	Abandoned uint64              `json:"abandoned,omitempty"`
	Dropped   map[string]uint64   `json:"dropped,omitempty"` // by reason
	Lag       Histogram           `json:"lag"`               // from the intended time to the start
	Response  [outcomes]Histogram `json:"response"`          // by outcome, from the intended time
	Service   [outcomes]Histogram `json:"service"`           // by outcome, from the start
}

func (s *Series) snapshot() SeriesSnapshot {
	out := SeriesSnapshot{Operation: s.operation, Group: s.group}
	// Ends are read before starts, so that no operation seems to have ended before it started.
	for o := range outcomes {
		out.Response[o] = s.response[o].snapshot()
		out.Service[o] = s.service[o].snapshot()
	}
	out.Abandoned = s.abandoned.Load()
	out.OnTime, out.Late = s.sent.Load(), s.lateStart.Load()
	out.Lag = s.lag.snapshot()
	for i, reason := range dropReasons() {
		if n := s.dropped[i].Load(); n > 0 {
			if out.Dropped == nil {
				out.Dropped = make(map[string]uint64)
			}
			out.Dropped[reason] = n
		}
	}
	return out
}

// Started is how many operations started.
func (s *SeriesSnapshot) Started() uint64 { return s.OnTime + s.Late }

// DroppedTotal is how many were scheduled and never started.
func (s *SeriesSnapshot) DroppedTotal() uint64 {
	var n uint64
	for _, x := range s.Dropped {
		n += x
	}
	return n
}

// Scheduled is how many operations the schedule wanted.
func (s *SeriesSnapshot) Scheduled() uint64 { return s.Started() + s.DroppedTotal() }

// Ended is how many operations ended, whatever the outcome.
func (s *SeriesSnapshot) Ended() uint64 {
	var n uint64
	for o := range outcomes {
		n += s.Response[o].Count
	}
	return n
}

// Count is how many operations ended with an outcome.
func (s *SeriesSnapshot) Count(o Outcome) uint64 { return s.Response[o].Count }

// Errors is how many ended as timeout, refused or error. Throttled ones are counted apart.
func (s *SeriesSnapshot) Errors() uint64 {
	return s.Count(Timeout) + s.Count(Refused) + s.Count(Failed)
}

// InFlight is how many started and have not ended.
func (s *SeriesSnapshot) InFlight() uint64 {
	ended := s.Ended() + s.Abandoned
	return s.Started() - min(s.Started(), ended)
}

// Latency is the distribution of all answers of the target: every outcome but refused.
// Whatever its outcome, an answer that took long took long.
func (s *SeriesSnapshot) Latency(fromSend bool) Histogram {
	source := &s.Response
	if fromSend {
		source = &s.Service
	}
	var h Histogram
	for _, o := range []Outcome{OK, Throttled, Timeout, Failed} {
		h = h.Merge(source[o])
	}
	return h
}

func (s SeriesSnapshot) combine(o SeriesSnapshot, hist func(a, b Histogram) Histogram, num func(a, b uint64) uint64) SeriesSnapshot {
	out := SeriesSnapshot{
		Operation: s.Operation, Group: s.Group, OnTime: num(s.OnTime, o.OnTime), Late: num(s.Late, o.Late),
		Abandoned: num(s.Abandoned, o.Abandoned), Lag: hist(s.Lag, o.Lag),
	}
	for i := range outcomes {
		out.Response[i] = hist(s.Response[i], o.Response[i])
		out.Service[i] = hist(s.Service[i], o.Service[i])
	}
	for _, reason := range dropReasons() {
		if n := num(s.Dropped[reason], o.Dropped[reason]); n > 0 {
			if out.Dropped == nil {
				out.Dropped = make(map[string]uint64)
			}
			out.Dropped[reason] = n
		}
	}
	return out
}

// Sub is what came since an earlier snapshot of the same Recorder.
func (s *Snapshot) Sub(earlier *Snapshot) *Snapshot {
	out := *s
	out.Elapsed = s.At.Sub(earlier.At)
	out.Series = make([]SeriesSnapshot, 0, len(s.Series))
	for _, x := range s.Series {
		if before := earlier.Find(x.Operation, x.Group); before != nil {
			x = x.combine(*before, Histogram.Sub, func(a, b uint64) uint64 { return a - min(a, b) })
		}
		out.Series = append(out.Series, x)
	}
	out.Errors = subErrors(s.Errors, earlier.Errors)
	out.Queries = slices.Clone(s.Queries)
	for i := range out.Queries {
		if before, ok := earlier.Query(out.Queries[i].Query); ok {
			out.Queries[i] = out.Queries[i].since(before)
		}
	}
	return &out
}

// Merge adds the numbers of another Recorder, or of the window that follows: exactly, also the
// distributions. Devices and query results add up only when the other is another Recorder's.
func (s *Snapshot) Merge(o *Snapshot) *Snapshot {
	out := *s
	out.Series = slices.Clone(s.Series)
	out.Errors = mergeErrors(s.Errors, o.Errors)
	for _, x := range o.Series {
		i := slices.IndexFunc(out.Series, func(y SeriesSnapshot) bool { return y.Operation == x.Operation && y.Group == x.Group })
		if i < 0 {
			out.Series = append(out.Series, x)
			continue
		}
		out.Series[i] = out.Series[i].combine(x, Histogram.Merge, func(a, b uint64) uint64 { return a + b })
	}
	slices.SortFunc(out.Series, func(a, b SeriesSnapshot) int {
		return cmp.Or(cmp.Compare(a.Operation.rank(), b.Operation.rank()), cmp.Compare(a.Group, b.Group))
	})
	return &out
}

// Find is the series of one operation and group, or nil.
func (s *Snapshot) Find(op Operation, group string) *SeriesSnapshot {
	for i := range s.Series {
		if s.Series[i].Operation == op && s.Series[i].Group == group {
			return &s.Series[i]
		}
	}
	return nil
}

// Select merges the series of one operation: of one group, or of all when group is empty. It is nil when there are none.
func (s *Snapshot) Select(op Operation, group string) *SeriesSnapshot {
	var out *SeriesSnapshot
	for i := range s.Series {
		x := s.Series[i]
		if x.Operation != op || (group != "" && x.Group != group) {
			continue
		}
		if out == nil {
			x.Group = group
			out = &x
			continue
		}
		sum := out.combine(x, Histogram.Merge, func(a, b uint64) uint64 { return a + b })
		out = &sum
	}
	return out
}

// DevicesIn counts the devices of all groups in a state.
func (s *Snapshot) DevicesIn(state string) int {
	n := 0
	for _, d := range s.Devices {
		if d.State == state {
			n += d.Count
		}
	}
	return n
}
