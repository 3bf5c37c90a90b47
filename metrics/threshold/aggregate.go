package threshold

import (
	"slices"

	"github.com/twinfleet/twinfleet/metrics"
)

// aggregate is the figure that a threshold compares.
type aggregate string

const (
	aggP    aggregate = "p"
	aggAvg  aggregate = "avg"
	aggMin  aggregate = "min"
	aggMed  aggregate = "med"
	aggMax  aggregate = "max"
	aggRate aggregate = "rate"

	// Of queries alone.
	aggExpected aggregate = "expected_rate" // share of results with the expected size
	aggCorrect  aggregate = "correct_rate"  // share of judged rows that were as they should be

	// Of devices alone.
	aggConnected     aggregate = "connected"      // devices that are connected
	aggConnectedRate aggregate = "connected_rate" // their share of those that should be
)

// unit is what the value of a threshold is written in.
type unit int

const (
	unitNone unit = iota
	unitTime
	unitShare
	unitRate
	unitCount
)

// unit is the aggregate's; unitNone when there is no such aggregate.
func (a aggregate) unit() unit {
	switch a {
	case aggP, aggAvg, aggMin, aggMed, aggMax:
		return unitTime
	case aggRate:
		return unitRate
	case aggExpected, aggCorrect, aggConnectedRate:
		return unitShare
	case aggConnected:
		return unitCount
	}
	for _, p := range parts() {
		switch a {
		case p.count:
			return unitCount
		case p.share:
			return unitShare
		}
	}
	return unitNone
}

// ofDevices reports whether the aggregate is about the states of devices.
func (a aggregate) ofDevices() bool { return a == aggConnected || a == aggConnectedRate }

// ofQueries reports whether the aggregation is about the content of query results.
func (a aggregate) ofQueries() bool { return a == aggExpected || a == aggCorrect }

// part is a kind of operations that a threshold counts, or whose share it takes.
type part struct {
	count, share aggregate
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
		{"", "success_rate", nil, outcomes(metrics.OK), func(x *metrics.SeriesSnapshot) uint64 { return x.Ended() + droppedUnasked(x) }},
		{"on_time", "on_time_rate", nil, func(x *metrics.SeriesSnapshot, _ string) uint64 { return x.OnTime }, due},
		{"late", "late_rate", []string{"own"}, late, due},
		{"dropped", "dropped_rate", metrics.DropReasons(), droppedFor, due},
		{"errors", "error_rate", nil, func(x *metrics.SeriesSnapshot, _ string) uint64 { return x.Errors() }, (*metrics.SeriesSnapshot).Ended},
		{"timeouts", "timeout_rate", nil, outcomes(metrics.Timeout), (*metrics.SeriesSnapshot).Ended},
		{"refused", "refused_rate", nil, outcomes(metrics.Refused), (*metrics.SeriesSnapshot).Ended},
		{"throttled", "throttled_rate", nil, outcomes(metrics.Throttled), (*metrics.SeriesSnapshot).Ended},
		{"unanswered", "unanswered_rate", nil, outcomes(metrics.Unanswered), (*metrics.SeriesSnapshot).Ended},
	}
}

// ofSchedule reports whether the aggregate tells how the generator kept its schedule, and nothing of the target.
func (a aggregate) ofSchedule() bool {
	switch a.part().count {
	case "scheduled", "on_time", "late":
		return true
	}
	return false
}

// part is the kind of operations that the aggregate counts; the zero value for all other aggregates.
func (a aggregate) part() part {
	all := parts()
	if i := slices.IndexFunc(all, func(p part) bool { return a == p.count || a == p.share }); i >= 0 {
		return all[i]
	}
	return part{}
}

// droppedUnasked is how many never started though nobody had paused the fleet.
func droppedUnasked(s *metrics.SeriesSnapshot) uint64 {
	return s.DroppedTotal() - s.Dropped[metrics.DropPaused]
}

// due is how many the schedule wanted, less what a pause held back.
func due(s *metrics.SeriesSnapshot) uint64 { return s.Started() + droppedUnasked(s) }

func late(s *metrics.SeriesSnapshot, only string) uint64 {
	if only == "own" {
		return s.LateOwn
	}
	return s.Late
}

func droppedFor(s *metrics.SeriesSnapshot, reason string) uint64 {
	if reason == "" {
		return droppedUnasked(s)
	}
	return s.Dropped[reason]
}
