package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/internal/fleet/rotation"
	"github.com/twinfleet/twinfleet/internal/timers"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
	"github.com/twinfleet/twinfleet/schedule/roster"
)

// Fleet is running devices. Scale, ScaleGroups, Arrive, Storm, Active, Ran and Stop are for one goroutine at a time; the others may be used from
// any.
type Fleet struct {
	cfg     Config
	log     *slog.Logger
	start   time.Time // of all schedules
	groups  []*group
	devices []*device
	order   []int // the n-th device to start
	places  []int // when each device starts: the inverse of order

	ctx      context.Context // ends when devices must go at once
	cancel   context.CancelFunc
	killed   atomic.Bool    // as ctx, without its lock
	running  sync.WaitGroup // devices, and their goroutines
	alarms   timers.Set
	pools    pools
	active   *roster.Roster // which devices are started and not scaled away
	streams  streams
	protocol protocol.Protocol // of groups without one of their own

	calendar schedule.Calendar
	turns    map[metrics.Operation]*rotation.Rotation // who is to do what a rate asks for; connected devices only
	paused   atomic.Bool
	over     chan struct{} // closed when nothing is due any more
	end      time.Time     // when that was; read it after over is closed
	lost     atomic.Int64
	losses   atomic.Int64
	returns  atomic.Int64
	left     atomic.Int64
	started  atomic.Int64 // devices of active, for those who watch
	ran      int          // devices that have been started

	subscribers atomic.Int64    // connected devices that have subscribed, and the subscriber that is no device
	listeners   atomic.Int64    // devices that may be subscribers, and that subscriber
	outside     atomic.Bool     // that there is one that is no device
	undelivered atomic.Int64    // messages that subscribers have yet to get
	run         []byte          // of marks, with a hyphen; empty without one
	publishers  map[int]*device // those whose deliveries are measured, by index
	longest     time.Duration   // time-out of a group
}

// streams are the streams of what devices do.
type streams struct {
	connectivity, properties, payload chance.Stream // by reports, and messages
	backoff, methods                  chance.Stream // by the like
	provisioning                      chance.Stream // by registrations, and draws of each
}

func newStreams(seed uint64) streams {
	return streams{
		connectivity: chance.NewStream(seed, "connectivity"),
		properties:   chance.NewStream(seed, "properties"),
		payload:      chance.NewStream(seed, "payload"),
		backoff:      chance.NewStream(seed, "backoff"),
		methods:      chance.NewStream(seed, "methods"),
		provisioning: chance.NewStream(seed, "provisioning"),
	}
}

// group is a Group with its resolved series and gauges.
type group struct {
	Group
	states                                         map[string]*atomic.Int64
	connect, subscribe, twinGet, report, telemetry *metrics.Series
	driver                                         link.Driver
	blocking                                       bool // its Publish may wait
	protocol                                       protocol.Protocol
	delivery                                       *metrics.Series
	duplicates, late                               atomic.Uint64   // copies of messages
	missing                                        atomic.Int64    // likewise
	dpsRegister, dpsConnect, dpsPut, dpsGet        *metrics.Series // nil unless devices have a hub assigned
	provisioned                                    struct{ started, assigned, connected, repeated atomic.Int64 }
	activities                                     []*activity
}

// New makes a fleet whose devices all wait. It is an error when Target, Driver or Recorder is missing, or an Activity cannot be done.
func New(cfg Config) (*Fleet, error) {
	if cfg.Target == nil || cfg.Driver == nil || cfg.Recorder == nil {
		return nil, errors.New("a fleet needs a target, a driver and a recorder")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{
		cfg: cfg, log: cfg.Logger, start: time.Now(), streams: newStreams(cfg.Seed), calendar: schedule.NewCalendar(cfg.Seed),
		over: make(chan struct{}), publishers: make(map[int]*device), turns: make(map[metrics.Operation]*rotation.Rotation), protocol: cfg.Target.Protocol(),
	}
	if cfg.Run != "" {
		f.run = []byte(cfg.Run + "-")
	}
	f.pools.init()
	f.ctx, f.cancel = context.WithCancel(context.Background())
	for _, g := range cfg.Groups {
		for i := range g.Activities {
			if err := g.Activities[i].validate(); err != nil {
				return nil, fmt.Errorf("group %s: %w", g.Name, err)
			}
		}
		if err := f.addGroup(g.withDefaults()); err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Name, err)
		}
	}
	for op := range f.turns {
		f.turns[op] = rotation.New(len(f.devices))
	}
	ranks := make([]int, len(f.devices))
	for i, d := range f.devices {
		ranks[i] = d.group.rank()
	}
	f.order = f.calendar.Order(ranks)
	f.places = make([]int, len(f.order))
	for place, i := range f.order {
		f.places[i] = place
	}
	var groups []int
	for i, g := range f.groups {
		groups = append(groups, slices.Repeat([]int{i}, len(g.IDs))...)
	}
	f.active = roster.New(f.order, groups)
	if len(f.publishers) > 0 {
		cfg.Recorder.Register(f.figures)
	}
	return f, nil
}

