package scenario

import (
	"iter"
	"time"
)

// Reports are the times, from the beginning of a stage, at which operations of its report_rate are due; none without one.
// Stages are counted from 0.
func (s *Scenario) Reports(stage int) iter.Seq[time.Duration] {
	return s.arrivals(stage, "report_rate", s.Stages[stage].ReportRate)
}

// Messages are the times, from the beginning of a stage, at which operations of its telemetry_rate are due; none without one.
// Stages are counted from 0.
func (s *Scenario) Messages(stage int) iter.Seq[time.Duration] {
	return s.arrivals(stage, "telemetry_rate", s.Stages[stage].TelemetryRate)
}

func (s *Scenario) arrivals(stage int, name string, r *Range) iter.Seq[time.Duration] {
	t := &s.Stages[stage]
	if r == nil {
		return func(func(time.Duration) bool) {}
	}
	curve := r.Over(t.Duration)
	if t.Arrivals == "poisson" {
		return curve.Poisson(s.Seed, name, stage)
	}
	return curve.Even()
}
