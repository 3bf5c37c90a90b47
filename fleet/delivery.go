package fleet

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/audience"
	"github.com/twinfleet/twinfleet/internal/fleet/book"
	"github.com/twinfleet/twinfleet/internal/fleet/mark"
	"github.com/twinfleet/twinfleet/metrics"
)

// account is that of a device's messages of one kind, whose deliveries are measured.
type account struct {
	book.Book[metrics.Started]
	kind     *kind
	audience *audience.Audience // of the device's topic; nil where any subscriber will do, and before the first message
	hearers  *audience.Audience // where any subscriber will do: who may get a message, once somebody asked; nil where nobody knows
	stages   []from             // of the messages, in their order
}

// from is where copies count of the messages from a turn on.
type from struct {
	turn   int64
	copies metrics.Copies
}

// begins notes when the message of a turn was intended: what becomes of its copies counts in that stage.
func (a *account) begins(turn int64, intended time.Time) {
	copies := a.kind.delivery.Copies(intended)
	if n := len(a.stages); n == 0 || a.stages[n-1].copies != copies {
		a.stages = append(a.stages, from{turn, copies})
	}
}

// copies is where those of the message of a turn count.
func (a *account) copies(turn int64) (c metrics.Copies) {
	for i := len(a.stages) - 1; i >= 0; i-- {
		if c = a.stages[i].copies; a.stages[i].turn <= turn {
			break
		}
	}
	return c
}

// everySubscriber is Telemetry.Deliveries for all subscribers of the fleet of whose filters one matches.
const everySubscriber = -1

// account is the device's of a kind. The caller holds the lock.
func (d *device) account(k *kind) *account {
	if d.accounts == nil {
		d.accounts = make([]*account, len(d.group.kinds))
	}
	a := d.accounts[k.number]
	if a == nil {
		a = &account{kind: k}
		a.Most = d.fleet.strays
		if k.Deliveries == everySubscriber {
			a.audience = d.fleet.audiences.Of(d.topicOf(k), d.index)
		} else {
			a.Anyone = k.Deliveries
		}
		d.accounts[k.number] = a
	}
	return a
}

// expect counts the deliveries of a message that is being sent. Those to subscribers that are not there are dropped, and all when there are
// fewer subscribers than the message needs: nobody could get it.
func (d *device) expect(k *kind, turn int64, intended, free, sent time.Time) {
	d.mu.Lock()
	a := d.account(k)
	a.begins(turn, intended)
	m := book.Message[metrics.Started]{Turn: turn, Audience: a.audience, Deadline: sent.Add(d.group.Timeout)}
	n := a.Anyone
	if a.audience != nil {
		m.Absent = a.audience.Absent(func(s int) bool { return d.fleet.listening(s, k.QoS) })
		n = a.audience.Slots() - len(m.Absent)
	} else if d.fleet.there(k.QoS) < n {
		a.Nobody(turn)
		d.mu.Unlock()
		k.delivery.DropMany(uint64(n), intended, metrics.DropNotConnected)
		return
	}
	for range n {
		m.Value = k.delivery.StartAfter(intended, free, sent)
	}
	d.fleet.undelivered.Add(a.changes(turn, func() { a.Expect(m) }))
	d.mu.Unlock()
	if len(m.Absent) > 0 {
		k.delivery.DropMany(uint64(len(m.Absent)), intended, metrics.DropNotConnected)
	}
}

// changes is by how much the number of open messages grows when something is done about that of a turn, of which the kind's counts are told. The
// caller holds the lock.
func (a *account) changes(turn int64, do func()) int64 {
	grown, c := a.counts(do)
	if c != (book.Counts{}) {
		copies := a.copies(turn)
		copies.Came(uint64(c.Duplicates), uint64(c.OutOfOrder))
		copies.Missing(c.Missing)
	}
	return grown
}

// counts is changes for what is done about any messages, and what it counted: that belongs to their stages, too.
func (a *account) counts(do func()) (grown int64, c book.Counts) {
	before := a.Open()
	do()
	c, k := a.Take(), a.kind
	k.duplicates.Add(c.Duplicates)
	k.late.Add(c.Late)
	k.missing.Add(c.Missing)
	k.outOfOrder.Add(c.OutOfOrder)
	return int64(a.Open() - before), c
}

