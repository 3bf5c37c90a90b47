package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/metrics"
)

// device is one simulated device. Its goroutine, run, owns all fields but those marked otherwise.
type device struct {
	fleet *Fleet
	group *group
	index int // in the whole fleet: what chance goes by
	place int // in Fleet.devices
	id    string

	stop context.CancelFunc // with ended: the Fleet's, of the last run
	over chan struct{}

	ctx    context.Context // ends when the device is to stop
	wake   chan struct{}   // something waits to be started
	cut    chan time.Time
	events chan event

	state        string
	connectivity string
	turns        turns
	lost         bool
	subscribed   bool
	attempt      int       // connections tried in vain since the last good one
	gap          time.Time // since when it could not do what was due; zero when it could

	pcg     rand.PCG // set to a stream's draws before each use, so that nothing depends on what came before
	rng     rand.Rand
	context payload.Context // of the last rendering
	topic   string          // of messages; "" before the first

	desiredVersion  int64 // of the desired properties that the device knows
	answeredVersion int64 // of those it has answered

	mu       sync.Mutex // protects the following fields, which the driver's goroutines use too
	pending  map[string]*operation
	waiting  queue // due, but not started
	lastRID  uint64
	acked    Report
	versions versions

	deliveries map[int64]*delivery // by turn; nil when there are none
	marked     int64               // turns whose messages were marked
}

// turns counts what a device did so far. Chance is drawn by these numbers, so that the hundredth
// message is the same whether or not a connection broke after the fiftieth.
type turns struct {
	reports, messages            int64
	sessions, renewals, attempts int64
	methods                      int64
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
	answers        int64  // $version of the desired properties that a report answers
	twinGet        bool
	told           told // of a twin request
}

func newDevice(f *Fleet, g *group, index int, id string) *device {
	d := &device{
		fleet: f, group: g, index: index, place: len(f.devices), id: id, state: StateWaiting,
		wake: make(chan struct{}, 1), cut: make(chan time.Time, 1), events: make(chan event, 4),
		pending: make(map[string]*operation),
	}
	d.rng = *rand.New(&d.pcg)
	d.context = payload.Context{Device: id, Index: index, Rand: &d.rng}
	return d
}

// start begins a run of the device, which waits for the end of the one before.
func (d *device) start(intended time.Time) {
	ctx, stop := context.WithCancel(d.fleet.ctx)
	before, over := d.over, make(chan struct{})
	d.stop, d.over = stop, over
	d.fleet.running.Go(func() {
		defer close(over)
		defer stop()
		if before != nil {
			<-before
		}
		d.ctx = ctx
		d.run(intended)
	})
}

// enter moves the device to another state.
func (d *device) enter(state string) {
	d.group.states[d.state].Add(-1)
	d.group.states[state].Add(1)
	d.state = state
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
	defer d.abandonDeliveries()
	d.attempt, d.gap = 0, time.Time{}
	for {
		why := d.session(intended)
		now := time.Now()
		switch {
		case errors.Is(why, errStopped):
			d.closeGap(now)
			return
		case errors.Is(why, errRenew):
			d.openGap(now)
			intended = now
			continue
		case errors.Is(why, errOffline):
			d.enter(StateOffline)
			_, offline := d.group.Session.Session(d.fleet.chance.session, d.index, d.turns.sessions)
			d.turns.sessions++
			intended = now.Add(offline)
		default:
			d.openGap(now)
			d.enter(StateBackoff)
			intended = now.Add(d.backoff(why))
		}
		if !d.pause(intended) {
			d.closeGap(time.Now())
			return
		}
	}
}

// backoff is how long to wait after a connection that ended unasked, or was not to be had.
func (d *device) backoff(why error) time.Duration {
	b := d.group.Backoff
	var refused *link.RefusedError
	if errors.As(why, &refused) && refused.Code == serverUnavailable && d.group.Throttled.Max > 0 {
		b = d.group.Throttled
	}
	delay := b.Delay(d.attempt, d.fleet.chance.backoff.Unit(d.index, d.turns.attempts))
	d.attempt++
	d.turns.attempts++
	return delay
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
	if !until.After(time.Now()) {
		return !d.halted()
	}
	timer := time.NewTimer(time.Until(d.firstDelivery(until)))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			now := time.Now()
			if !now.Before(until) {
				return true
			}
			d.sweepDeliveries(now)
			timer.Reset(time.Until(d.firstDelivery(until)))
		case <-d.ctx.Done():
			return false
		case <-d.cut: // it has no connection to cut
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
		d.fleet.returned(d)
		d.setLost(false)
		d.inRotation(true)
		why = d.follow(conn, lost)
		d.inRotation(false)
		d.setLost(!asked(why))
		d.dropWaiting(why)
	}
	if asked(why) {
		d.drain(conn, why)
		d.failPending() // before the driver does: it cannot tell an end that was asked for
		conn.Close()
	} else {
		conn.Abort()
		d.failPending()
	}
	if d.subscribed {
		d.subscribed = false
		d.fleet.subscribers.Add(-1)
	}
	return why
}

// inRotation offers the device to the rates that stages ask the fleet for, or takes it away.
func (d *device) inRotation(in bool) {
	if d.group.reports() {
		d.fleet.turns[LoadReports].set(d.place, in)
	}
	if d.group.Telemetry.Rated {
		d.fleet.turns[LoadTelemetry].set(d.place, in)
	}
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

// serverUnavailable is the return code with which a hub sheds load (MQTT 3.1.1 section 3.2.2.3).
const serverUnavailable = 3

// connectOutcome sorts a failed connection.
func connectOutcome(err error) metrics.Outcome {
	var refused *link.RefusedError
	switch {
	case err == nil:
		return metrics.OK
	case errors.As(err, &refused) && refused.Code == serverUnavailable:
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
	twins := d.fleet.cfg.Target.Twins()
	var filters []link.Filter
	switch {
	case twins:
		filters = []link.Filter{{Topic: iothub.FilterTwinResponses}, {Topic: iothub.FilterDesired}, {Topic: iothub.FilterMethods}}
	case d.group.Subscribe != nil:
		filters = d.group.Subscribe(d.index, d.id)
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(d.ctx, d.group.Timeout)
	defer cancel()
	sent := time.Now()
	d.group.subscribe.Start(sent, sent)
	err := conn.Subscribe(ctx, filters...)
	if err != nil && d.halted() {
		d.group.subscribe.Abandon()
		return errStopped
	}
	d.group.subscribe.ObserveBecause(sent, sent, time.Now(), connectOutcome(err), reasonOf(err))
	if err != nil {
		return err
	}
	if twins {
		d.getTwin(conn, time.Now())
	} else {
		d.subscribed = true
		d.fleet.subscribers.Add(1)
	}
	return nil
}
