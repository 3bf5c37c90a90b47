package fleet

import (
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/fleet/mark"
	"github.com/twinfleet/twinfleet/metrics"
)

// delivery is a message that subscribers have yet to get.
type delivery struct {
	intended, sent, deadline time.Time
	left                     int             // subscribers that do not have it
	op                       metrics.Started // of each of them
	seen                     []int           // those that do
	taken                    bool            // the target has acknowledged the message
}

// expect counts the deliveries of a message that is being sent. With fewer subscribers than it needs,
// they are dropped: nobody could get it.
func (d *device) expect(turn int64, intended, free, sent time.Time) {
	d.mu.Lock()
	d.marked = turn + 1
	d.mu.Unlock()
	n := d.group.Telemetry.Deliveries
	if int(d.fleet.subscribers.Load()) < n {
		d.mu.Lock()
		d.stray(turn, stray{})
		d.mu.Unlock()
		d.group.delivery.DropMany(uint64(n), intended, metrics.DropNotConnected)
		return
	}
	var op metrics.Started
	for range n {
		op = d.group.delivery.StartAfter(intended, free, sent)
	}
	d.fleet.undelivered.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deliveries == nil {
		d.deliveries = make(map[int64]*delivery)
	}
	d.deliveries[turn] = &delivery{intended: intended, sent: sent, deadline: sent.Add(d.group.Timeout), left: n, op: op}
}

// delivered notes that a subscriber has a message of this device. A copy that it had before is a duplicate, and one that came after its
// time counts as none, also when that is noticed first.
func (d *device) delivered(turn int64, subscriber int, now time.Time) {
	d.mu.Lock()
	x := d.deliveries[turn]
	if x == nil || slices.Contains(x.seen, subscriber) {
		d.further(turn, subscriber, x)
		d.mu.Unlock()
		return
	}
	x.seen = append(x.seen, subscriber)
	x.left--
	whole := x.left == 0
	if whole {
		delete(d.deliveries, turn)
		d.fleet.undelivered.Add(-1)
	}
	d.ending++
	d.mu.Unlock()
	outcome := inTime(x.deadline, now, metrics.OK)
	if outcome == metrics.Timeout {
		d.group.late.Add(1)
	}
	x.op.End(now, outcome)
	d.counted(nil)
}

// strays are messages of a device of which copies may come that nobody waits for: their time was up, or nobody waited from the
// beginning. Without them a copy that comes late looks like one that comes twice.
type strays struct {
	copies map[int64]stray  // by turn
	floor  int64            // of the turns below nothing else is known but
	lost   map[int64]uint64 // how many copies count as lost: a bit each, as many a turn as there may be, 64 a word
}

// stray is one of them.
type stray struct {
	seen []int // subscribers that have it
	late bool  // the time of the others was up
	lost bool  // and they count as lost: the target has acknowledged the message
}

// mostStrays are those of a device that are kept.
const mostStrays = 1024

// stray notes copies that nobody waits for. The caller holds the lock.
func (d *device) stray(turn int64, s stray) {
	if d.strays == nil {
		d.strays = &strays{copies: make(map[int64]stray)}
	}
	if len(d.strays.copies) == mostStrays {
		n := int64(d.group.Telemetry.Deliveries)
		for old, s := range d.strays.copies {
			if s.lost {
				d.strays.lose(old*n, n-int64(len(s.seen)))
			}
		}
		clear(d.strays.copies)
		d.strays.floor = d.marked
	}
	d.strays.copies[turn] = s
}

// lose remembers, of a message that is forgotten, how many copies count as lost. from is the first bit of its turn.
func (s *strays) lose(from, copies int64) {
	if s.lost == nil {
		s.lost = make(map[int64]uint64)
	}
	for bit := from; bit < from+copies; bit++ {
		s.lost[bit/64] |= 1 << (bit % 64)
	}
}

