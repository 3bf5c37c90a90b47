package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/internal/fleet/versions"
	"github.com/twinfleet/twinfleet/metrics"
)

// device is one simulated device. Its goroutine, run, owns all fields but those marked otherwise.
type device struct {
	fleet *Fleet
	group *group
	index int // in the whole fleet: what chance goes by
	place int // in Fleet.devices
	id    string
	who   protocol.Device // the same, for the protocol

	stop context.CancelFunc // with ended: the Fleet's, of the last run
	over chan struct{}

	ctx    context.Context // ends when the device is to stop
	wake   chan struct{}   // something waits to be started
	cut    chan time.Time
	events chan event

	state        string
	connectivity string
	turns        turns
	tasks        []task // of the group's activities
	lost         bool
	back         time.Time // when it was last connected
	subscribed   bool
	attempt      int       // connections tried in vain since the last good one
	gap          time.Time // since when it could not do what was due; zero when it could
	ends         time.Time // of its session, whatever connections it takes; zero between sessions
	free         time.Time // when the target let it connect again; what came before is the target's doing

	pcg     rand.PCG // set to a stream's draws before each use, so that nothing depends on what came before
	rng     rand.Rand
	context payload.Context // of the last rendering
	topic   string          // of messages; "" before the first

	desiredVersion  int64 // of the desired properties that the device knows
	answeredVersion int64 // of those it has answered

	mu       sync.Mutex // protects the following fields, which the driver's goroutines use too
	pending  map[string]*operation
	waiting  queue     // due, but not started
	room     time.Time // when an answer last made room for what waits
	leaving  bool      // it waits for its last answers
	ending   int       // operations and deliveries that a driver's goroutine has taken and not counted yet
	lastRID  uint64
	acked    Report
	versions versions.Account
	same     int64 // acknowledged versions after the last that spoke of connectivity, which did not

	deliveries map[int64]*delivery // by turn; nil when there are none
	marked     int64               // turns whose messages were marked
}

// turns counts what a device did so far beside its tasks. Chance is drawn by these numbers.
type turns struct {
	sessions, renewals, attempts int64
	methods                      int64
}

// event is something that the target sent and that the device's own goroutine must act on.
type event struct {
	desired  []byte
	complete bool
	version  int64 // of desired; 0 when desired itself says it
	method   string
	rid      string
}

// operation is one that waits for its answer.
type operation struct {
	metrics.Started
	deadline     time.Time
	connectivity string // of a report that speaks of it
	writes       bool   // reported properties
	answers      int64  // $version of the desired properties that a report answers
	twinGet      bool
	told         versions.Told // of a twin request
}

