package scenario

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/schedule"
)

// Service is the service side.
type Service struct {
	Tags           map[string]json.RawMessage // by group
	TagMode        string                     // patch or bulk
	TagConcurrency int
	Queries        []Query
	Rollouts       []Rollout
	Methods        []MethodCalls
	TwinReads      []TwinReads
	Jobs           []Job
	Freshness      *Freshness // nil measures none
}

// Query is a query on a schedule.
type Query struct {
	Name     string
	SQL      string
	Every    time.Duration // 0 when it has a Cron
	Cron     *schedule.Cron
	Expect   *Expectation // nil expects nothing
	PageSize int
	Timeout  time.Duration
	Stages   []string // empty for the whole run
	place    problem.Place
}

// Expectation is a comparison with the number of items in a result.
type Expectation struct {
	Op    string // =, !=, <, <=, > or >=
	Count int
}

// Met reports whether a number is as expected.
func (x Expectation) Met(n int) bool {
	switch x.Op {
	case "!=":
		return n != x.Count
	case "<":
		return n < x.Count
	case "<=":
		return n <= x.Count
	case ">":
		return n > x.Count
	case ">=":
		return n >= x.Count
	default:
		return n == x.Count
	}
}

// String is the expectation as a person would write it.
func (x Expectation) String() string {
	if x.Op == "=" {
		return fmt.Sprint(x.Count)
	}
	return fmt.Sprintf("%s %d", x.Op, x.Count)
}

// Rollout brings desired properties to a group in waves.
type Rollout struct {
	Name       string
	Group      string
	Properties json.RawMessage
	At         time.Duration // after the start of Stage
	Stage      string        // the first when empty
	Waves      []Wave        // with growing shares
	Rate       *Range        // twins patched a second
	Timeout    time.Duration // of a device's notification and answer
	StopOver   float64       // share of a wave's devices that may fail; 1 never stops
	place      problem.Place
}

// Wave is one step of a rollout.
type Wave struct {
	Percent int           // of the group, with the waves before it
	For     time.Duration // from its start to the start of the next
}

// MethodCalls is a direct method that is called at a rate.
type MethodCalls struct {
	Name    string
	Group   string
	Method  string
	Payload json.RawMessage
	Rate    *Range
	Timeout time.Duration
	Stages  []string // empty for the whole run
	place   problem.Place
}

// TwinReads is twins of a group that are read at a rate.
type TwinReads struct {
	Group  string
	Rate   *Range
	Stages []string // empty for the whole run
	place  problem.Place
}

// Job is a scheduled job.
type Job struct {
	Name    string
	Type    string // twin or method
	Query   string // condition; empty selects all devices
	Tags    json.RawMessage
	Desired json.RawMessage
	Method  *JobMethod
	At      time.Duration // after the start of Stage
	Stage   string        // the first when empty
	MaxTime time.Duration
	place   problem.Place
}

// JobMethod is the direct method that a job calls.
type JobMethod struct {
	Name    string
	Payload json.RawMessage
	Timeout time.Duration
}

// Freshness is the freshness audit.
type Freshness struct {
	Probe     time.Duration // 0 for no probes
	Sample    int           // devices at the most
	Query     string        // a probe of the scenario's own
	Tolerance time.Duration
	Timeout   time.Duration
	Settle    time.Duration
	Verify    bool
}