// delivered notes that a subscriber has a message of this device: it ends its delivery, or is a duplicate, late, or nobody knows.
func (d *device) delivered(m mark.Mark, subscriber int, now time.Time) (stranger bool) {
	d.mu.Lock()
	a := d.account(d.group.kinds[m.Kind])
	var got book.Arrival[metrics.Started]
	d.fleet.undelivered.Add(a.changes(m.Turn, func() {
		got = a.Arrived(m.Turn, subscriber, now, int(d.fleet.listeners.Load()))
	}))
	if got.Ends {
		d.ending++
	}
	d.mu.Unlock()
	if !got.Ends {
		return got.Verdict == book.Stranger
	}
	outcome := metrics.OK
	if got.Verdict == book.Late {
		outcome = metrics.Timeout
	}
	got.Value.End(d.when(got.Value, now, outcome == metrics.Timeout), outcome)
	d.counted(nil)
	return false
}

// settleDeliveries ends the deliveries that the book says have ended. The caller does not hold the lock.
func settleDeliveries(all []book.Ended[metrics.Started], now time.Time) {
	for _, e := range all {
		outcome, reason := metrics.Timeout, ""
		switch e.Why {
		case book.TimedOut:
		case book.Absent:
			outcome, reason = metrics.Unanswered, "its subscriber was not connected all the time"
		case book.NotSent:
			outcome, reason = metrics.Failed, "the message was not sent"
		case book.GivenUp:
			outcome, reason = metrics.Unanswered, stoppedFirst
		}
		for range e.Copies {
			e.Value.EndBecause(now, outcome, reason)
		}
	}
}

// arrived takes a message that a subscriber got, on the driver's goroutine. A broker sends what it
// retained when somebody subscribes: that tells nothing of how long a delivery takes. Nor does a response, which may have the payload of its
// request, mark and all.
func (d *device) arrived(m link.Message, now time.Time) {
	switch {
	case !d.fleet.measures, isResponse(m):
	case m.Retain && !d.group.asPublished:
		d.fleet.retained(m)
	default:
		d.fleet.arrived(m, d.index, now, d.contradict)
	}
}

// retained counts a message that the target had kept, of whichever fleet's devices.
func (f *Fleet) retained(message link.Message) {
	if m, ok := f.markOf(message); ok {
		if k := f.kindOf(m); k != nil {
			k.retained.Add(1)
		}
	}
}

// markOf is the mark of a message; ok is false when it has none of the fleet's run.
func (f *Fleet) markOf(m link.Message) (x mark.Mark, ok bool) {
	if p := m.Properties; p != nil {
		for _, u := range p.User {
			if u.Name == mark.Member {
				if x, ok = mark.ReadText(u.Value, f.run); ok {
					return x, true
				}
			}
		}
	}
	return mark.Read(m.Payload, f.run)
}

// arrived takes a message that a subscriber got.
func (f *Fleet) arrived(message link.Message, subscriber int, now time.Time, contradict func(Contradiction)) {
	if m, ok := f.markOf(message); ok && !f.elsewhere(m, subscriber, now) {
		f.reached(m, subscriber, now, contradict)
	}
}

// reached takes that a message is where a subscriber is.
func (f *Fleet) reached(m mark.Mark, subscriber int, now time.Time, contradict func(Contradiction)) {
	x, _ := f.publishers.Load(m.Device)
	publisher, _ := x.(*device)
	if publisher == nil || !publisher.sent(m) {
		contradict(Contradiction{Kind: UnknownDelivery, Detail: fmt.Sprintf("message %d of device %d of the fleet", m.Turn, m.Device)})
		return
	}
	if publisher.delivered(m, subscriber, now) {
		contradict(Contradiction{Kind: StrangeDelivery, Detail: fmt.Sprintf("message %d of %s", m.Turn, publisher.id)})
	}
}

// outsider is the index of the subscriber that is no device.
const outsider = -1

