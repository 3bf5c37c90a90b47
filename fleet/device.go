package fleet

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/internal/fleet/versions"
	"github.com/twinfleet/twinfleet/internal/timers"
	"github.com/twinfleet/twinfleet/metrics"
)

// device is one simulated device. It has a goroutine only while it is assigned to a hub and connects, which does nothing but that; what the
// device does is done by whoever tells it that something has happened, one at a time: see tell.
type device struct {
	fleet *Fleet
	group *group
	index int // in the whole fleet: what chance goes by
	place int // in Fleet.devices
	id    string
	who   protocol.Device // the same, for the protocol

	// The following fields belong to who acts.
	phase        phase
	conn         link.Conn // of the session; nil before it is there
	why          error     // why the session is over
	until        time.Time // of the phase: when a pause is over, when a SUBSCRIBE has no answer
	subscribing  metrics.Started
	plans        agenda
	deaf         time.Time // of a drain: until when it listens to what others send
	patient      time.Time // and until when what waits is started
	fetching     time.Time // until when it may come back for what is kept for it, as it is to stop; zero before that
	state        string
	connectivity string
	turns        turns
	tasks        []task // of the group's activities
	lost         bool
	back         time.Time // when it was last connected
	dialled      time.Time // when that connection was begun
	subscribed   bool
	attempt      int       // connections tried in vain since the last good one
	gap          time.Time // since when it could not do what was due; zero when it could
	ends         time.Time // of its session, whatever connections it takes; zero between sessions
	free         time.Time // when the target let it connect again; what came before is the target's doing

	topic string // of messages; "" before the first

	keeps          *link.Session          // between connections; nil unless it is kept
	kept           bool                   // the target has it
	inherited      bool                   // the target had one that this fleet knew nothing of
	unsure         bool                   // a connection failed of which the target may have made one
	bade           bool                   // this connection ends with it, if the target hears of that
	everSubscribed bool                   // and its subscriptions
	five           bool                   // it speaks MQTT 5
	server         atomic.Pointer[string] // another that the target named, as a reference; nil for the target itself
	moved          atomic.Pointer[string] // the last such that it was connected to, host:port; nil for none
	ear            *ear                   // nil unless it listens to others
	line           *line                  // of one whose session is kept; nil for others
	said           atomic.Int64           // what was sent last: see said; 0 for what the target has acknowledged

	assigned     bool      // it knows its hub; for ever when its group provisions nothing
	hubDue       time.Time // when it was due to be assigned to a hub; zero once it is
	everAssigned bool
	everTried    bool               // to connect
	everArrived  bool               // it was connected
	reassigned   int                // in a row, because the hub refused its identity
	giveUp       context.CancelFunc // of the registration under way; nil for none

	desiredVersion  int64 // of the desired properties that the device knows
	answeredVersion int64 // of those it has answered

	talks   bool      // it may send more of what is measured
	adopted *Adoption // with which it was taken over; nil when it was not. It is not changed
	missing bool      // it was, and has been neither connected nor stopped since; of who acts

	ran   bool        // it has been started; of who scales the fleet
	halt  atomic.Bool // it is to stop
	alarm timers.Timer
	armed time.Time // what alarm waits for; zero for nothing

	mu      sync.Mutex // protects the following fields, which anyone may use
	acting  bool       // somebody acts
	told    bool       // of something that who acts has not seen
	live    bool       // it runs
	runs    []run      // that are to follow this one
	opened  opened     // what has become of the session
	cut     time.Time  // when a storm cuts the next connection, or this one; zero for never
	events  []event
	pending []*operation // in the order of their deadlines
	waiting queue        // due, but not started
	room    time.Time    // when an answer last made room for what waits
	leaving bool         // it waits for its last answers
	soon    bool         // a token was not renewed: that is to be tried once more
	ending  int          // operations and deliveries that a driver's goroutine has taken and not counted yet
	lastRID uint64
	acked   Report
	// versions is what is known of the twin.
	versions versions.Account
	same     int64 // acknowledged versions after the last that spoke of connectivity, which did not

	accounts []*account // of messages whose deliveries are measured, by kind; nil when there are none
}

// run is a run of a device that is to begin when the one before is over.
type run struct {
	intended time.Time
	waits    bool // for the run before it
	halt     bool // it is to end at once
}

// opened is what has become of a session, as its goroutine and the driver's tell.
type opened struct {
	conn     link.Conn
	assigned bool  // it knows its hub
	failed   error // of being assigned, or of connecting
	settled  bool  // SUBSCRIBE has its answer
	answer   error // which is this
	over     bool  // nothing of the connection is left
	lost     error // why, unless this side ended it
}

// phase is what a device does.
type phase uint8

