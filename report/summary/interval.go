package summary

import "github.com/twinfleet/twinfleet/metrics"

// Interval is the figures of an interval for programs, as Summary has them for the whole run.
type Interval struct {
	Stage      string                `json:"stage,omitempty"`  // that ran; absent before the first and after the last
	Interval   float64               `json:"interval_seconds"` // its length
	Devices    []metrics.DeviceCount `json:"devices"`          // as they were at its end
	Operations []Operation           `json:"operations"`       // of which something was due or ended
	Queries    []metrics.QueryCount  `json:"queries"`          // as they were at its end
	Errors     []metrics.ErrorCount  `json:"errors"`           // why operations ended badly in it
}

// OfInterval makes the summary of what came between two snapshots.
func OfInterval(stage string, s *metrics.Snapshot) Interval {
	out := Interval{
		Stage: stage, Interval: s.Elapsed.Seconds(), Devices: orEmpty(s.Devices), Operations: []Operation{},
		Queries: orEmpty(s.Queries), Errors: orEmpty(s.Errors),
	}
	for i := range s.Series {
		if x := &s.Series[i]; x.Scheduled() > 0 || x.Ended() > 0 {
			out.Operations = append(out.Operations, summarizeOp(x, out.Interval))
		}
	}
	return out
}
