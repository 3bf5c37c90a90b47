package exercise

import (
	"time"

	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/metrics/threshold"
)

// Record is what came of one trial. Times are in seconds. What is counted is what devices did: of a trial of bringing up in all of it, of a
// storm from the cut on.
type Record struct {
	Asked
	Verdict search.Verdict `json:"verdict"`         // of a storm: held when all came back without harm
	Close   bool           `json:"close,omitempty"` // it could have been the other one
	Limit   trial.Limit    `json:"limit,omitempty"` // what kept it from being held; empty when it was
	Class   string         `json:"class,omitempty"` // of a throttle: what is limited, such as twin updates
	Why     string         `json:"why,omitempty"`   // one line; empty when it was held
	Started time.Time      `json:"started"`         // UTC
	Seconds float64        `json:"seconds"`         // that the trial took

	Up        float64 `json:"up"`            // from the first device that was due until all were connected and answered
	Connected int     `json:"connected"`     // devices, when the trial or the wait before the storm ended
	P99       float64 `json:"p99,omitempty"` // of connecting, while devices came up
	Clean     bool    `json:"clean"`         // nothing was throttled, and nothing failed, while devices came up

	Throttled uint64   `json:"throttled"`                   // operations
	Refused   uint64   `json:"refused"`                     // likewise
	Failed    uint64   `json:"failed"`                      // likewise, that timed out, broke or were never answered
	Excused   uint64   `json:"excused,omitempty"`           // likewise, of a storm: lost with the connection that was cut, not among Failed
	Missed    []string `json:"missed_thresholds,omitempty"` // each with what was observed

	Lost     int     `json:"lost,omitempty"`      // the most devices that were gone at once
	Back99   float64 `json:"back_99,omitempty"`   // from the cut until 99 % were back; 0 when they were not
	BackAll  float64 `json:"back_all,omitempty"`  // from the cut until all were; 0 when they were not
	Peak     float64 `json:"peak,omitempty"`      // devices that came back in a second, at most
	Attempts float64 `json:"attempts,omitempty"`  // connects that were begun, a device
	Returns  []int   `json:"returns,omitempty"`   // devices that came back, by Every
	Every    float64 `json:"every,omitempty"`     // seconds
	BurstOf  string  `json:"burst_of,omitempty"`  // the limit whose burst was used up most when the connections were cut; empty when the tier is not known
	Burst    float64 `json:"burst,omitempty"`     // operations of it that pass at once after a quiet time
	LeftOver float64 `json:"left_over,omitempty"` // of Burst at the cut, by arithmetic

	Away bool `json:"agents_away,omitempty"` // an agent was lost, or not all were there, so that nothing is said
	// Uses is what those took that ran the devices, while they came up or, in a storm, came back.
	Uses       []trial.Use         `json:"generators,omitempty"`
	Thresholds []threshold.Verdict `json:"thresholds,omitempty"` // by which the trial was judged
	Dir        string              `json:"dir,omitempty"`        // folder of the run's record, beside the study's own file
}

// Harm is how many operations of devices came to grief.
func (r *Record) Harm() uint64 { return r.Throttled + r.Refused + r.Failed }