const (
	idle        phase = iota // it was not started, or has stopped
	connecting               // its goroutine dials and shakes hands
	subscribing              // SUBSCRIBE waits for its answer
	following                // it does what is due
	draining                 // it waits for its last answers
	closing                  // nothing is left but its goroutine
	pausing                  // it waits to connect
	delivering               // it is to stop, and its messages are on their way
)

// turns counts what a device did so far beside its tasks. Chance is drawn by these numbers.
type turns struct {
	sessions, renewals, attempts int64
	methods                      int64
	registrations                int64
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
	rid          uint64
	deadline     time.Time
	connectivity string // of a report that speaks of it
	writes       bool   // reported properties
	answers      int64  // $version of the desired properties that a report answers
	twinGet      bool
	asks         bool          // a request to another device
	stays        bool          // under way when the connection is lost: the next one goes on with it
	renews       bool          // a token in band
	told         versions.Told // of a twin request
}

// maxEvents is how many things that the target sent wait for the device to act on them.
const maxEvents = 4

func newDevice(f *Fleet, g *group, place int, id string) *device {
	index := g.First + place - g.at
	d := &device{
		fleet: f, group: g, index: index, place: place, id: id, who: protocol.Device{Index: index, ID: id}, state: StateWaiting,
	}
	d.tasks = make([]task, len(g.activities))
	if g.Listens && !g.protocol.Twins() {
		d.ear = &ear{mind: f.mind()}
		f.ears.Store(index, d.ear)
		if g.Kept {
			d.line = f.newLine(g, index, id)
			f.lines.Store(index, d.line)
		}
	}
	f.alarms.Init(&d.alarm, d.tell)
	return d
}

// start begins a run of the device, which waits for the end of the one before.
func (d *device) start(intended time.Time) {
	d.mu.Lock()
	d.runs = append(d.runs, run{intended: intended, waits: d.live})
	if !d.live {
		d.live = true
		d.fleet.running.Add(1)
	}
	d.mu.Unlock()
	d.tell()
}

// stop ends the run of the device that was started last.
func (d *device) stop() {
	d.mu.Lock()
	if n := len(d.runs); n > 0 {
		d.runs[n-1].halt = true
	} else {
		d.halt.Store(true)
	}
	d.mu.Unlock()
	d.tell()
}

// tell says that something has happened. Who is first acts on it, and on what others tell of meanwhile; a driver that may block
// gets a goroutine for it.
func (d *device) tell() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = true
	if d.acting || !d.live {
		return
	}
	d.acting = true
	if d.group.blocking {
		d.fleet.running.Go(func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.act()
		})
		return
	}
	d.act()
}

// act is the device until nothing has happened that it has not seen. The caller holds the lock, which it gives away meanwhile.
func (d *device) act() {
	for d.told {
		d.told = false
		for more := true; more; {
			session := d.opened
			d.mu.Unlock()
			if more = d.step(&session); !more {
				d.arm()
			}
			d.mu.Lock()
		}
	}
	d.acting = false
}

// step does what the phase of the device has for it to do now; it is true when there is another phase.
func (d *device) step(session *opened) bool {
	before, now := d.phase, time.Now()
	switch d.phase {
	case connecting:
		d.connected(session, now)
	case subscribing:
		d.subscribes(session, now)
	case following:
		d.follow(session, now)
	case draining:
		d.drain(session, now)
	case closing:
		if session.over {
			d.over(session.lost, now)
		}
	case pausing:
		d.pause(now)
	case delivering:
		d.deliver(now)
	case idle:
		d.begin(now)
	}
	return d.phase != before
}

