package summary

import "github.com/twinfleet/twinfleet/report"

// Freshness is what the freshness audit watched. Its times are those of the operation freshness,
// its checks of results are with the queries.
type Freshness struct {
	Sampled   int                `json:"sampled"`             // devices that were watched
	Devices   int                `json:"devices"`             // that report
	Probe     float64            `json:"probe_seconds"`       // how often it asked; 0 for scheduled queries alone
	Tolerance float64            `json:"tolerance_seconds"`   // before a row counts as missing, extra or stale
	Unseen    int                `json:"unseen"`              // acknowledged reports that no result had shown when the run ended
	Verified  *report.Verified   `json:"verified,omitempty"`  // absent when twins were not read at the end
	Unchecked []report.Unchecked `json:"unchecked,omitempty"` // queries whose results could not be checked
}

// Wave is one wave of a rollout.
type Wave struct {
	Rollout  string  `json:"rollout"`      // the rollout's name
	Group    string  `json:"group"`        // of devices
	Number   int     `json:"number"`       // from 1
	Of       int     `json:"of"`           // waves of the rollout
	Percent  int     `json:"percent"`      // of the group that has been reached with this wave
	Devices  int     `json:"devices"`      // of this wave alone
	Patched  int     `json:"patched"`      // twins written
	Told     int     `json:"told"`         // devices that were notified
	Answered int     `json:"answered"`     // devices that answered in reported
	Failed   int     `json:"failed"`       // devices that had not answered in time, or been told if they do not answer
	Took     float64 `json:"took_seconds"` // until its end, or its time-out
	Stopped  bool    `json:"stopped"`      // the rollout stopped here
}

// Job is a scheduled job.
type Job struct {
	Name      string  `json:"name"`            // the scenario's
	Type      string  `json:"type"`            // twin or method
	ID        string  `json:"id"`              // at the service
	Status    string  `json:"status"`          // as the service names it; empty when the job was not made
	Devices   int     `json:"devices"`         // that it is for
	Succeeded int     `json:"succeeded"`       // of them
	Failed    int     `json:"failed"`          // of them
	Took      float64 `json:"took_seconds"`    // until it ended, or until the run did
	Error     string  `json:"error,omitempty"` // why it did not end well
}

// Service is what became of the service side beside its operations.
type Service struct {
	Freshness *Freshness            `json:"freshness,omitempty"`      // nil when it was not measured
	Waves     []Wave                `json:"waves,omitempty"`          // of rollouts, as they ended
	Jobs      []Job                 `json:"jobs,omitempty"`           // as they were last seen
	Errors    []report.ServiceError `json:"service_errors,omitempty"` // by task and code
}

func summarizeService(r *report.Run) Service {
	s := Service{Errors: r.ServiceErrors}
	if f := r.Freshness; f != nil {
		s.Freshness = &Freshness{f.Sampled, f.Devices, f.Probe.Seconds(), f.Tolerance.Seconds(), f.Unseen, f.Verified, f.Unchecked}
	}
	for _, w := range r.Waves {
		s.Waves = append(s.Waves, Wave{
			w.Rollout, w.Group, w.Number, w.Of, w.Percent, w.Devices, w.Patched, w.Told, w.Answered, w.Failed,
			w.Took.Seconds(), w.Stopped,
		})
	}
	for _, j := range r.Jobs {
		s.Jobs = append(s.Jobs, Job{j.Name, j.Type, j.ID, j.Status, j.Devices, j.Succeeded, j.Failed, j.Took.Seconds(), j.Error})
	}
	return s
}
