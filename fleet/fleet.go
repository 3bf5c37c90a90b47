package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/internal/audience"
	"github.com/twinfleet/twinfleet/internal/fleet/loss"
	"github.com/twinfleet/twinfleet/internal/fleet/rotation"
	"github.com/twinfleet/twinfleet/internal/fleet/takeover"
	"github.com/twinfleet/twinfleet/internal/timers"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
	"github.com/twinfleet/twinfleet/schedule/roster"
)

// Fleet is running devices: all of a Config, or those of them that are its own (Config.Mine). Scale, ScaleGroups, Arrive, the plans of movements
// and their Run, Storm and Ran are for one goroutine at a time, and Stop for one, which may be another; the others may be used from any.
type Fleet struct {
	cfg     Config
	log     *slog.Logger
	start   time.Time // of all schedules
	groups  []*group
	devices []atomic.Pointer[device] // nil for those of other fleets
	groupOf []int32                  // of each device
	order   []int32                  // the n-th device to start
	places  []int32                  // when each device starts: the inverse of order

	takeovers takeover.Detector
	whys      loss.Reasons // of connections that were lost, and of what was refused

	ctx      context.Context // ends when devices must go at once
	cancel   context.CancelFunc
	killed   atomic.Bool    // as ctx, without its lock
	running  sync.WaitGroup // devices, and their goroutines
	alarms   timers.Set
	pools    pools
	active   *roster.Roster // which devices are started and not scaled away, those of other fleets among them
	most     []int          // of a group: so many of its devices were active at once, or more
	none     *roster.Roster // none of them; it is not changed
	courses  courses        // how that changes
	streams  streams
	protocol protocol.Protocol // of groups without one of their own

	calendar schedule.Calendar
	turns    map[metrics.Operation]*rotation.Rotation // who is to do what a rate asks for; connected devices only
	paused   atomic.Bool
	finish   sync.Once                 // who is first closes over
	over     chan struct{}             // closed when nothing is due any more
	end      time.Time                 // the last time at which something is; read it after over is closed
	planned  atomic.Pointer[time.Time] // the same, known before; nil while it is not
	lost     atomic.Int64
	losses   atomic.Int64
	returns  atomic.Int64
	left     atomic.Int64
	started  atomic.Int64 // devices of active, for those who watch

	subscribers atomic.Int64    // connected devices that have subscribed, and the subscriber that is no device
	connected   atomic.Int64    // those of them that have a connection, whether or not their session is kept
	listeners   atomic.Int64    // devices that may be subscribers, and that subscriber
	queued      byte            // the highest QoS of subscriptions whose sessions are kept: what comes with less than 1 is kept for nobody
	remain      atomic.Int64    // sessions that are left at the target
	outside     atomic.Bool     // that there is one that is no device
	talking     atomic.Int64    // devices that may send more of what is measured
	undelivered atomic.Int64    // messages that subscribers have yet to get
	run         []byte          // of marks, with a hyphen; empty without one
	audiences   *audience.Index // of topics; nil unless messages are for every subscriber
	ears        sync.Map        // of subscribers: *ear by index
	lines       sync.Map        // of those of them whose sessions are kept: *line by index
	publishers  sync.Map        // those whose deliveries are measured: *device by index
	measures    bool            // that there are such
	strays      int             // of an account: book.Book.Most
	longest     time.Duration   // time-out of a group

	heard func() *audience.Index // Fleet.known, asked once
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
	states                                  map[string]*atomic.Int64
	connect, subscribe, twinGet, report     *metrics.Series
	driver                                  link.Driver
	blocking                                bool // its Publish may wait
	protocol                                protocol.Protocol
	kinds                                   []*kind
	requests                                bool            // some kind of messages is requests
	asPublished                             bool            // the retain flag of what arrives is its sender's, and nothing kept comes
	dpsRegister, dpsConnect, dpsPut, dpsGet *metrics.Series // nil unless devices have a hub assigned
	tally                                   tally
	activities                              []*activity
	number                                  int         // among the groups
	at                                      int         // of its first device in Fleet.devices
	lowered                                 atomic.Bool // the target has granted a lower quality of service than was asked for, and that was told
}

