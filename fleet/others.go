package fleet

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/fleet/mark"
	"github.com/twinfleet/twinfleet/metrics"
)

// Others are the fleets that together with this one do what one fleet would: see Config.Mine. A delivery is measured by the fleet that has the publisher, so
// fleets tell each other what reached their subscribers, and which of these are there. None of the functions may block; nil ones are not called.
type Others struct {
	// Arrived is told that a message of a device of another fleet reached a subscriber of this one: the other's Reached is to be told, in the order of
	// each subscriber.
	Arrived func(Arrival)
	// Listens is told how a subscriber of this fleet stands from now on: Hears of all others is to be told, in the order of
	// each subscriber, and best at once, as messages are not expected to reach subscribers of whom nobody has told.
	Listens func(Listener)
	// Open reports whether messages of other fleets may be on their way to this one's subscribers, as those fleets stood at a time or later: they have
	// some that are Undelivered, or, when all is over, devices that are Talking.
	Open func(since time.Time, over bool) bool
	// Grace is how long after it came others may tell of an arrival; 2 s when 0. A delivery is not held for lost before that has passed, too.
	Grace time.Duration
	// Unsure is by how much times that others tell may be wrong. A subscriber of theirs must have been there for so much longer behind a message that
	// it has not got, for that to be the target's doing.
	Unsure time.Duration
}

// Arrival is a message that reached a subscriber.
type Arrival struct {
	Publisher  int   // index of the device that sent it
	Kind       int   // which of its group's kinds of messages it is: 0 is Group.Telemetry, those of Group.Kinds follow
	Turn       int64 // of the device's messages of the kind, from 0
	Subscriber int   // index of the device that has it
	At         time.Time
}

// Listener is how a subscriber stands from a time on.
type Listener struct {
	Subscriber int       // index of the device
	There      bool      // it gets messages, or the target keeps them for it
	Connected  bool      // it has a connection: without one it gets none with QoS 0
	Unkept     bool      // the target keeps nothing for it while it has none, though it was asked to: it granted QoS 0
	Until      time.Time // when the target forgets what it keeps for one that is away; zero for never, and for others
	At         time.Time
	// Since is, of one that is not There, since when it may have got nothing, where that is before At and told by nobody; zero is At.
	Since time.Time
}

// usualGrace is Others.Grace when it is 0.
const usualGrace = 2 * time.Second

// grace is how much later than it happened this fleet may learn of an arrival.
func (f *Fleet) grace() time.Duration {
	switch {
	case f.cfg.Others == nil:
		return 0
	case f.cfg.Others.Grace == 0:
		return usualGrace
	}
	return f.cfg.Others.Grace
}

// mind is for how long absences matter to a subscriber's account: messages from before them are waited for.
func (f *Fleet) mind() time.Duration { return 2*f.longest + f.grace() }

// unsure is by how much times may be wrong that others tell.
func (f *Fleet) unsure() time.Duration {
	if f.cfg.Others == nil {
		return 0
	}
	return f.cfg.Others.Unsure
}

// elsewhere tells of a message of a device that is another fleet's; it is false for one of no device whose deliveries are measured.
func (f *Fleet) elsewhere(m mark.Mark, subscriber int, at time.Time) bool {
	if f.cfg.Others == nil || f.cfg.Others.Arrived == nil {
		return false
	}
	if _, here := f.publishers.Load(m.Device); here {
		return false
	}
	if f.kindOf(m) == nil {
		return false
	}
	f.cfg.Others.Arrived(Arrival{Publisher: m.Device, Kind: m.Kind, Turn: m.Turn, Subscriber: subscriber, At: at})
	return true
}

// kindOf is the kind of messages that a mark is of; nil for none whose deliveries are measured.
func (f *Fleet) kindOf(m mark.Mark) *kind {
	if g, _ := f.member(m.Device); g != nil && m.Kind < len(g.kinds) && g.kinds[m.Kind].delivery != nil {
		return g.kinds[m.Kind]
	}
	return nil
}

// member is the group that the device of an index is in, and its id, if that is known; nil for no device.
func (f *Fleet) member(index int) (g *group, id string) {
	for _, g := range f.groups {
		if i := index - g.First; i >= 0 && i < len(g.IDs) {
			return g, g.IDs[i]
		}
	}
	return nil, ""
}