// Listening says that somebody who is no device gets the messages of all devices and tells of them with Delivered: he is one of
// the fleet's subscribers, until he says that he is no more. Before devices start, no message escapes him. Saying the same twice has no
// effect.
func (f *Fleet) Listening(on bool) {
	if f.outside.Swap(on) == on {
		return
	}
	n := int64(1)
	if !on {
		n = -1
	}
	f.listeners.Add(n)
	f.subscribers.Add(n)
	f.connected.Add(n)
}

// Delivered tells that a message reached the subscriber that is no device, and when. What has no mark of this fleet's run is ignored. It
// may be called from any goroutine, does not wait, and does not keep the body.
func (f *Fleet) Delivered(body []byte, at time.Time) {
	f.arrived(link.Message{Payload: body}, outsider, at, func(c Contradiction) {
		c.Index, c.Device = outsider, "reader"
		f.contradict(c)
	})
}

// Deliveries is what became, beside the operation delivery, of the messages of a group, or of a kind of them, whose deliveries are measured.
type Deliveries struct {
	Group      string // its name, and of a kind with a name GROUP/NAME
	Duplicates uint64 // copies that a subscriber had before
	Late       uint64 // copies that came after their time was up: they are among the deliveries that timed out
	// Missing are copies that have not come, though their time is up and the target has acknowledged the message: of QoS 1 and 2, and of
	// each over HTTPS. They are among the deliveries that timed out too.
	Missing uint64
	// OutOfOrder are first copies that a subscriber got after one of a later message of the same device and kind.
	OutOfOrder uint64
	// Retained are copies that the target had kept, and sent to a subscriber of this fleet because it subscribed: they are no deliveries.
	Retained uint64
}

// Deliveries are those of all kinds of messages whose deliveries are measured, in the order of their groups. Where any subscribers will do and more
// listen than a message is for, a duplicate is known only while others wait for theirs.
func (f *Fleet) Deliveries() (all []Deliveries) {
	count := func(n int64) uint64 { return uint64(max(0, n)) }
	for _, g := range f.groups {
		for _, k := range g.kinds {
			if k.delivery != nil {
				all = append(all, Deliveries{
					Group: metrics.KindOf(g.Name, k.Name), Duplicates: count(k.duplicates.Load()), Late: count(k.late.Load()),
					Missing: count(k.missing.Load()), OutOfOrder: count(k.outOfOrder.Load()), Retained: count(k.retained.Load()),
				})
			}
		}
	}
	return all
}

// DeliveryFigures are what became of messages, as Fleet.Deliveries has it, for /metrics.
func DeliveryFigures(all []Deliveries) []metrics.Figure {
	figure := func(name, help string) metrics.Figure {
		return metrics.Figure{Name: name, Labels: []string{"group"}, Help: help}
	}
	duplicates := figure("twinfleet_delivery_duplicates_total", "Copies of messages that a subscriber had before, by the group that sent them.")
	late := figure("twinfleet_delivery_late_total",
		"Messages that arrived after their time was up, by the group that sent them: they are among the deliveries that timed out.")
	disordered := figure("twinfleet_delivery_out_of_order_total", "Messages that a subscriber got after a later one of the same device, by the group that sent them.")
	missing := figure("twinfleet_delivery_missing", "Messages whose time is up and that have not arrived, though the target acknowledged them, by the group that sent them. "+
		"It falls when they arrive after all.")
	for _, d := range all {
		add := func(to *metrics.Figure, n uint64) {
			to.Samples = append(to.Samples, metrics.Sample{Labels: []string{d.Group}, Value: float64(n)})
		}
		add(&duplicates, d.Duplicates)
		add(&late, d.Late)
		add(&disordered, d.OutOfOrder)
		add(&missing, d.Missing)
	}
	return []metrics.Figure{duplicates, late, disordered, missing}
}

// sent reports whether the device has sent a message, or is about to.
func (d *device) sent(m mark.Mark) bool {
	if m.Kind >= len(d.group.kinds) || d.group.kinds[m.Kind].delivery == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.accounts != nil && d.accounts[m.Kind] != nil && d.accounts[m.Kind].Sent(m.Turn)
}

