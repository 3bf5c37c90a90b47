package scenario

import (
	"time"

	"github.com/twinfleet/twinfleet/schedule"
)

// Backoffs is how a group's devices come back: after a connection that was lost or could not be had, and after the
// target refused one because it is busy, where that differs.
func (g *Group) Backoffs() (lost, throttled schedule.Backoff) {
	switch g.Backoff {
	case "steep":
		return schedule.SteepBackoff(), schedule.Backoff{}
	case "fixed":
		return schedule.FixedBackoff(), schedule.Backoff{}
	case "none":
		return schedule.NoBackoff(), schedule.Backoff{}
	default:
		return schedule.ExponentialBackoff(), schedule.ThrottledBackoff()
	}
}

// QueryTimes is when Queries[i] runs, which must have no cron expression. The phases of the queries are spread, so
// that they do not beat in step.
func (s *Service) QueryTimes(i int) schedule.Every {
	every := s.Queries[i].Every
	return schedule.Every{Period: every, Phase: every * time.Duration(i+1) / time.Duration(len(s.Queries)+1)}
}