// New makes a fleet whose devices all wait. It is an error when Target, Driver or Recorder is missing, or an Activity cannot be done.
func New(cfg Config) (*Fleet, error) {
	if cfg.Target == nil || cfg.Driver == nil || cfg.Recorder == nil {
		return nil, errors.New("a fleet needs a target, a driver and a recorder")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Start.IsZero() {
		cfg.Start = time.Now()
	}
	f := &Fleet{
		cfg: cfg, log: cfg.Logger, start: cfg.Start, streams: newStreams(cfg.Seed), calendar: schedule.NewCalendar(cfg.Seed),
		over: make(chan struct{}), turns: make(map[metrics.Operation]*rotation.Rotation), protocol: cfg.Target.Protocol(),
	}
	if cfg.Run != "" {
		f.run = []byte(cfg.Run + "-")
	}
	f.pools.init()
	f.ctx, f.cancel = context.WithCancel(context.Background())
	var groups, ranks []int
	for _, g := range cfg.Groups {
		for i := range g.Activities {
			if err := g.Activities[i].validate(); err != nil {
				return nil, fmt.Errorf("group %s: %w", g.Name, err)
			}
		}
		in, err := f.addGroup(g.withDefaults(), len(groups))
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Name, err)
		}
		groups = append(groups, slices.Repeat([]int{in.number}, len(g.IDs))...)
		ranks = append(ranks, slices.Repeat([]int{in.rank()}, len(g.IDs))...)
	}
	f.devices = make([]atomic.Pointer[device], len(groups))
	f.most = make([]int, len(f.groups))
	for op := range f.turns {
		f.turns[op] = rotation.New(len(f.devices))
	}
	order := f.calendar.Order(ranks)
	f.active = roster.New(order, groups)
	f.none = f.active.Clone()
	f.groupOf, f.order, f.places = make([]int32, len(order)), make([]int32, len(order)), make([]int32, len(order))
	for place, i := range order {
		f.order[place], f.places[i], f.groupOf[i] = int32(i), int32(place), int32(groups[i])
	}
	for i := range f.devices {
		if g := f.groups[f.groupOf[i]]; cfg.Mine == nil || cfg.Mine(g.First+i-g.at) {
			f.add(i, g.IDs[i-g.at])
		}
	}
	f.heard = sync.OnceValue(f.known)
	if err := f.addAudiences(); err != nil {
		return nil, err
	}
	f.strays = f.straysEach()
	if f.publishes() {
		cfg.Recorder.Register(func() []metrics.Figure { return DeliveryFigures(f.Deliveries()) })
	}
	return f, nil
}

// mostStrays is how many messages all accounts of the fleet together keep in mind, at some 300 bytes each: no fewer than 16 an account, nor more than 1024.
const mostStrays = 1 << 18

// straysEach is how many of them an account may keep.
func (f *Fleet) straysEach() int {
	accounts := 0
	f.publishers.Range(func(_, x any) bool {
		for _, k := range x.(*device).group.kinds {
			if k.delivery != nil {
				accounts++
			}
		}
		return true
	})
	return max(16, min(1024, mostStrays/max(1, accounts)))
}

// publishes reports whether deliveries of messages of this fleet's own devices are measured.
func (f *Fleet) publishes() (is bool) {
	f.publishers.Range(func(any, any) bool {
		is = true
		return false
	})
	return is
}

// filtersOf are what a device of a group subscribes to, by its protocol.
func (f *Fleet) filtersOf(g *group, index int, id string) []link.Filter {
	if !g.protocol.Twins() && !g.Listens {
		return nil
	}
	return g.protocol.Filters(protocol.Device{Index: index, ID: id})
}

// add makes a device that waits.
func (f *Fleet) add(place int, id string) *device {
	g := f.groups[f.groupOf[place]]
	d := newDevice(f, g, place, id)
	f.devices[place].Store(d)
	if g.measures() {
		f.publishers.Store(d.index, d)
	}
	g.states[StateWaiting].Add(1)
	return d
}

// rank orders groups by who starts first: those who listen before those who talk.
func (g *group) rank() int {
	if g.Listens {
		return 0
	}
	return 1
}

// errKeeping is returned for a group whose driver keeps no sessions.
var errKeeping = errors.New("its driver keeps no sessions")

// errSharing is returned for a group whose driver cannot have several devices on one connection.
var errSharing = errors.New("its driver cannot have several devices on one connection")