// forget ends the deliveries of a message that never reached the broker, as far as anyone knows.
func (d *device) forget(k *kind, turn int64) {
	d.mu.Lock()
	a := d.account(k)
	var ended []book.Ended[metrics.Started]
	d.fleet.undelivered.Add(a.changes(turn, func() { ended = a.NotSent(turn) }))
	if len(ended) == 0 {
		d.mu.Unlock()
		return
	}
	d.ending++
	d.mu.Unlock()
	settleDeliveries(ended, time.Now())
	d.counted(nil)
}

// taken notes that the target has acknowledged the message of a turn.
func (d *device) taken(k *kind, turn int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.account(k)
	a.changes(turn, func() { a.Acked(turn, time.Now()) })
}

// eachAccount ends deliveries of all kinds as something says.
func (d *device) eachAccount(now time.Time, end func(*account) []book.Ended[metrics.Started]) {
	d.mu.Lock()
	var ended []book.Ended[metrics.Started]
	for _, a := range d.accounts {
		if a != nil {
			var theirs []book.Ended[metrics.Started]
			grown, _ := a.counts(func() { theirs = end(a) })
			d.fleet.undelivered.Add(grown)
			for _, e := range theirs {
				if e.Missing {
					a.copies(e.Turn).Missing(int64(e.Copies))
				}
			}
			ended = append(ended, theirs...)
		}
	}
	d.mu.Unlock()
	settleDeliveries(ended, now)
}

// sweepDeliveries ends the deliveries whose time is up: these messages are lost, unless their subscribers were away.
func (d *device) sweepDeliveries(now time.Time) {
	if !d.group.measures() {
		return
	}
	now = now.Add(-d.fleet.grace()) // what came by then is known
	d.eachAccount(now, func(a *account) []book.Ended[metrics.Started] {
		return a.Sweep(now, func(s int, m metrics.Started, acked time.Time) book.Presence {
			return d.fleet.presence(s, a.kind.QoS, passing{sent: m.Sent, acked: acked, timeout: d.group.Timeout})
		}, func() *audience.Audience { return d.hearers(a) })
	})
}

// deliver waits, when the device has stopped, until its messages are delivered or their time is up, and until all that drivers'
// goroutines have taken is counted: who waits for the device reads its account.
func (d *device) deliver(now time.Time) {
	if d.fleet.killed.Load() {
		d.eachAccount(now, func(a *account) []book.Ended[metrics.Started] { return a.GiveUp() })
	}
	d.sweepDeliveries(now)
	d.mu.Lock()
	left := d.expected() + d.ending
	d.mu.Unlock()
	if left == 0 {
		d.leave(false)
		d.stopped()
	}
}

// expected is how many messages are on their way to subscribers. The caller holds the lock.
func (d *device) expected() (n int) {
	for _, a := range d.accounts {
		if a != nil {
			n += a.Open()
		}
	}
	return n
}

// firstDelivery is when the first delivery, or operation, runs out of time, if that is before a time.
func (d *device) firstDelivery(first time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pending) > 0 && d.pending[0].deadline.Before(first) {
		first = d.pending[0].deadline
	}
	return d.firstDue(first)
}

// firstDue is when the first delivery runs out of time, if that is before a time. The caller holds the lock.
func (d *device) firstDue(first time.Time) time.Time {
	for _, a := range d.accounts {
		if a == nil {
			continue
		}
		if due := a.Due(); !due.IsZero() && due.Add(d.fleet.grace()).Before(first) {
			first = due.Add(d.fleet.grace())
		}
	}
	return first
}

// underWay is how many answers and deliveries the device waits for; a subscriber that is to stop waits for
// all that anyone expects, if it listens.
func (d *device) underWay(listens bool) int {
	d.mu.Lock()
	n := len(d.pending)
	if d.halted() {
		n += d.expected()
	}
	d.mu.Unlock()
	if listens && d.halted() && d.group.Listens && d.fleet.mayCome(d.deaf) {
		n++
	}
	return n
}
