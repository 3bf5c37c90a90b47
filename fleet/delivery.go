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
}

// expect counts the deliveries of a message that is being sent. With fewer subscribers than it needs,
// they are dropped: nobody could get it.
func (d *device) expect(turn int64, intended, free, sent time.Time) {
	d.mu.Lock()
	d.marked = turn + 1
	d.mu.Unlock()
	n := d.group.Telemetry.Deliveries
	if int(d.fleet.subscribers.Load()) < n {
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

// delivered notes that a subscriber has a message of this device. A copy that it had before counts as nothing, and one that came
// after its time as none, also when that is noticed first.
func (d *device) delivered(turn int64, subscriber int, now time.Time) {
	d.mu.Lock()
	x := d.deliveries[turn]
	if x == nil || slices.Contains(x.seen, subscriber) {
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
	x.op.End(now, inTime(x.deadline, now, metrics.OK))
	d.counted(nil)
}

// arrived takes a message that a subscriber got, on the driver's goroutine. A broker sends what it
// retained when somebody subscribes: that tells nothing of how long a delivery takes.
func (d *device) arrived(body []byte, retained bool, now time.Time) {
	index, turn, ok := mark.Read(body, d.fleet.run)
	if !ok || retained {
		return
	}
	publisher := d.fleet.publishers[index]
	if publisher == nil || !publisher.sent(turn) {
		d.contradict(Contradiction{Kind: UnknownDelivery, Detail: fmt.Sprintf("message %d of device %d of the fleet", turn, index)})
		return
	}
	publisher.delivered(turn, d.index, now)
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
	}
	d.mu.Unlock()
	if x != nil {
		defer d.counted(nil)
		d.endDelivery(x, time.Now(), metrics.Failed, "the message was not sent")
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
