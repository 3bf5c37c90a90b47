package registration

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/dps"
)

// The results of registrations, as Stats counts them, beside the states dps.StatusAssigned, StatusFailed and StatusDisabled.
const (
	ResultUnauthorized = "unauthorized"
	ResultThrottled    = "throttled"
	ResultInvalid      = "invalid" // what the device said was refused
)

// Results are all results, in the order of a table.
func Results() []string {
	return []string{dps.StatusAssigned, dps.StatusFailed, dps.StatusDisabled, ResultUnauthorized, ResultThrottled, ResultInvalid}
}

// counts are the numbers of a Service.
type counts struct {
	assigned, failed, disabled, unauthorized, throttled, invalid atomic.Uint64

	polls, throttledPolls, answered atomic.Uint64
	waited                          atomic.Int64 // nanoseconds
}

func (c *counts) refused(err error) {
	switch {
	case unauthorized(err):
		c.unauthorized.Add(1)
	case dps.AsError(err).Status == http.StatusTooManyRequests:
		c.throttled.Add(1)
	default:
		c.invalid.Add(1)
	}
}

func (c *counts) ended(status string) {
	if status == dps.StatusAssigned {
		c.assigned.Add(1)
		return
	}
	c.failed.Add(1)
}

func (c *counts) told(after time.Duration) {
	c.answered.Add(1)
	c.waited.Add(int64(after))
}

// Stats are numbers of a Service.
type Stats struct {
	Registrations  map[string]uint64 // by result, see Results
	Assigning      int               // registrations under way
	Known          int               // registrations that are remembered
	Polls          uint64            // that came
	ThrottledPolls uint64            // of them those answered with 429
	Answered       uint64            // registrations whose device has heard the result
	Waited         time.Duration     // how long those took, from the registration to the poll that answered it, added up
}

// Stats tells the numbers as they are now.
func (s *Service) Stats() Stats {
	c := &s.counts
	out := Stats{
		Registrations: map[string]uint64{
			dps.StatusAssigned: c.assigned.Load(), dps.StatusFailed: c.failed.Load(), dps.StatusDisabled: c.disabled.Load(),
			ResultUnauthorized: c.unauthorized.Load(), ResultThrottled: c.throttled.Load(), ResultInvalid: c.invalid.Load(),
		},
		Polls: c.polls.Load(), ThrottledPolls: c.throttledPolls.Load(), Answered: c.answered.Load(),
		Waited: time.Duration(c.waited.Load()), Known: s.opts.Book.Len(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Assigning = s.pending
	return out
}
