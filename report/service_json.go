package report

// FreshnessSummary is what the freshness audit watched. Its times are those of the operation freshness,
// its checks of results are with the queries.
type FreshnessSummary struct {
	Sampled   int         `json:"sampled"`
	Devices   int         `json:"devices"`
	Probe     float64     `json:"probe_seconds"`
	Tolerance float64     `json:"tolerance_seconds"`
	Unseen    int         `json:"unseen"` // acknowledged reports that no result had shown when the run ended
	Verified  *Verified   `json:"verified,omitempty"`
	Unchecked []Unchecked `json:"unchecked,omitempty"`
}

// WaveSummary is one wave of a rollout.
type WaveSummary struct {
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

// JobSummary is a scheduled job.
type JobSummary struct {
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

// ServiceSummary is what became of the service side beside its operations.
type ServiceSummary struct {
	Freshness *FreshnessSummary `json:"freshness,omitempty"` // nil when it was not measured
	Waves     []WaveSummary     `json:"waves,omitempty"`
	Jobs      []JobSummary      `json:"jobs,omitempty"`
	Errors    []ServiceError    `json:"service_errors,omitempty"`
}

func summarizeService(r *Run) ServiceSummary {
	s := ServiceSummary{Errors: r.ServiceErrors}
	if f := r.Freshness; f != nil {
		s.Freshness = &FreshnessSummary{f.Sampled, f.Devices, f.Probe.Seconds(), f.Tolerance.Seconds(), f.Unseen, f.Verified, f.Unchecked}
	}
	for _, w := range r.Waves {
		s.Waves = append(s.Waves, WaveSummary{w.Rollout, w.Group, w.Number, w.Of, w.Percent, w.Devices, w.Patched, w.Told, w.Answered, w.Failed, w.Took.Seconds(), w.Stopped})
	}
	for _, j := range r.Jobs {
		s.Jobs = append(s.Jobs, JobSummary{j.Name, j.Type, j.ID, j.Status, j.Devices, j.Succeeded, j.Failed, j.Took.Seconds(), j.Error})
	}
	return s
}