// Reached takes an arrival of which another fleet's Others.Arrived was told: at its time, however late it is told of. What is none of a message of this
// fleet's devices is told to Config.OnContradiction, as what its own subscribers get. It may be called from any goroutine, but for one subscriber
// from one at a time, and does not wait.
func (f *Fleet) Reached(a Arrival) {
	g, id := f.member(a.Subscriber)
	if g == nil || a.Kind < 0 {
		return
	}
	m := mark.Mark{Device: a.Publisher, Kind: a.Kind, Turn: a.Turn}
	f.reached(m, a.Subscriber, a.At, func(c Contradiction) {
		if c.Index, c.Device = a.Subscriber, id; id == "" {
			c.Device = fmt.Sprintf("device %d", a.Subscriber)
		}
		f.contradict(c)
	})
}

// Hears takes how a subscriber of another fleet stands, as that one's Others.Listens was told. Until something is told of it, it is not there.
// What is told twice has no effect. It may be called from any goroutine, but for one subscriber from one at a time.
func (f *Fleet) Hears(l Listener) {
	g, id := f.member(l.Subscriber)
	if g == nil || !g.Listens || g.protocol.Twins() {
		return
	}
	x, _ := f.ears.LoadOrStore(l.Subscriber, &ear{mind: f.mind(), unsure: f.unsure()})
	e := x.(*ear)
	if !l.There && !l.Since.IsZero() {
		e.vanishes(l.Since, l.At)
	}
	n := e.turns(l.There, l.At)
	e.keeps(l.Until, l.At)
	f.subscribers.Add(n)
	if g.Kept {
		x, ok := f.lines.Load(l.Subscriber)
		if !ok {
			away := f.newLine(g, l.Subscriber, id)
			away.unsure = f.unsure()
			x, _ = f.lines.LoadOrStore(l.Subscriber, away)
		}
		if !l.Connected && !l.Since.IsZero() {
			x.(*line).vanishes(l.Since, l.At)
		}
		granted := x.(*line).asked
		if l.Unkept {
			granted = 0
		}
		x.(*line).grants(granted)
		n = x.(*line).turns(l.Connected, l.At)
		x.(*line).keeps(time.Time{}, l.At)
	}
	f.connected.Add(n)
}

// tellOthers says how the device stands as a subscriber.
func (d *device) tellOthers(at time.Time) {
	o := d.fleet.cfg.Others
	if o == nil || o.Listens == nil {
		return
	}
	l := Listener{Subscriber: d.index, There: d.subscribed, Connected: d.subscribed && (d.line == nil || d.line.open.Load()), At: at}
	l.Unkept = d.line != nil && d.line.keepsNone()
	if l.There && !l.Connected {
		l.Until = d.ear.until.get()
	}
	o.Listens(l)
}

// mayCome reports whether messages may be on their way to a subscriber that leaves, and listens for the time of one message until a time.
func (f *Fleet) mayCome(until time.Time) bool {
	over := f.finished() // then all leave, and who is there last has all that was sent
	if f.undelivered.Load() > 0 || over && f.talking.Load() > 0 {
		return true
	}
	o := f.cfg.Others
	return o != nil && o.Open != nil && o.Open(until.Add(-f.longest), over)
}

// Talking is how many of this fleet's devices have not left whose messages' deliveries are measured. It may be called at any time.
func (f *Fleet) Talking() int { return int(f.talking.Load()) }

// Undelivered is how many messages of this fleet's devices are on their way to subscribers. It may be called at any time.
func (f *Fleet) Undelivered() int { return int(f.undelivered.Load()) }

// Patience is for how long devices that leave may wait for what becomes of what was sent, at most.
func (f *Fleet) Patience() time.Duration { return f.longest + f.grace() }

// when is when a delivery of the device's ended that an arrival at a time ends: clocks that are not known to the last bit may have it before the
// message was sent, and one that was too late is over since its time was up, whenever others may tell of it.
func (d *device) when(x metrics.Started, at time.Time, late bool) time.Time {
	switch {
	case late && d.fleet.cfg.Others != nil:
		return x.Sent.Add(d.group.Timeout)
	case at.Before(x.Sent):
		return x.Sent
	}
	return at
}