// rank orders groups by who starts first: those who listen before those who talk.
func (g *group) rank() int {
	if g.Listens {
		return 0
	}
	return 1
}

// errSharing is returned for a group whose driver cannot have several devices on one connection.
var errSharing = errors.New("its driver cannot have several devices on one connection")

func (f *Fleet) addGroup(g Group) error {
	rec := f.cfg.Recorder
	in := &group{
		Group: g, states: make(map[string]*atomic.Int64),
		connect: rec.Series(metrics.OpConnect, g.Name), subscribe: rec.Series(metrics.OpSubscribe, g.Name), telemetry: rec.Series(metrics.OpTelemetry, g.Name),
	}
	if in.driver = g.Driver; in.driver == nil {
		in.driver = f.cfg.Driver
	}
	if in.protocol = g.Protocol; in.protocol == nil {
		in.protocol = f.protocol
	}
	if d, ok := in.driver.(link.Blocking); ok {
		in.blocking = d.Blocking()
	}
	if d, ok := in.driver.(link.Sharing); g.Shared > 1 && !(ok && d.Sharing()) {
		return errSharing
	}
	if in.protocol.Twins() {
		in.twinGet, in.report = rec.Series(metrics.OpTwinGet, g.Name), rec.Series(metrics.OpTwinReport, g.Name)
	}
	for _, s := range []string{StateWaiting, StateConnecting, StateConnected, StateBackoff, StateOffline} {
		in.states[s] = rec.DeviceGauge(g.Name, s)
	}
	if g.Provision != nil {
		in.dpsRegister, in.dpsConnect = rec.Series(metrics.OpDPSRegister, g.Name), rec.Series(metrics.OpDPSConnect, g.Name)
		in.dpsPut, in.dpsGet = rec.Series(metrics.OpDPSPut, g.Name), rec.Series(metrics.OpDPSGet, g.Name)
	}
	f.groups = append(f.groups, in)
	f.longest = max(f.longest, g.Timeout)
	if g.Telemetry.Deliveries > 0 {
		in.delivery = rec.Series(metrics.OpDelivery, g.Name)
	}
	if g.Listens {
		f.listeners.Add(int64(len(g.IDs)))
	}
	f.addActivities(in)
	for i, id := range g.IDs {
		d := newDevice(f, in, g.First+i, id)
		f.devices = append(f.devices, d)
		if in.delivery != nil {
			f.publishers[d.index] = d
		}
	}
	in.states[StateWaiting].Add(int64(len(g.IDs)))
	return nil
}

// Len is how many devices there are, running or not.
func (f *Fleet) Len() int { return len(f.devices) }

// Active is how many devices are started and not scaled away. It may be called at any time.
func (f *Fleet) Active() int { return int(f.started.Load()) }

// Counts is how many devices are in each state.
func (f *Fleet) Counts() map[string]int {
	counts := make(map[string]int)
	for _, g := range f.groups {
		for state, n := range g.states {
			counts[state] += int(n.Load())
		}
	}
	return counts
}

// Lost is how many devices have lost their connections unasked and are not back yet.
func (f *Fleet) Lost() int { return int(f.lost.Load()) }

// Losses is how many connections were lost unasked so far.
func (f *Fleet) Losses() int { return int(f.losses.Load()) }

// Returns is how many devices that had lost their connections were back so far.
func (f *Fleet) Returns() int { return int(f.returns.Load()) }

// Left is how many devices so far were stopped while their connections were lost: they had no chance to come back.
func (f *Fleet) Left() int { return int(f.left.Load()) }

// Ran is how many devices have been started, whether or not they were stopped since. It is for the goroutine that scales.
func (f *Fleet) Ran() int { return f.ran }

// returned counts a device that is connected once more after it lost its connection.
func (f *Fleet) returned(d *device) {
	if d.lost {
		f.returns.Add(1)
	}
}

// Pause stops what devices do on their own schedules, or lets it go on. Devices stay connected and
// answer what they are asked; what becomes due meanwhile is dropped and counted.
func (f *Fleet) Pause(paused bool) { f.paused.Store(paused) }

// Reported is what a device last sent and had acknowledged; ok is false when nothing was, or when the protocol tells no $version.
func (f *Fleet) Reported(index int) (r Report, ok bool) {
	d := f.devices[index]
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acked, d.acked.Version > 0
}

// Scale makes the number of active devices follow a curve from now on, as schedule.Curve.Steps says, and
// returns when the curve is over, or with the cause of ctx.
func (f *Fleet) Scale(ctx context.Context, curve schedule.Curve) error {
	return f.follow(ctx, roster.Toward(f.Active(), curve.Steps(f.Active())), curve.Total())
}

