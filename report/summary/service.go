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

// Configured is a rollout by a configuration; see report.Configured.
type Configured struct {
	Rollout  string  `json:"rollout"`          // its name
	Group    string  `json:"group"`            // of devices
	ID       string  `json:"id"`               // of the configuration
	Devices  int     `json:"devices"`          // of the group
	Before   int     `json:"before"`           // that held the properties before
	Told     int     `json:"told"`             // since
	Answered int     `json:"answered"`         // since
	Targeted int64   `json:"targeted"`         // twins, by the service; -1 when it never said
	Applied  int64   `json:"applied"`          // twins, by the service; -1 when it never said
	Shares   []Share `json:"shares"`           // in their order
	Took     float64 `json:"took_seconds"`     // until the last share was reached, or the rollout given up
	Missed   string  `json:"missed,omitempty"` // why the run failed by it
	Left     string  `json:"left,omitempty"`   // why the configuration is left at the service
}

// Share is when a share of the devices had the properties.
type Share struct {
	Percent int     `json:"percent"`      // of the devices
	Took    float64 `json:"took_seconds"` // 0 for one that was not reached
	Reached bool    `json:"reached"`      // whether it was
}

// Service is what became of the service side beside its operations.
type Service struct {
	Freshness  *Freshness            `json:"freshness,omitempty"`      // nil when it was not measured
	Waves      []Wave                `json:"waves,omitempty"`          // of rollouts, as they ended
	Configured []Configured          `json:"configured,omitempty"`     // rollouts by a configuration, as they ended
	Jobs       []Job                 `json:"jobs,omitempty"`           // as they were last seen
	Errors     []report.ServiceError `json:"service_errors,omitempty"` // by task and code
}

// WaveOf is a wave for programs.
func WaveOf(w report.Wave) Wave {
	return Wave{
		w.Rollout, w.Group, w.Number, w.Of, w.Percent, w.Devices, w.Patched, w.Told, w.Answered, w.Failed,
		w.Took.Seconds(), w.Stopped,
	}
}

func summarizeService(r *report.Run) Service {
	s := Service{Errors: r.ServiceErrors}
	if f := r.Freshness; f != nil {
		s.Freshness = &Freshness{f.Sampled, f.Devices, f.Probe.Seconds(), f.Tolerance.Seconds(), f.Unseen, f.Verified, f.Unchecked}
	}
	for _, w := range r.Waves {
		s.Waves = append(s.Waves, WaveOf(w))
	}
	for _, c := range r.Configured {
		out := Configured{c.Rollout, c.Group, c.ID, c.Devices, c.Before, c.Told, c.Answered, c.Targeted, c.Applied, nil, c.Took.Seconds(), c.Missed, c.Left}
		for _, x := range c.Shares {
			out.Shares = append(out.Shares, Share{x.Percent, x.Took.Seconds(), x.Reached})
		}
		s.Configured = append(s.Configured, out)
	}
	for _, j := range r.Jobs {
		s.Jobs = append(s.Jobs, Job{j.Name, j.Type, j.ID, j.Status, j.Devices, j.Succeeded, j.Failed, j.Took.Seconds(), j.Error})
	}
	return s
}
