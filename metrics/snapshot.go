package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/metrics/histogram"
	"github.com/twinfleet/twinfleet/metrics/internal/inflight"
)

// Snapshot is all numbers of a run at one time, or, from Sub, what came between two times.
type Snapshot struct {
	At      time.Time        `json:"at"`                // when it was taken
	Elapsed time.Duration    `json:"elapsed"`           // since the Recorder was made; of a window: its length
	Stage   string           `json:"stage,omitempty"`   // the stage that ran; empty before the first and after the last
	Series  []SeriesSnapshot `json:"series"`            // by operation as Operations has them, then by group
	Devices []DeviceCount    `json:"devices,omitempty"` // as they were at the end
	Queries []QueryCount     `json:"queries,omitempty"` // results as they were at the end
	Errors  []ErrorCount     `json:"errors,omitempty"`  // what ended badly, by reason, of all groups

	behind time.Duration // by which what Parts tell is older than At, on average
}

// Known is until when the numbers tell of an operation, of a group or of all when it is empty. That is At, but for what Parts tell, each when it
// does: where they are late nothing has happened less, it is not known yet. Of several Parts it is the mean, by how much each of them does.
func (s *Snapshot) Known(op Operation, group string) time.Time {
	var all lag
	for i := range s.Series {
		if x := &s.Series[i]; x.Operation == op && InGroup(x.Group, group) {
			all = all.plus(x.lag)
		}
	}
	if all.rate == 0 {
		return s.At.Add(-s.behind)
	}
	return s.At.Add(-time.Duration(all.late / all.rate * float64(time.Second)))
}

// lag is by how much those who tell of a series are late.
type lag struct {
	rate float64 // operations a second, so far
	late float64 // operations that are not told yet, at that rate
}

func (l lag) plus(o lag) lag { return lag{l.rate + o.rate, l.late + o.late} }

// lagOf is that of one who tells of what is in some cells from a time on until another; now is a third. Of one who has nothing more to tell, whose
// known is zero, there is none.
func lagOf(cells []*SeriesSnapshot, from, known, now time.Time) (l lag) {
	if known.IsZero() {
		return l
	}
	n := uint64(0)
	for _, c := range cells {
		n += c.Scheduled()
	}
	l.rate = float64(n) / max(time.Second, min(known.Sub(from), now.Sub(from))).Seconds()
	l.late = l.rate * max(0, now.Sub(known)).Seconds()
	return l
}

// DeviceCount is how many devices of a group are in a state.
type DeviceCount struct {
	Group string `json:"group"` // of devices
	State string `json:"state"` // waiting, connecting, connected, backoff or offline
	Count int    `json:"count"` // devices in it
}

func (d DeviceCount) compare(o DeviceCount) int {
	return cmp.Or(cmp.Compare(d.Group, o.Group), cmp.Compare(d.State, o.State))
}

// addDevices adds the devices of another part of the fleet.
func addDevices(all, more []DeviceCount) []DeviceCount {
	for _, d := range more {
		i, found := slices.BinarySearchFunc(all, d, DeviceCount.compare)
		if found {
			all[i].Count += d.Count
		} else {
			all = slices.Insert(all, i, d)
		}
	}
	return all
}

// QueryCount is the size of a query's last result, with its pages and runs so far.
type QueryCount struct {
	Query   string `json:"query"`   // its name
	Results int    `json:"results"` // items in the last whole result
	Pages   int    `json:"pages"`   // that were read
	Runs    int    `json:"runs"`    // that were read to the end
	// Met is how many results had the size that the query expects, Unmet how many had not; both are 0 when it expects none.
	Met   int       `json:"met,omitempty"`
	Unmet int       `json:"unmet,omitempty"` // see Met
	Rows  RowCounts `json:"rows,omitzero"`   // what the freshness audit found in the results
}

