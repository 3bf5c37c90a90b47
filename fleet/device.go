package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/schedule"
	"github.com/twinfleet/twinfleet/metrics"
)

// device is one simulated device. Its goroutine, run, owns all fields but those marked otherwise.
type device struct {
	fleet *Fleet
	group *group
	index int
	id    string

	chance   *rand.Rand      // decides what this device does
	timing   *rand.Rand      // decides when it comes back: it must not disturb what is sent
	ctx      context.Context // ends when the device is to stop; set by Scale before run
	stop     context.CancelFunc
	commands chan command
	cut      chan time.Time
	events   chan event
	online   atomic.Bool

	state        string
	connectivity string
	reports      int64
	messages     int64
	lost         bool
	attempt      int // connections tried in vain since the last good one

	desiredVersion  int64 // of the desired properties that the device knows
	answeredVersion int64 // of those it has answered

	mu      sync.Mutex // protects the following fields, which the driver's goroutines use too
	pending map[string]*operation
	lastRID uint64
	acked   Report
}

// command is an operation that a fleet-wide rate hands to a device.
type command struct {
	kind     Kind
	intended time.Time
}

// event is something that the target sent and that the device's own goroutine must act on.
type event struct {
	desired  []byte
	complete bool
	version  int64
	method   string
	rid      string
}

// operation is one that waits for its answer.
type operation struct {
	series         *metrics.Series
	intended, sent time.Time
	deadline       time.Time
	connectivity   string // of a report
	twinGet        bool
}

func newDevice(f *Fleet, g *group, index int, id string) *device {
	return &device{
		fleet: f, group: g, index: index, id: id, state: StateWaiting,
		commands: make(chan command, 4), cut: make(chan time.Time, 1), events: make(chan event, 4),
	}
}

func (d *device) series(k Kind) *metrics.Series {
	if k == LoadReports && d.group.report != nil {
		return d.group.report
	}
	return d.group.telemetry
}

// enter moves the device to another state.
func (d *device) enter(state string) {
	d.group.states[d.state].Add(-1)
	d.group.states[state].Add(1)
	d.state = state
	d.online.Store(state == StateConnected)
}

// setLost notes that the device lost its connection unasked, or that it is back or gone for good.
func (d *device) setLost(lost bool) {
	if d.lost == lost {
		return
	}
	d.lost = lost
	if lost {
		d.fleet.lost.Add(1)
		d.fleet.losses.Add(1)
	} else {
		d.fleet.lost.Add(-1)
	}
}

// run is the life of the device from its start, which was intended for a time, to its stop.
func (d *device) run(intended time.Time) {
	defer d.enter(StateWaiting)
	defer d.setLost(false)
	seed := d.fleet.cfg.Seed
	d.chance = schedule.Rand(seed, "device", d.index)
	d.timing = schedule.Rand(seed, "timing", d.index)
	if d.pending == nil {
		d.pending = make(map[string]*operation)
	}
	d.attempt = 0
	for {
		why := d.session(intended)
		switch {
		case errors.Is(why, errStopped):
			return
		case errors.Is(why, errRenew):
			intended = time.Now()
			continue
		case errors.Is(why, errOffline):
			d.enter(StateOffline)
			intended = time.Now().Add(d.group.Session.Offline.Draw(d.timing))
		default:
			d.enter(StateBackoff)
			intended = time.Now().Add(d.group.Backoff.Delay(d.attempt, d.timing.Float64()))
			d.attempt++
		}
		if !d.pause(intended) {
			return
		}
	}
}

// Why a session ended.
var (
	errStopped = errors.New("the device was stopped")
	errOffline = errors.New("the device went offline")
	errRenew   = errors.New("the device renews its token")
)

// asked reports whether a session ended because the device wanted it.
func asked(why error) bool {
	return errors.Is(why, errStopped) || errors.Is(why, errOffline) || errors.Is(why, errRenew)
}

// pause waits until a time; false means that the device was stopped meanwhile.
func (d *device) pause(until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-d.ctx.Done():
			return false
		case <-d.cut: // it has no connection to cut
		case c := <-d.commands:
			d.series(c.kind).Drop(metrics.DropNotConnected)
		}
	}
}

// session is one connection, from dialling to its end; it returns why it ended.
func (d *device) session(intended time.Time) error {
	d.enter(StateConnecting)
	lost := make(chan error, 1)
	conn, err := d.connect(intended, lost)
	if err != nil {
		if d.halted() {
			return errStopped
		}
		return err
	}
	why := d.setUp(conn)
	if why == nil {
		d.attempt = 0
		d.enter(StateConnected)
		d.setLost(false)
		why = d.follow(conn, lost)
		d.online.Store(false)
		d.setLost(!asked(why))
	}
	if asked(why) {
		d.drain(conn, why)
		conn.Close()
	} else {
		conn.Abort()
	}
	d.failPending()
	return why
}

// halted reports whether the device was told to stop.
func (d *device) halted() bool { return d.ctx.Err() != nil }

// connect dials and shakes hands. The observation runs from the intended time to CONNACK.
func (d *device) connect(intended time.Time, lost chan<- error) (link.Conn, error) {
	o := d.fleet.cfg.Target.Link(d.index, d.id)
	o.KeepAlive = d.group.KeepAlive
	o.Handler = d.received
	o.Lost = func(err error) { lost <- errors.Join(link.ErrLost, err) }
	sent := time.Now()
	d.group.connect.Start(intended, sent)
	conn, err := d.fleet.cfg.Driver.Connect(d.ctx, o)
	if err != nil && d.halted() {
		d.group.connect.Abandon()
		return nil, err
	}
	d.group.connect.ObserveBecause(intended, sent, time.Now(), connectOutcome(err), reasonOf(err))
	if err != nil {
		d.fleet.log.Debug("connecting failed", "device", d.id, "error", err)
	}
	return conn, err
}

// connectOutcome sorts a failed connection: return code 3 is how a hub sheds load.
func connectOutcome(err error) metrics.Outcome {
	var refused *link.RefusedError
	switch {
	case err == nil:
		return metrics.OK
	case errors.As(err, &refused) && refused.Code == 3:
		return metrics.Throttled
	case errors.As(err, &refused):
		return metrics.Refused
	case errors.Is(err, context.DeadlineExceeded):
		return metrics.Timeout
	default:
		return metrics.Failed
	}
}

// setUp subscribes and asks for the twin, as a device must after every connection: a change of desired
// properties that it missed is in the twin (iot-mqtt-connect-to-iot-hub).
func (d *device) setUp(conn link.Conn) error {
	if !d.fleet.cfg.Target.Twins() {
		return nil
	}
	ctx, cancel := context.WithTimeout(d.ctx, d.group.Timeout)
	defer cancel()
	sent := time.Now()
	d.group.subscribe.Start(sent, sent)
	err := conn.Subscribe(ctx, link.Filter{Topic: iothub.FilterTwinResponses}, link.Filter{Topic: iothub.FilterDesired}, link.Filter{Topic: iothub.FilterMethods})
	if err != nil && d.halted() {
		d.group.subscribe.Abandon()
		return errStopped
	}
	d.group.subscribe.ObserveBecause(sent, sent, time.Now(), connectOutcome(err), reasonOf(err))
	if err != nil {
		return err
	}
	d.getTwin(conn, time.Now())
	return nil
}
