package scenario

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/schedule/cron"
)

// Service is the service side.
type Service struct {
	Tags           map[string]json.RawMessage // by group
	TagMode        string                     // patch or bulk
	TagConcurrency int                        // calls under way at once, 1 to 1000
	Queries        []Query                    // with different names
	Rollouts       []Rollout                  // with different names
	Methods        []MethodCalls              // with different names
	TwinReads      []TwinReads                // one rate each
	Jobs           []Job                      // with different names
	Freshness      *Freshness                 // nil measures none
}

// Query is a query on a schedule.
type Query struct {
	Name     string           // in metrics and thresholds
	SQL      string           // in the IoT Hub query language
	Every    time.Duration    // 0 when it has a Cron
	Cron     *cron.Expression // nil when it has Every
	Expect   *Expectation     // nil expects nothing
	PageSize int              // items a page, 1 to 1000
	Timeout  time.Duration    // of the whole result
	Stages   []string         // empty for the whole run
	place    problem.Place
}

// Expectation is a comparison with the number of items in a result.
type Expectation struct {
	Op    string // =, !=, <, <=, > or >=
	Count int    // items, 0 or more
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
	Name       string          // in the record
	Group      string          // whose devices
	Properties json.RawMessage // desired properties, a JSON object
	At         time.Duration   // after the start of Stage
	Stage      string          // the first when empty
	Waves      []Wave          // with growing shares
	Rate       *Range          // twins patched a second
	Timeout    time.Duration   // of a device's notification and answer
	StopOver   float64         // share of a wave's devices that may fail; 1 never stops
	place      problem.Place
}

// Wave is one step of a rollout.
type Wave struct {
	Percent int           // of the group, with the waves before it
	For     time.Duration // from its start to the start of the next
}

// MethodCalls is a direct method that is called at a rate.
type MethodCalls struct {
	Name    string          // in metrics and thresholds
	Group   string          // whose devices, in turn
	Method  string          // the method's own name
	Payload json.RawMessage // a JSON object; nil for none
	Rate    *Range          // calls a second
	Timeout time.Duration   // of an answer
	Stages  []string        // empty for the whole run
	place   problem.Place
}

// TwinReads is twins of a group that are read at a rate.
type TwinReads struct {
	Group  string   // whose twins, in turn
	Rate   *Range   // reads a second
	Stages []string // empty for the whole run
	place  problem.Place
}

// Job is a scheduled job.
type Job struct {
	Name    string          // in metrics and thresholds
	Type    string          // twin or method
	Query   string          // condition; empty selects all devices
	Tags    json.RawMessage // that a twin job writes; nil for none
	Desired json.RawMessage // that a twin job writes; nil for none
	Method  *JobMethod      // that a method job calls; nil for a twin job
	At      time.Duration   // after the start of Stage
	Stage   string          // the first when empty
	MaxTime time.Duration   // that the job may take
	place   problem.Place
}

// JobMethod is the direct method that a job calls.
type JobMethod struct {
	Name    string          // the method's own name
	Payload json.RawMessage // a JSON object; nil for none
	Timeout time.Duration   // of an answer
}

// Freshness is the freshness audit.
type Freshness struct {
	Probe     time.Duration // 0 for no probes
	Sample    int           // devices at the most
	Query     string        // a probe of the scenario's own
	Tolerance time.Duration // how much older than what was acknowledged a result may be
	Timeout   time.Duration // after which a report that no result shows timed out
	Settle    time.Duration // how long reports are awaited after the last stage
	Verify    bool          // read the sampled twins at the end
}