// arm sets the alarm to when the phase has something to do.
func (d *device) arm() {
	var at time.Time
	switch d.phase {
	case subscribing:
		at = d.until
	case following:
		at = d.first(&d.plans)
	case draining:
		at = d.plans.timeout
	case pausing:
		at = d.nextInPause(d.until)
		if tick := time.Now().Add(fetchingTick); !d.fetching.IsZero() && tick.Before(at) {
			at = tick
		}
		if forgets := d.forgets(); !forgets.IsZero() && forgets.Before(at) {
			at = forgets
		}
	case connecting:
		at = d.forgets()
	case delivering:
		at = d.firstDelivery(time.Now().Add(never))
	case idle, closing:
	}
	switch {
	case at.Equal(d.armed):
	case at.IsZero():
		d.alarm.Stop()
	default:
		d.alarm.Reset(at)
	}
	d.armed = at
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

// backoff is how long to wait after a connection that ended unasked, or was not to be had.
func (d *device) backoff(why error) time.Duration {
	b := d.group.Backoff
	var refused *link.RefusedError
	if errors.As(why, &refused) && refused.Throttled() && d.group.Throttled.Max > 0 {
		b = d.group.Throttled
	}
	if errors.As(why, new(unassignedError)) {
		b = retryRegistration()
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

// inRotation offers the device to the rates that stages ask the fleet for, or takes it away.
func (d *device) inRotation(in bool) {
	for _, a := range d.group.activities {
		if a.Rated {
			d.fleet.turns[a.Operation].Set(d.place, in)
		}
	}
}

// halted reports whether the device was told to stop.
func (d *device) halted() bool { return d.halt.Load() || d.fleet.killed.Load() }

// connect dials and shakes hands, within the group's time-out. The observation runs from the intended time to CONNACK.
// A device that is stopped meanwhile still waits for the answer: one that is cut off tells nothing of the target.
func (d *device) connect(intended time.Time) (link.Conn, error) {
	o := d.fleet.cfg.Target.Link(d.index, d.id)
	o.Handler = d.received
	d.five = o.Version == link.V5
	d.ask(&o)
	if d.mayInherit() {
		return d.begin311(o, intended)
	}
	return d.dial(d.fleet.ctx, d.driver(), o, d.group.connect, intended)
}

// dial makes a connection, to the hub or to the provisioning service, and measures it.
func (d *device) dial(ctx context.Context, by link.Driver, o link.Options, series *metrics.Series, intended time.Time) (link.Conn, error) {
	o.KeepAlive, o.Timeout = d.group.KeepAlive, d.group.Timeout
	op := series.StartAfter(intended, d.free, time.Now())
	ctx, cancel := context.WithTimeout(ctx, d.group.Timeout)
	defer cancel()
	conn, err := by.Connect(ctx, o)
	if err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		op.Unanswered(time.Now(), stoppedFirst)
	} else {
		d.endConnecting(op, err)
	}
	if err != nil {
		d.fleet.log.Debug("connecting failed", "device", d.id, "error", err)
	}
	return conn, err
}

// endConnecting ends an operation that belongs to connecting.
func (d *device) endConnecting(op metrics.Started, err error) {
	if err != nil && d.fleet.killed.Load() {
		op.Unanswered(time.Now(), stoppedFirst)
		return
	}
	op.EndBecause(time.Now(), connectOutcome(err), d.reasonOf(err))
}

// connectOutcome sorts a failed connection.
func connectOutcome(err error) metrics.Outcome {
	var refused *link.RefusedError
	var subscription *link.SubscriptionError
	var network net.Error
	switch {
	case err == nil:
		return metrics.OK
	case errors.As(err, &refused):
		return refusal(refused)
	case errors.As(err, &subscription):
		return metrics.Refused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return metrics.Timeout
	default:
		return metrics.Failed
	}
}

// refusal sorts what the target would not do.
func refusal(err *link.RefusedError) metrics.Outcome {
	switch {
	case err.Throttled():
		return metrics.Throttled
	case err.Failure():
		return metrics.Failed
	default:
		return metrics.Refused
	}
}

// setUp subscribes and asks for the twin, as a device must after every connection: a change of desired
// properties that it missed is in the twin (iot-mqtt-connect-to-iot-hub).
func (d *device) setUp(now time.Time) {
	twins, resumed := d.group.protocol.Twins(), d.resumes()
	filters := d.fleet.filtersOf(d.group, d.index, d.id)
	id := uint32(0)
	if len(filters) > 0 {
		id = filters[0].ID
	}
	filters = append(filters, d.replyTopics(id)...)
	if !twins && (resumed || len(filters) == 0) {
		if resumed {
			d.hears()
		}
		d.begun(now)
		return
	}
	d.subscribing = d.group.subscribe.Start(now, now)
	d.phase, d.until = subscribing, now.Add(d.group.Timeout)
	d.conn.Subscribe(func(err error) {
		d.mu.Lock()
		d.opened.settled, d.opened.answer = true, err
		d.mu.Unlock()
		d.tell()
	}, filters...)
}

// subscribes waits for the answer to SUBSCRIBE, also when the device is to stop.
func (d *device) subscribes(session *opened, now time.Time) {
	answer := session.answer
	switch {
	case session.settled:
	case session.over:
		answer = errors.Join(link.ErrLost, session.lost)
	case d.fleet.killed.Load():
		answer = context.Canceled
	case !now.Before(d.until):
		answer = context.DeadlineExceeded
	default:
		return
	}
	var lowered *link.LoweredError
	switch {
	case errors.As(answer, &lowered):
		d.lowered(lowered)
		answer = nil
	case answer == nil && d.line != nil:
		d.line.grants(d.line.asked)
	}
	d.endConnecting(d.subscribing, answer)
	switch {
	case answer != nil:
		d.noteTried(answer)
		d.abandon(answer)
		return
	case d.group.protocol.Twins():
		d.getTwin(d.conn, now)
	default:
		d.hears()
	}
	d.begun(now)
}
