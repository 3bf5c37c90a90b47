// Package assign has a device assigned to its hub by a provisioning service, over MQTT as device SDKs do it
// (iot-mqtt-connect-to-iot-dps).
package assign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/metrics"
)

// Assignment is where a device belongs.
type Assignment struct {
	Hub    string // its host name, with a port when that is not the usual one
	Device string // its id there
}

// How long a device waits, as the device SDKs have it.
const (
	usualPoll = 2 * time.Second  // before a poll for which the service says no time
	firstWait = time.Second      // before the first request that follows a refusal for load; doubled with each
	longest   = 60 * time.Second // of such waits, unless the service asks for more
	jitter    = 0.2              // share by which waits are longer or shorter, by chance
)

// Client has one device assigned. All its fields are required.
type Client struct {
	// Connect makes the connection to the service, and measures it. It takes a handler of messages.
	Connect func(ctx context.Context, handler func(link.Message)) (link.Conn, error)
	// ID is the device's registration id.
	ID string
	// Timeout is how long the service may take for one answer.
	Timeout time.Duration
	// Within is how long all of it may take, refusals for load and all.
	Within time.Duration
	// Put and Get measure the requests to be registered, and the polls.
	Put, Get *metrics.Series
	// Unit draws evenly from [0, 1): waits differ by chance, or a fleet that was refused in one instant would be back in one.
	Unit func() float64
}

// Assign connects, registers and polls until the device is assigned, however often the service refuses for load. It ends
// early with the cause of ctx. What the service refuses for other reasons is a *StatusError, a registration that came to
// nothing a *FailedError, no answer in time ErrNoAnswer, a connection that ended link.ErrLost; when Within is over it is ErrShed
// or ErrNotYet.
func (c *Client) Assign(ctx context.Context) (a Assignment, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Within, ErrNotYet)
	defer cancel()
	s := newSession(c)
	if err := s.open(ctx); err != nil {
		return a, s.because(ctx, err)
	}
	defer s.close()
	op, err := s.operation(ctx, c.Put, "", 0)
	for err == nil && (op.Status == dps.StatusAssigning || op.Status == dps.StatusUnassigned) {
		op, err = s.operation(ctx, c.Get, op.OperationID, c.around(s.after(usualPoll)))
	}
	if err != nil {
		return a, s.because(ctx, err)
	}
	return outcome(op)
}

// because is the cause of ctx when that ended what failed.
func (s *session) because(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, ErrNotYet) && s.shed:
		return ErrShed
	default:
		return cause
	}
}

// outcome is what a registration that is over came to.
func outcome(op dps.Operation) (a Assignment, err error) {
	state := op.State
	if state == nil {
		state = &dps.RegistrationState{}
	}
	switch {
	case op.Status != dps.StatusAssigned:
		return a, &FailedError{Status: op.Status, Code: state.ErrorCode, Message: state.ErrorMessage}
	case state.Status != "" && state.Status != op.Status:
		return a, fmt.Errorf("%w: it says assigned, and of the registration another status", ErrAnswer)
	case state.AssignedHub == "" || state.DeviceID == "":
		return a, fmt.Errorf("%w: it says assigned, and not to which hub or as what device", ErrAnswer)
	}
	return Assignment{state.AssignedHub, state.DeviceID}, nil
}

// around is a time a little shorter or longer, by chance.
func (c *Client) around(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*c.Unit()))
}

// backoff is the wait after the n-th refusal for load, counted from 0. The service's own word counts beyond all bounds, and no
// chance makes it shorter.
func (c *Client) backoff(n int, asked time.Duration) time.Duration {
	own := c.around(min(longest, firstWait<<min(n, 10)))
	return max(own, time.Duration(float64(asked)*(1+jitter*c.Unit())))
}

// operation asks, after a wait, to be registered, or polls for an operation, until there is an answer other than a refusal for load.
func (s *session) operation(ctx context.Context, series *metrics.Series, id string, after time.Duration) (op dps.Operation, err error) {
	for n := 0; ; n++ {
		intended := time.Now().Add(after)
		if err := s.idle(ctx, after); err != nil {
			return op, err
		}
		r, err := s.request(ctx, series, id, intended)
		switch {
		case err != nil:
			return op, err
		case r.Status < 300:
			s.shed, s.retryAfter = false, r.RetryAfter
			if err := json.Unmarshal(r.body, &op); err != nil || op.Status == "" {
				return op, ErrAnswer
			}
			if op.OperationID == "" {
				op.OperationID = id
			}
			return op, nil
		case r.Status < 429:
			return op, statusError(r)
		}
		s.shed = r.Status == 429
		after = s.client.backoff(n, r.RetryAfter)
	}
}

// idle waits, unless the connection ends meanwhile.
func (s *session) idle(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.gone, func() { cancel(context.Cause(s.gone)) })()
	if err := wait.For(ctx, d); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// ErrAnswer is returned for an answer that is none of the protocol's.
var ErrAnswer error = plainError("the provisioning service's answer cannot be read")

// What takes too long.
var (
	// ErrNoAnswer is returned when a request has no answer in time.
	ErrNoAnswer = fmt.Errorf("no answer of the provisioning service: %w", context.DeadlineExceeded)
	// ErrNotYet is returned when the time for all of it is over.
	ErrNotYet = fmt.Errorf("the registration was not over in time: %w", context.DeadlineExceeded)
	// ErrShed is ErrNotYet when the last that the service said was that it throttles.
	ErrShed error = plainError("the provisioning service throttled the device until its time was over")
)

// plainError is an error whose text is its reason too: package metrics/reason shows it.
type plainError string

func (e plainError) Error() string  { return string(e) }
func (e plainError) Reason() string { return string(e) }
