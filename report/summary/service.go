package summary

import "github.com/twinfleet/twinfleet/report"

// Freshness is what the freshness audit watched. Its times are those of the operation freshness,
// its checks of results are with the queries.
type Freshness struct {
	Sampled   int                `json:"sampled"`
	Devices   int                `json:"devices"`
	Probe     float64            `json:"probe_seconds"`
	Tolerance float64            `json:"tolerance_seconds"`
	Unseen    int                `json:"unseen"` // acknowledged reports that no result had shown when the run ended
	Verified  *report.Verified   `json:"verified,omitempty"`
	Unchecked []report.Unchecked `json:"unchecked,omitempty"`
}

// Wave is one wave of a rollout.
type Wave struct {
	Rollout  string  `json:"rollout"`
	Group    string  `json:"group"`
	Number   int     `json:"number"`
	Of       int     `json:"of"`
	Percent  int     `json:"percent"`
	Devices  int     `json:"devices"`
	Patched  int     `json:"patched"`
	Told     int     `json:"told"`
	Answered int     `json:"answered"`
	Failed   int     `json:"failed"`
	Took     float64 `json:"took_seconds"`
	Stopped  bool    `json:"stopped"`
}

// Job is a scheduled job.
type Job struct {
	Name      string  `json:"name"`
	Type      string  `json:"type"`
	ID        string  `json:"id"`
	Status    string  `json:"status"`
	Devices   int     `json:"devices"`
	Succeeded int     `json:"succeeded"`
	Failed    int     `json:"failed"`
	Took      float64 `json:"took_seconds"`
	Error     string  `json:"error,omitempty"`
}

// Service is what became of the service side beside its operations.
type Service struct {
	Freshness *Freshness            `json:"freshness,omitempty"` // nil when it was not measured
	Waves     []Wave                `json:"waves,omitempty"`
	Jobs      []Job                 `json:"jobs,omitempty"`
	Errors    []report.ServiceError `json:"service_errors,omitempty"`
}

func summarizeService(r *report.Run) Service {
	s := Service{Errors: r.ServiceErrors}
	if f := r.Freshness; f != nil {
		s.Freshness = &Freshness{f.Sampled, f.Devices, f.Probe.Seconds(), f.Tolerance.Seconds(), f.Unseen, f.Verified, f.Unchecked}
	}
	for _, w := range r.Waves {
		s.Waves = append(s.Waves, Wave{w.Rollout, w.Group, w.Number, w.Of, w.Percent, w.Devices, w.Patched, w.Told, w.Answered, w.Failed, w.Took.Seconds(), w.Stopped})
	}
	for _, j := range r.Jobs {
		s.Jobs = append(s.Jobs, Job{j.Name, j.Type, j.ID, j.Status, j.Devices, j.Succeeded, j.Failed, j.Took.Seconds(), j.Error})
	}
	return s
}