// found is true, once each, for the copies of a forgotten message that count as lost, of at most so many.
func (s *strays) found(from, most int64) bool {
	for bit := from; bit < from+most; bit++ {
		word, one := s.lost[bit/64], uint64(1)<<(bit%64)
		if word&one == 0 {
			continue
		}
		if s.lost[bit/64] = word &^ one; word == one {
			delete(s.lost, bit/64)
		}
		return true
	}
	return false
}

// further counts a copy that nobody waits for: x is the message while others wait for theirs, else nil. One that was not waited for ends
// as such, unless its subscriber had one before; any other is a duplicate when all who listen have had theirs, and when they have not,
// nobody knows whose it is. The caller holds the lock.
func (d *device) further(turn int64, subscriber int, x *delivery) {
	if x != nil {
		d.group.duplicates.Add(1)
		return
	}
	n := d.group.Telemetry.Deliveries
	if d.strays != nil {
		if s, ok := d.strays.copies[turn]; ok {
			if slices.Contains(s.seen, subscriber) {
				d.group.duplicates.Add(1)
				return
			}
			if s.late {
				d.group.late.Add(1)
			}
			if s.lost {
				d.group.missing.Add(-1)
			}
			if s.seen = append(s.seen, subscriber); len(s.seen) == n {
				delete(d.strays.copies, turn)
			} else {
				d.strays.copies[turn] = s
			}
			return
		}
		if turn < d.strays.floor {
			if d.strays.found(turn*int64(n), int64(n)) {
				d.group.late.Add(1)
				d.group.missing.Add(-1)
			}
			return
		}
	}
	if int(d.fleet.listeners.Load()) == n {
		d.group.duplicates.Add(1)
	}
}

// arrived takes a message that a subscriber got, on the driver's goroutine. A broker sends what it
// retained when somebody subscribes: that tells nothing of how long a delivery takes.
func (d *device) arrived(body []byte, retained bool, now time.Time) {
	if !retained {
		d.fleet.arrived(body, d.index, now, d.contradict)
	}
}

// arrived takes a message that a subscriber got.
func (f *Fleet) arrived(body []byte, subscriber int, now time.Time, contradict func(Contradiction)) {
	m, ok := mark.Read(body, f.run)
	if !ok {
		return
	}
	index, turn := m.Device, m.Turn
	x, _ := f.publishers.Load(index)
	publisher, _ := x.(*device)
	if publisher == nil || !publisher.sent(turn) {
		contradict(Contradiction{Kind: UnknownDelivery, Detail: fmt.Sprintf("message %d of device %d of the fleet", turn, index)})
		return
	}
	publisher.delivered(turn, subscriber, now)
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
}

// Delivered tells that a message reached the subscriber that is no device, and when. What has no mark of this fleet's run is ignored. It
// may be called from any goroutine, does not wait, and does not keep the body.
func (f *Fleet) Delivered(body []byte, at time.Time) {
	f.arrived(body, outsider, at, func(c Contradiction) {
		c.Index, c.Device = outsider, "reader"
		f.contradict(c)
	})
}

// Deliveries is what became, beside the operation delivery, of the messages of a group whose deliveries are measured.
type Deliveries struct {
	Group      string // its name
	Duplicates uint64 // copies that a subscriber had before
	Late       uint64 // copies that came after their time was up: they are among the deliveries that timed out
	// Missing are copies that have not come, though their time is up and the target has acknowledged the message: of QoS 1 and 2, and of
	// each over HTTPS. They are among the deliveries that timed out too.
	Missing uint64
}

// Deliveries are those of all groups whose deliveries are measured, in their order. Where more subscribers listen than a message is for, a
// duplicate is known only while others wait for theirs.
func (f *Fleet) Deliveries() (all []Deliveries) {
	for _, g := range f.groups {
		if g.delivery != nil {
			all = append(all, Deliveries{Group: g.Name, Duplicates: g.duplicates.Load(), Late: g.late.Load(), Missing: uint64(max(0, g.missing.Load()))})
		}
	}
	return all
}

