package assign

import (
	"fmt"

	"github.com/twinfleet/twinfleet/internal/iothub/dps"
)

// StatusError is a request that the service refused for another reason than load.
type StatusError struct {
	Status int // as in HTTP, 300 to 428
	Code   int // the service's own, six digits; 0 when it said none
}

// Error names status and code. What the service says beside them may name the device.
func (e *StatusError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("status %d", e.Status)
	}
	return fmt.Sprintf("status %d (%d)", e.Status, e.Code)
}

// Reason is the same: package metrics/reason shows it.
func (e *StatusError) Reason() string { return e.Error() }

// FailedError is a registration that is over and assigned the device to no hub.
type FailedError struct {
	Status  string // failed or disabled, or one that nobody knows
	Code    int    // of failed: why, six digits; 0 when the service said none
	Message string // of failed: in the service's words
}

// Error says what became of the registration.
func (e *FailedError) Error() string {
	if e.Message != "" {
		return e.Reason() + ": " + e.Message
	}
	return e.Reason()
}

// Reason is what became of it without the service's words, which are of no bounded set: package metrics/reason shows it.
func (e *FailedError) Reason() string {
	switch {
	case e.Status == dps.StatusDisabled:
		return "the enrollment is disabled"
	case e.Status != dps.StatusFailed:
		return "the registration ended in a status that is not known"
	case e.Code == 0:
		return "the registration failed"
	}
	return fmt.Sprintf("the registration failed (%d)", e.Code)
}

// statusError is what an answer above 299 says.
func statusError(r response) error {
	return &StatusError{Status: r.Status, Code: codeOf(r.body)}
}