// SeriesSnapshot is the numbers of one operation and group.
//
//	Scheduled = OnTime + Late + Dropped
//	OnTime + Late = all outcomes + InFlight
type SeriesSnapshot struct {
	Operation Operation         `json:"operation"`          // which operation
	Group     string            `json:"group,omitempty"`    // of devices, or the name of a query; empty for what is of neither
	OnTime    uint64            `json:"on_time"`            // that started on time
	Late      uint64            `json:"late"`               // that started more than Options.LateAfter after their intended time
	LateOwn   uint64            `json:"late_own,omitempty"` // of Late: by the generator's own doing, not the target's
	Dropped   map[string]uint64 `json:"dropped,omitempty"`  // by reason
	// Duplicates and OutOfOrder are of deliveries: copies that a subscriber had before, and first copies behind one of a later message. They are
	// among no other number, and count in the stage of their message.
	Duplicates uint64 `json:"duplicates,omitempty"`
	OutOfOrder uint64 `json:"out_of_order,omitempty"` // see Duplicates
	// Missing is, of deliveries, how many copies have not come though their time is up and the target has acknowledged the message: they are among those that
	// timed out. Between two snapshots it is by how many these grew, and below 0 when more came after all.
	Missing  int64                         `json:"missing,omitempty"`
	Lag      histogram.Histogram           `json:"lag"`               // from the intended time to the start
	OwnLag   histogram.Histogram           `json:"own_lag"`           // the part of Lag that is the generator's own doing
	Response [outcomes]histogram.Histogram `json:"response"`          // by outcome, from the intended time
	Service  [outcomes]histogram.Histogram `json:"service"`           // by outcome, from the start
	Reasons  []ErrorCount                  `json:"reasons,omitempty"` // what ended badly, by reason

	open []inflight.Age // what was under way at the end
	lag  lag            // of those who tell of it
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

// Errors is how many ended as timeout, refused, error or unanswered. Throttled ones are counted apart.
func (s *SeriesSnapshot) Errors() uint64 {
	return s.Count(Timeout) + s.Count(Refused) + s.Count(Failed) + s.Count(Unanswered)
}

// InFlight is how many started and have not ended.
func (s *SeriesSnapshot) InFlight() uint64 {
	return s.Started() - min(s.Started(), s.Ended())
}

// Latency is the distribution of all times that the target took: every outcome but refused. Whatever its
// outcome, an answer that took long took long; one that never came took the time until nobody waited for it at least.
func (s *SeriesSnapshot) Latency(fromSend bool) histogram.Histogram {
	source := &s.Response
	if fromSend {
		source = &s.Service
	}
	var h histogram.Histogram
	for _, o := range []Outcome{OK, Throttled, Timeout, Failed, Unanswered} {
		h = h.Merge(source[o])
	}
	return h
}

// OpenLonger is the ages of what has been under way for longer than a time.
func (s *SeriesSnapshot) OpenLonger(than time.Duration) histogram.Histogram {
	var live histogram.Live
	for _, o := range s.open {
		if o.Least > than {
			live.RecordMany(o.Least, o.N)
		}
	}
	return live.Snapshot()
}

func (s SeriesSnapshot) combine(o SeriesSnapshot, hist func(a, b histogram.Histogram) histogram.Histogram, num func(a, b uint64) uint64) SeriesSnapshot {
	out := SeriesSnapshot{
		Operation: s.Operation, Group: s.Group, OnTime: num(s.OnTime, o.OnTime), Late: num(s.Late, o.Late), LateOwn: num(s.LateOwn, o.LateOwn),
		Duplicates: num(s.Duplicates, o.Duplicates), OutOfOrder: num(s.OutOfOrder, o.OutOfOrder), Missing: s.Missing,
		Lag: hist(s.Lag, o.Lag), OwnLag: hist(s.OwnLag, o.OwnLag),
	}
	for i := range outcomes {
		out.Response[i] = hist(s.Response[i], o.Response[i])
		out.Service[i] = hist(s.Service[i], o.Service[i])
	}
	for _, reason := range DropReasons() {
		if n := num(s.Dropped[reason], o.Dropped[reason]); n > 0 {
			if out.Dropped == nil {
				out.Dropped = make(map[string]uint64)
			}
			out.Dropped[reason] = n
		}
	}
	return out
}

// plus adds the numbers of another part of the same operation.
func (s SeriesSnapshot) plus(o SeriesSnapshot) SeriesSnapshot {
	out := s.combine(o, histogram.Histogram.Merge, func(a, b uint64) uint64 { return a + b })
	out.Missing += o.Missing
	out.Reasons = mergeErrors(s.Reasons, o.Reasons)
	out.open = append(slices.Clip(s.open), o.open...)
	return out
}

// since is what came since an earlier state; what is under way stays.
func (s SeriesSnapshot) since(earlier SeriesSnapshot) SeriesSnapshot {
	out := s.combine(earlier, histogram.Histogram.Sub, func(a, b uint64) uint64 { return a - min(a, b) })
	out.Missing -= earlier.Missing
	out.Reasons = subErrors(s.Reasons, earlier.Reasons)
	out.open, out.lag = s.open, s.lag
	return out
}

// OpenFor is how many operations have been under way for a time at least, as far as is known: ages are known to a quarter
// of a second, and are 0 in a snapshot that was read from a record.
func (s *SeriesSnapshot) OpenFor(d time.Duration) uint64 {
	var n uint64
	for _, o := range s.open {
		if o.Least >= d {
			n += o.N
		}
	}
	return n
}

// Sub is what came since an earlier snapshot of the same Recorder. Where Parts tell the numbers, it is as long as what they have told since: where
// they are late it is short, and long once they have told the rest.
func (s *Snapshot) Sub(earlier *Snapshot) *Snapshot {
	out := *s
	out.Elapsed = max(0, s.At.Sub(earlier.At)-(s.behind-earlier.behind))
	out.Series = make([]SeriesSnapshot, 0, len(s.Series))
	for _, x := range s.Series {
		if before := earlier.Find(x.Operation, x.Group); before != nil {
			x = x.since(*before)
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
		out.Series[i] = out.Series[i].plus(x)
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

// Select merges the series of one operation: of one group, with all its kinds of messages, of one kind, or of all when group is empty. It is nil
// when there are none.
func (s *Snapshot) Select(op Operation, group string) *SeriesSnapshot {
	var out *SeriesSnapshot
	for i := range s.Series {
		x := s.Series[i]
		if x.Operation != op || !InGroup(x.Group, group) {
			continue
		}
		if out == nil {
			x.Group = group
			out = &x
			continue
		}
		sum := out.plus(x)
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