// figures are Deliveries for /metrics.
func (f *Fleet) figures() []metrics.Figure {
	duplicates := metrics.Figure{
		Name: "twinfleet_delivery_duplicates_total", Labels: []string{"group"},
		Help: "Copies of messages that a subscriber had before, by the group that sent them.",
	}
	late := metrics.Figure{
		Name: "twinfleet_delivery_late_total", Labels: []string{"group"},
		Help: "Messages that arrived after their time was up, by the group that sent them: they are among the deliveries that timed out.",
	}
	for _, d := range f.Deliveries() {
		duplicates.Samples = append(duplicates.Samples, metrics.Sample{Labels: []string{d.Group}, Value: float64(d.Duplicates)})
		late.Samples = append(late.Samples, metrics.Sample{Labels: []string{d.Group}, Value: float64(d.Late)})
	}
	return []metrics.Figure{duplicates, late}
}

// sent reports whether the device has sent the message of a turn, or is about to.
func (d *device) sent(turn int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return turn >= 0 && turn < d.marked
}

// forget ends the deliveries of a message that never reached the broker, as far as anyone knows.
func (d *device) forget(turn int64) {
	d.mu.Lock()
	x := d.deliveries[turn]
	delete(d.deliveries, turn)
	if x != nil {
		d.ending++
		d.stray(turn, stray{seen: x.seen})
	}
	d.mu.Unlock()
	if x != nil {
		defer d.counted(nil)
		d.endDelivery(x, time.Now(), metrics.Failed, "the message was not sent")
	}
}

// taken notes that the target has acknowledged the message of a turn.
func (d *device) taken(turn int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.deliveries[turn]; x != nil {
		x.taken = true
	}
}

// endDelivery ends a message's deliveries that have not ended.
func (d *device) endDelivery(x *delivery, now time.Time, o metrics.Outcome, reason string) {
	d.fleet.undelivered.Add(-1)
	for range x.left {
		x.op.EndBecause(now, o, reason)
	}
}

// sweepDeliveries ends the deliveries whose time is up: these messages are lost.
func (d *device) sweepDeliveries(now time.Time) {
	d.mu.Lock()
	var late []*delivery
	for turn, x := range d.deliveries {
		if !x.deadline.After(now) {
			late = append(late, x)
			delete(d.deliveries, turn)
			d.stray(turn, stray{seen: x.seen, late: true, lost: x.taken})
			if x.taken {
				d.group.missing.Add(int64(x.left))
			}
		}
	}
	d.mu.Unlock()
	for _, x := range late {
		d.endDelivery(x, now, metrics.Timeout, "")
	}
}

// deliver waits, when the device has stopped, until its messages are delivered or their time is up, and until all that drivers'
// goroutines have taken is counted: who waits for the device reads its account.
func (d *device) deliver(now time.Time) {
	if d.fleet.killed.Load() {
		d.giveUpDeliveries()
	}
	d.sweepDeliveries(now)
	d.mu.Lock()
	left := len(d.deliveries) + d.ending
	d.mu.Unlock()
	if left == 0 {
		d.leave(false)
		d.stopped()
	}
}

// giveUpDeliveries ends the deliveries that nobody waits for any more.
func (d *device) giveUpDeliveries() {
	d.mu.Lock()
	left := d.deliveries
	d.deliveries = nil
	for turn, x := range left {
		d.stray(turn, stray{seen: x.seen})
	}
	d.mu.Unlock()
	for _, x := range left {
		d.endDelivery(x, time.Now(), metrics.Unanswered, stoppedFirst)
	}
}

// firstDelivery is when the first delivery runs out of time; far away when there is none.
func (d *device) firstDelivery(first time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.deliveries {
		if x.deadline.Before(first) {
			first = x.deadline
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
		n += len(d.deliveries)
	}
	d.mu.Unlock()
	if listens && d.halted() && d.group.Listens {
		n += int(d.fleet.undelivered.Load())
	}
	return n
}
