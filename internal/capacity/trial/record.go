package trial

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// Limit is what kept a load from being held.
type Limit string

// The limits.
const (
	ByTarget    Limit = "target"    // it was slow, or failed
	ByThrottle  Limit = "throttle"  // it shed or delayed what was above a limit of its own; Record.Class says which
	ByQuota     Limit = "quota"     // the day's messages were used up
	ByFleet     Limit = "fleet"     // the devices' in_flight: the load was not made, whatever the target
	ByGenerator Limit = "generator" // the load was not made: of the target nothing is said
	ByTrend     Limit = "trend"     // the thresholds were met, but the figures kept getting worse
)

// Record is what came of one trial. Rates are a second, times of operations in seconds.
type Record struct {
	Number  int            `json:"number"`            // from 1, in the order of the trials
	Load    float64        `json:"load"`              // in the unit of what is varied
	Phase   search.Phase   `json:"phase"`             // what it was for
	Seed    uint64         `json:"seed"`              // of its run
	Verdict search.Verdict `json:"verdict"`           // held, missed or undelivered
	Close   bool           `json:"close,omitempty"`   // it could have been the other one
	Final   bool           `json:"final,omitempty"`   // of one that was not delivered: it cannot be, on this machine
	Limit   Limit          `json:"limit,omitempty"`   // what kept the load from being held; empty when it was
	Class   string         `json:"class,omitempty"`   // of a throttle: what is limited, such as twin updates
	Why     string         `json:"why,omitempty"`     // one line; empty when the load was held
	Started time.Time      `json:"started"`           // UTC
	Seconds float64        `json:"seconds"`           // that the trial took
	Devices int            `json:"devices"`           // that were active
	Offered float64        `json:"offered"`           // operations a second that were due while the load was judged
	Done    float64        `json:"done"`              // operations a second that ended well in that time, whenever they were due
	P50     float64        `json:"p50"`               // from the intended time
	P99     float64        `json:"p99"`               // likewise
	Shed    float64        `json:"throttled"`         // share that was throttled
	Failed  float64        `json:"failed"`            // share that ended otherwise badly, or was dropped
	Settled bool           `json:"settled"`           // the figures had come to rest before the load was judged
	Drained bool           `json:"drained,omitempty"` // a burst was seen to be used up before
	Lowest  float64        `json:"lowest,omitempty"`  // how long operations took at the lowest load, before; 0 when it was not asked for
	// Away says that an agent was lost, or that not all were there, so that the load was not made.
	Away bool `json:"agents_away,omitempty"`
	// Uses is what those took that ran the devices, while the load was held or, if it did not come so far, while it settled.
	Uses []Use `json:"generators,omitempty"`
	// Thresholds are those that the trial was judged by.
	Thresholds []threshold.Verdict `json:"thresholds,omitempty"`
	Dir        string              `json:"dir,omitempty"` // folder of the run's record, beside the search's own file
}