func newDevice(f *Fleet, g *group, index int, id string) *device {
	d := &device{
		fleet: f, group: g, index: index, place: len(f.devices), id: id, who: protocol.Device{Index: index, ID: id}, state: StateWaiting,
		wake: make(chan struct{}, 1), cut: make(chan time.Time, 1), events: make(chan event, 4),
		pending: make(map[string]*operation),
	}
	d.tasks = make([]task, len(g.activities))
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
		free := intended
		if before != nil {
			<-before // until then the device is the other run's
			free = time.Now()
		}
		d.ctx, d.free = ctx, free
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
	defer func() {
		if d.lost && !d.fleet.finished() {
			d.fleet.left.Add(1)
		}
		d.setLost(false)
	}()
	defer d.awaitDeliveries()
	d.attempt, d.gap, d.ends = 0, time.Time{}, time.Time{}
	for {
		d.openGap(intended) // until it is connected: a connection that hangs keeps it from what is due
		why := d.session(intended)
		now := time.Now()
		switch {
		case errors.Is(why, errStopped):
			d.closeGap(now)
			return
		case errors.Is(why, errRenew):
			intended, d.free = now, now
			continue
		case errors.Is(why, errOffline):
			d.enter(StateOffline)
			_, offline := d.fleet.calendar.Session(d.group.Session, d.index, d.turns.sessions)
			d.turns.sessions++
			// Its absence began when the session was to end, not when the last answer was there. If it had no connection then,
			// what was due until it was back has been counted.
			if intended = d.ends.Add(offline); intended.Before(d.back) {
				intended = d.back
			}
			d.free = now
			d.ends = time.Time{}
		default:
			d.openGap(now)
			d.enter(StateBackoff)
			intended = now.Add(d.backoff(why))
			d.free = intended
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
	delay := b.Delay(d.attempt, d.fleet.streams.backoff.Unit(d.index, d.turns.attempts))
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

// pause waits until a time; false means that the device was stopped meanwhile, or that it has nothing to come back for.
func (d *device) pause(until time.Time) bool {
	if !until.After(time.Now()) {
		return !d.halted() && !d.fleet.finished()
	}
	timer := time.NewTimer(time.Until(d.nextInPause(until)))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			now := time.Now()
			if !now.Before(until) {
				return true
			}
			d.sweepDeliveries(now)
			d.countGap(now)
			timer.Reset(time.Until(d.nextInPause(until)))
		case <-d.ctx.Done():
			return false
		case <-d.fleet.over:
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
	var why error
	if d.halted() {
		why = errStopped
	} else {
		why = d.setUp(conn)
	}
	if why == nil {
		d.attempt = 0
		d.enter(StateConnected)
		d.back = time.Now()
		d.fleet.returned(d)
		d.setLost(false)
		d.inRotation(true)
		why = d.follow(conn, lost)
		d.inRotation(false)
		d.setLost(!asked(why))
		if !d.worksOff(why) {
			d.dropWaiting(why)
		}
	}
	if asked(why) && d.drain(conn, lost, why) {
		d.giveUpWaiting()
		d.endPending(metrics.Unanswered) // before the driver does: it cannot tell an end that was asked for
		conn.Close()
	} else {
		conn.Abort()
		d.dropWaiting(link.ErrLost)
		d.endPending(metrics.Failed)
	}
	if d.subscribed {
		d.subscribed = false
		d.fleet.subscribers.Add(-1)
	}
	return why
}

// inRotation offers the device to the rates that stages ask the fleet for, or takes it away.
func (d *device) inRotation(in bool) {
	for _, a := range d.group.activities {
		if a.Rated {
			d.fleet.turns[a.Operation].Set(d.place, in)
		}
	}
}

// halted reports whether the device was told to stop.
func (d *device) halted() bool { return d.ctx.Err() != nil }

// connect dials and shakes hands, within the group's time-out. The observation runs from the intended time to CONNACK.
// A device that is stopped meanwhile still waits for the answer: one that is cut off tells nothing of the target.
func (d *device) connect(intended time.Time, lost chan<- error) (link.Conn, error) {
	o := d.fleet.cfg.Target.Link(d.index, d.id)
	o.KeepAlive = d.group.KeepAlive
	o.Handler = d.received
	o.Lost = func(err error) { lost <- errors.Join(link.ErrLost, err) }
	op := d.group.connect.StartAfter(intended, d.free, time.Now())
	ctx, cancel := context.WithTimeout(d.fleet.ctx, d.group.Timeout)
	defer cancel()
	conn, err := d.fleet.cfg.Driver.Connect(ctx, o)
	d.endConnecting(op, err)
	if err != nil {
		d.fleet.log.Debug("connecting failed", "device", d.id, "error", err)
	}
	return conn, err
}

// endConnecting ends an operation that belongs to connecting.
func (d *device) endConnecting(op metrics.Started, err error) {
	if err != nil && d.fleet.ctx.Err() != nil {
		op.Unanswered(time.Now(), stoppedFirst)
		return
	}
	op.EndBecause(time.Now(), connectOutcome(err), reasonOf(err))
}

// serverUnavailable is the return code with which a hub sheds load (MQTT 3.1.1 section 3.2.2.3).
const serverUnavailable = 3

// connectOutcome sorts a failed connection.
func connectOutcome(err error) metrics.Outcome {
	var refused *link.RefusedError
	var subscription *link.SubscriptionError
	var network net.Error
	switch {
	case err == nil:
		return metrics.OK
	case errors.As(err, &refused) && refused.Code == serverUnavailable:
		return metrics.Throttled
	case errors.As(err, &refused), errors.As(err, &subscription):
		return metrics.Refused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return metrics.Timeout
	default:
		return metrics.Failed
	}
}

// setUp subscribes and asks for the twin, as a device must after every connection: a change of desired
// properties that it missed is in the twin (iot-mqtt-connect-to-iot-hub).
func (d *device) setUp(conn link.Conn) error {
	p := d.fleet.protocol
	twins := p.Twins()
	if !twins && !d.group.Listens {
		return nil
	}
	filters := p.Filters(d.who)
	ctx, cancel := context.WithTimeout(d.fleet.ctx, d.group.Timeout)
	defer cancel()
	sent := time.Now()
	op := d.group.subscribe.Start(sent, sent)
	err := conn.Subscribe(ctx, filters...)
	d.endConnecting(op, err)
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