// addGroup adds a group whose first device is the at-th.
func (f *Fleet) addGroup(g Group, at int) (*group, error) {
	rec := f.cfg.Recorder
	in := &group{
		number: len(f.groups), at: at, Group: g, states: make(map[string]*atomic.Int64),
		connect: rec.Series(metrics.OpConnect, g.Name), subscribe: rec.Series(metrics.OpSubscribe, g.Name),
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
	if d, ok := in.driver.(link.Keeping); g.needsKeeping() && !(ok && d.Keeping()) {
		return nil, errKeeping
	}
	if d, ok := in.driver.(link.Sharing); g.Shared > 1 && !(ok && d.Sharing()) {
		return nil, errSharing
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
	if err := f.addKinds(in); err != nil {
		return nil, err
	}
	in.asPublished = slices.ContainsFunc(f.filtersOf(in, g.First, ""), func(x link.Filter) bool { return x.RetainAsPublished && x.RetainHandling == 2 })
	in.requests = slices.ContainsFunc(in.kinds, func(k *kind) bool { return k.Requests })
	if g.Listens {
		f.listeners.Add(int64(len(g.IDs)))
	}
	if g.Listens && g.Kept && len(g.IDs) > 0 {
		f.queued = max(f.queued, f.newLine(in, g.First, g.IDs[0]).asked)
	}
	f.addActivities(in)
	return in, nil
}

// Len is how many devices there are, running or not, those of other fleets among them.
func (f *Fleet) Len() int { return len(f.devices) }

// Active is how many devices are started and not scaled away, those of other fleets among them. It may be called at any time.
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

// LossReasons is how many connections were lost so far by reason, best asked before Losses: a loss is counted there first. Connections that were lost before
// they were of use are among them, too.
func (f *Fleet) LossReasons() map[string]int {
	all := make(map[string]int)
	for _, e := range f.cfg.Recorder.Losses() {
		all[e.Reason] += int(e.Count)
	}
	return all
}

// Returns is how many devices that had lost their connections were back so far.
func (f *Fleet) Returns() int { return int(f.returns.Load()) }

// Left is how many devices so far were stopped while their connections were lost: they had no chance to come back.
func (f *Fleet) Left() int { return int(f.left.Load()) }

// Ran is how many devices have been started, whether or not they were stopped since, those of other fleets among them. It is for the
// goroutine that scales.
func (f *Fleet) Ran() (n int) {
	for _, most := range f.most { // a group's devices start and stop in their order
		n += most
	}
	return n
}

// returned counts a device that is connected once more after it lost its connection.
func (f *Fleet) returned(d *device) {
	if d.lost {
		f.returns.Add(1)
	}
}

// Pause stops what devices do on their own schedules, or lets it go on. Devices stay connected and
// answer what they are asked; what becomes due meanwhile is dropped and counted.
func (f *Fleet) Pause(paused bool) { f.paused.Store(paused) }

// Reported is what a device last sent and had acknowledged; ok is false when nothing was, when the protocol tells no $version, or when the
// device is not this fleet's.
func (f *Fleet) Reported(index int) (r Report, ok bool) {
	d := f.devices[index].Load()
	if d == nil {
		return r, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acked, d.acked.Version > 0
}

// EndAt says before its time when nothing is due any more, that is, when Finish will be called or a little before: what is due then, or later,
// is not done, however late Finish is. Only the first time that it is told counts.
func (f *Fleet) EndAt(at time.Time) {
	last := at.Add(-1)
	f.planned.CompareAndSwap(nil, &last)
}

// due is until when things are due: until now, or before the end.
func (f *Fleet) due(now time.Time) time.Time {
	if last := f.planned.Load(); last != nil && now.After(*last) {
		now = *last
	}
	if f.finished() && now.After(f.end) {
		now = f.end
	}
	return now
}

// Finish ends what devices do on their own: from now on nothing is due. Devices that are connected stay so and answer what
// they are asked; those that are not do not come back, but to fetch what the target keeps for them. It may be called more than once, also by several at once.
func (f *Fleet) Finish() {
	first := false
	f.finish.Do(func() {
		f.end = f.due(time.Now())
		close(f.over)
		first = true
	})
	if first {
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
// their time is up, and subscribers that are away and whose sessions are kept come back in that time, when they are due, as long as messages are under way; when ctx ends they go at once, and what has no answer is counted as unanswered.
func (f *Fleet) Stop(ctx context.Context) {
	f.Finish()
	f.courses.end()
	for f.Active() > 0 {
		f.goes()
	}
	stop := context.AfterFunc(ctx, func() {
		f.killed.Store(true)
		f.cancel()
		f.tell()
	})
	defer stop()
	f.running.Wait()
	f.wipe(ctx)
	f.cancel()
}

// goes stops the last device. Whoever takes some over, or begins a stage, has its turn between two of them.
func (f *Fleet) goes() {
	f.courses.moving.Lock()
	defer f.courses.moving.Unlock()
	f.move(roster.Everyone, false, f.end)
}

// tell says to all devices that something has happened.
func (f *Fleet) tell() {
	for i := range f.devices {
		if d := f.devices[i].Load(); d != nil {
			d.tell()
		}
	}
}