// Arrive brings the number of active devices to a goal, up or down, one after the other at a rate that
// follows a curve, in devices per second, as schedule.Curve.Arrivals says. It returns when the rate has had
// the time for all of them, which is a little after the last, or with the cause of ctx.
func (f *Fleet) Arrive(ctx context.Context, goal int, rate schedule.Curve) error {
	over, ok := rate.TimeOf(math.Abs(float64(goal - f.Active())))
	if !ok {
		over = rate.Total()
	}
	return f.follow(ctx, roster.Toward(f.Active(), rate.Arrivals(f.Active(), goal)), over)
}

// ScaleGroups makes the number of active devices of each group go to a goal of its own over a time, linearly; goals below 0
// leave a group as it is. It returns when the time is over, or with the cause of ctx.
func (f *Fleet) ScaleGroups(ctx context.Context, goals []int, over time.Duration) error {
	return f.follow(ctx, slices.Values(f.active.Moves(goals, over)), over)
}

// follow starts and stops devices at their times, and lasts so long.
func (f *Fleet) follow(ctx context.Context, moves iter.Seq[roster.Move], over time.Duration) error {
	begin := time.Now()
	s := newSleeper()
	defer s.stop()
	for m := range moves {
		intended := begin.Add(m.At)
		if err := s.until(ctx, intended); err != nil {
			return err
		}
		f.move(m.Group, m.Up, intended)
	}
	return s.until(ctx, begin.Add(over))
}

// move starts the next device, of a group or of all, or stops the last.
func (f *Fleet) move(group int, up bool, intended time.Time) {
	place, ok := f.active.Move(group, up)
	if !ok {
		return
	}
	f.started.Store(int64(f.active.Active()))
	d := f.devices[f.order[place]]
	if up {
		if !d.ran {
			d.ran = true
			f.ran++
			d.group.provisioned.started.Add(1)
		}
		d.start(intended)
		return
	}
	d.stop()
}

// Finish ends what devices do on their own: from now on nothing is due. Devices that are connected stay so and answer what
// they are asked; those that are not do not come back. It may be called more than once.
func (f *Fleet) Finish() {
	if !f.finished() {
		f.end = time.Now()
		close(f.over)
		f.tell()
	}
}

// finished reports whether nothing is due any more.
func (f *Fleet) finished() bool {
	select {
	case <-f.over:
		return true
	default:
		return false
	}
}

// Stop lets all devices disconnect and waits for them. Each waits for the answers to what it sent, until they are there or
// their time is up; when ctx ends they go at once, and what has no answer is counted as unanswered.
func (f *Fleet) Stop(ctx context.Context) {
	f.Finish()
	for f.Active() > 0 {
		f.move(roster.Everyone, false, f.end)
	}
	stop := context.AfterFunc(ctx, func() {
		f.killed.Store(true)
		f.cancel()
		f.tell()
	})
	defer stop()
	f.running.Wait()
	f.cancel()
}

// tell says to all devices that something has happened.
func (f *Fleet) tell() {
	for _, d := range f.devices {
		d.tell()
	}
}

// Storm cuts the connections of a share, from 0 to 1, of the active devices of some groups, or of all when none is
// named, each at a random time within a span, without a word to the target. They come back as their back-off says. It
// returns at once with the number of devices that it will cut. Devices that share a connection lose it together: the share is then of
// the connections that an active device has.
func (f *Fleet) Storm(share float64, within time.Duration, round int, groups ...string) int {
	cut, now := 0, time.Now()
	hits := func(place int) bool {
		d := f.devices[f.order[place]]
		if len(groups) > 0 && !slices.Contains(groups, d.group.Name) {
			return false
		}
		all := d.sharers()
		return all[0] == d && slices.ContainsFunc(all, f.isActive)
	}
	for _, x := range f.calendar.Storm(round, len(f.order), hits, share, within) {
		for _, d := range f.devices[f.order[x.Place]].sharers() {
			if f.isActive(d) && d.cutAt(now.Add(x.After)) {
				cut++
			}
		}
	}
	return cut
}

// isActive reports whether a device is started and not scaled away.
func (f *Fleet) isActive(d *device) bool { return f.active.IsActive(f.places[d.place]) }

// connection is the number of the connection that a device shares with others; 0 for one of its own.
func (d *device) connection() int {
	if d.group.Shared == 1 {
		return 0
	}
	return d.sharers()[0].index + 1
}

// sharers are the devices on a device's connection, in their order, itself among them.
func (d *device) sharers() []*device {
	i := d.index - d.group.First
	first, last := schedule.Sharers(i, d.group.Shared, len(d.group.IDs))
	return d.fleet.devices[d.place-i+first : d.place-i+last]
}

// cutAt has a storm cut the connection at a time; false when one cut is on its way to it already.
func (d *device) cutAt(at time.Time) bool {
	d.mu.Lock()
	fits := d.cut.IsZero()
	if fits {
		d.cut = at
	}
	d.mu.Unlock()
	d.tell()
	return fits
}
