package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/fleet/assign"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// Provisioning is how devices have a provisioning service (DPS) assign them to their hub before they connect to it. A device
// keeps its assignment as long as the fleet lives; it asks once more when the hub refuses its identity, three times in a
// row at most.
type Provisioning struct {
	// Link is what a device's connection to the service needs: client id, which is its registration id, credentials, transport.
	// The fleet sets the rest. It speaks MQTT, by the driver of the Config, whatever the group speaks to its hub. Required.
	Link func(index int, id string) link.Options
	// Assigned is told where a device was assigned, and returns an error when that is of no use; nil takes it anywhere.
	Assigned func(index int, a Assignment) error
	// Timeout is how long one registration may take, all refusals for load among it, before it has failed and the device
	// begins another; 15 minutes when 0. One answer has the group's Timeout.
	Timeout time.Duration
}

// Assignment is where a provisioning service has a device belong.
type Assignment struct {
	Hub    string // host name of the hub, with a port when that is not the usual one
	Device string // the device's id there
}

// mostReassigned is how often in a row a device provisions once more because the hub refuses its identity.
const mostReassigned = 3

// usualRegistration is how long a registration may take.
const usualRegistration = 15 * time.Minute

// retryRegistration is the wait before the next registration after one that failed: a second to a minute, a fifth of it by chance.
func retryRegistration() schedule.Backoff {
	return schedule.Backoff{Base: time.Second, Max: time.Minute, StepLow: 800 * time.Millisecond, StepHigh: 1200 * time.Millisecond}
}

// unassignedError is why a device has no hub.
type unassignedError struct{ error }

func (e unassignedError) Unwrap() error { return e.error }

// unassigned reports whether the device must be assigned before it connects.
func (d *device) unassigned() bool { return d.group.Provision != nil && !d.assigned }

// provision has the device assigned, on the session's goroutine. The observation runs from the time at which the device was due to
// have a hub, which is before the intended time of a registration that follows one that failed, to the assignment.
func (d *device) provision(ctx context.Context, due, intended time.Time) error {
	p, g := d.group.Provision, d.group
	op := g.dpsRegister.StartAfter(due, d.free, time.Now())
	draws := d.fleet.streams.provisioning
	n := int64(0)
	c := assign.Client{
		ID: d.id, Timeout: g.Timeout, Within: p.Timeout, Put: g.dpsPut, Get: g.dpsGet,
		Connect: func(ctx context.Context, handler func(link.Message)) (link.Conn, error) {
			o := p.Link(d.index, d.id)
			o.Handler = handler
			return d.dial(ctx, d.fleet.cfg.Driver, o, g.dpsConnect, intended)
		},
		Unit: func() float64 {
			n++
			return draws.Unit(d.index, d.turns.registrations<<16|n)
		},
	}
	a, err := c.Assign(ctx)
	if err == nil && p.Assigned != nil {
		err = p.Assigned(d.index, Assignment(a))
	}
	if err != nil && context.Cause(ctx) != nil {
		op.Unanswered(time.Now(), stoppedFirst)
		return err
	}
	op.EndBecause(time.Now(), registrationOutcome(err), d.reasonOf(err))
	if err != nil {
		d.fleet.log.Debug("provisioning failed", "device", d.id, "error", err)
		return unassignedError{fmt.Errorf("provisioning: %w", err)}
	}
	return nil
}

// registrationOutcome sorts a registration that failed.
func registrationOutcome(err error) metrics.Outcome {
	var status *assign.StatusError
	switch {
	case errors.Is(err, assign.ErrShed):
		return metrics.Throttled
	case errors.As(err, &status) && (status.Status == 401 || status.Status == 403):
		return metrics.Refused
	}
	return connectOutcome(err)
}

// noteAssigned keeps that the device has a hub. It is for who acts.
func (d *device) noteAssigned() {
	if d.assigned {
		return
	}
	d.assigned, d.attempt, d.hubDue = true, 0, time.Time{}
	if !d.everAssigned {
		d.everAssigned = true
		d.count(func(t *tally) { t.assigned.Add(1) })
	}
}

// disown has the device be assigned once more when the hub would not have its identity.
func (d *device) disown(why error) {
	var refused *link.RefusedError
	if !d.assigned || !errors.As(why, &refused) || !refused.Identity() || d.reassigned >= mostReassigned {
		return
	}
	d.assigned = false
	d.reassigned++
	d.count(func(t *tally) { t.repeated.Add(1) })
}
