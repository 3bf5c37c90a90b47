// Package aggregate knows the figures that a threshold may compare by their names: "p", "error_rate", "dropped".
package aggregate

import (
	"slices"

	"github.com/twinfleet/twinfleet/metrics"
)

// Aggregate is the name of a figure.
type Aggregate string

// The figures that are no number of operations and no share of them.
const (
	P    Aggregate = "p"
	Avg  Aggregate = "avg"
	Min  Aggregate = "min"
	Med  Aggregate = "med"
	Max  Aggregate = "max"
	Rate Aggregate = "rate"

	// Of queries alone.
	Expected Aggregate = "expected_rate" // share of results with the expected size
	Correct  Aggregate = "correct_rate"  // share of judged rows that were as they should be

	// Of devices alone.
	Connected     Aggregate = "connected"      // devices that are connected
	ConnectedRate Aggregate = "connected_rate" // their share of those that should be
)

// Unit is what the value of a figure is written in.
type Unit int

// The units.
const (
	None      Unit = iota // of what is no figure
	Time                  // 250ms
	Share                 // 0.1%
	PerSecond             // 10/s
	Count                 // 100
)

// Unit is the figure's; None when there is no such figure.
func (a Aggregate) Unit() Unit {
	switch a {
	case "": // which some kinds lack a name for
		return None
	case P, Avg, Min, Med, Max:
		return Time
	case Rate:
		return PerSecond
	case Expected, Correct, ConnectedRate:
		return Share
	case Connected:
		return Count
	}
	for _, p := range parts() {
		switch a {
		case p.count:
			return Count
		case p.share:
			return Share
		}
	}
	return None
}

// OfDevices reports whether the figure is about the states of devices.
func (a Aggregate) OfDevices() bool { return a == Connected || a == ConnectedRate }

// OfQueries reports whether the figure is about the content of query results.
func (a Aggregate) OfQueries() bool { return a == Expected || a == Correct }

// part is a kind of operations that a threshold counts, or whose share it takes.
type part struct {
	count, share Aggregate
	only         []string // arguments that take some of them alone
	number       func(x *metrics.SeriesSnapshot, only string) uint64
	whole        func(x *metrics.SeriesSnapshot) uint64 // of which they are a part; nil for those that may be counted when there is nothing
}

// parts are all kinds. What a pause held back was not due: it is in no share, and dropped counts it only when asked for it.
func parts() []part {
	outcomes := func(of ...metrics.Outcome) func(*metrics.SeriesSnapshot, string) uint64 {
		return func(x *metrics.SeriesSnapshot, _ string) (n uint64) {
			for _, o := range of {
				n += x.Count(o)
			}
			return n
		}
	}
	return []part{
		{"count", "", nil, outcomes(metrics.OK), nil},
		{"scheduled", "", nil, func(x *metrics.SeriesSnapshot, _ string) uint64 { return x.Scheduled() }, nil},
		{"", "success_rate", nil, outcomes(metrics.OK), func(x *metrics.SeriesSnapshot) uint64 { return x.Ended() + DroppedUnasked(x) }},
		{"on_time", "on_time_rate", nil, func(x *metrics.SeriesSnapshot, _ string) uint64 { return x.OnTime }, due},
		{"late", "late_rate", []string{"own"}, late, due},
		{"dropped", "dropped_rate", metrics.DropReasons(), droppedFor, due},
		{"errors", "error_rate", nil, func(x *metrics.SeriesSnapshot, _ string) uint64 { return x.Errors() }, (*metrics.SeriesSnapshot).Ended},
		{"timeouts", "timeout_rate", nil, outcomes(metrics.Timeout), (*metrics.SeriesSnapshot).Ended},
		{"refused", "refused_rate", nil, outcomes(metrics.Refused), (*metrics.SeriesSnapshot).Ended},
		{"throttled", "throttled_rate", nil, outcomes(metrics.Throttled), (*metrics.SeriesSnapshot).Ended},
		{"duplicates", "duplicate_rate", nil, func(x *metrics.SeriesSnapshot, _ string) uint64 { return x.Duplicates }, delivered},
		{"out_of_order", "out_of_order_rate", nil, func(x *metrics.SeriesSnapshot, _ string) uint64 { return x.OutOfOrder }, delivered},
		{"missing", "missing_rate", nil, func(x *metrics.SeriesSnapshot, _ string) uint64 { return uint64(max(0, x.Missing)) }, (*metrics.SeriesSnapshot).Ended},
		{"unanswered", "unanswered_rate", nil, outcomes(metrics.Unanswered), (*metrics.SeriesSnapshot).Ended},
	}
}

// OfDeliveries reports whether the figure is about copies of messages that subscribers are to get.
func (a Aggregate) OfDeliveries() bool { return a.OfCopies() || a.part().count == "missing" }

// OfCopies reports whether it is about those that came.
func (a Aggregate) OfCopies() bool {
	switch a.part().count {
	case "duplicates", "out_of_order":
		return true
	}
	return false
}

// OfLosses reports whether the figure is another when operations have no answer in time than when they have.
func (a Aggregate) OfLosses() bool {
	switch a.part().count {
	case "missing", "timeouts", "errors":
		return true
	}
	return a == "success_rate"
}

// delivered is how many copies there were in all.
func delivered(s *metrics.SeriesSnapshot) uint64 { return s.Count(metrics.OK) + s.Duplicates }

// OfSchedule reports whether the figure tells how the generator kept its schedule, and nothing of the target.
func (a Aggregate) OfSchedule() bool {
	switch a.part().count {
	case "scheduled", "on_time", "late":
		return true
	}
	return false
}

// part is the kind of operations that the figure counts; the zero value for all other figures.
func (a Aggregate) part() part {
	all := parts()
	if i := slices.IndexFunc(all, func(p part) bool { return a == p.count || a == p.share }); i >= 0 {
		return all[i]
	}
	return part{}
}

// Arguments are those that take some of the operations alone: dropped(in_flight).
func (a Aggregate) Arguments() []string { return a.part().only }

// Counts reports whether the figure is a number of operations, or a share of them.
func (a Aggregate) Counts() bool { return a.part().number != nil }

// HasWhole reports whether what the figure counts is a part of others: without any of these there is no figure.
func (a Aggregate) HasWhole() bool { return a.part().whole != nil }

// Number is how many operations the figure counts, all of them or those of an argument alone, and of how many; whole is 0 where
// HasWhole is false.
func (a Aggregate) Number(x *metrics.SeriesSnapshot, only string) (n, whole uint64) {
	p := a.part()
	n = p.number(x, only)
	switch {
	case p.whole == nil:
	case only == metrics.DropPaused:
		whole = x.Scheduled()
	default:
		whole = p.whole(x)
	}
	return n, whole
}

// DroppedUnasked is how many never started though nobody had paused the fleet.
func DroppedUnasked(s *metrics.SeriesSnapshot) uint64 {
	return s.DroppedTotal() - s.Dropped[metrics.DropPaused]
}

// due is how many the schedule wanted, less what a pause held back.
func due(s *metrics.SeriesSnapshot) uint64 { return s.Started() + DroppedUnasked(s) }

func late(s *metrics.SeriesSnapshot, only string) uint64 {
	if only == "own" {
		return s.LateOwn
	}
	return s.Late
}

func droppedFor(s *metrics.SeriesSnapshot, reason string) uint64 {
	if reason == "" {
		return DroppedUnasked(s)
	}
	return s.Dropped[reason]
}
