package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// pools are what is needed for what is sent, and by a device only while it waits for an answer.
type pools struct{ buffers, operations, sendings, draws sync.Pool }

// draw is what is needed to draw by chance. It is set to a stream's draws before each use, so that nothing depends on what came before.
type draw struct {
	pcg     rand.PCG
	context payload.Context
}

func (p *pools) init() {
	p.buffers.New = func() any { return new([]byte) }
	p.operations.New = func() any { return new(operation) }
	p.draws.New = func() any {
		x := new(draw)
		x.context.Rand = rand.New(&x.pcg)
		return x
	}
	p.sendings.New = func() any {
		s := new(sending)
		s.told = s.done
		return s
	}
}

// keptBuffer is how large a buffer may be that is used once more.
const keptBuffer = 4 << 10

// newOperation is one to be filled in and started.
func (d *device) newOperation() *operation {
	op := d.fleet.pools.operations.Get().(*operation)
	*op = operation{}
	return op
}

// started counts an operation that starts now and keeps it until its answer; it returns its id, and when it started. It was
// held up by the target until free.
func (d *device) started(series *metrics.Series, op *operation, intended, free time.Time) (rid uint64, sent time.Time) {
	sent = time.Now()
	op.Started = series.StartAfter(intended, free, sent)
	op.deadline = sent.Add(d.group.Timeout)
	if hook := d.fleet.cfg.OnReporting; hook != nil && op.reports() {
		hook(d.index, sent)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	op.told = d.versions.Told()
	if op.reports() {
		d.versions.Sending(op.connectivity)
	}
	d.lastRID++
	op.rid = d.lastRID
	d.pending = append(d.pending, op)
	return op.rid, sent
}

// ridText is an id as messages name it.
func ridText(rid uint64) string { return strconv.FormatUint(rid, 16) }

// take gives an operation up to whoever answers it, who calls counted when all is told of it; nil when somebody was first.
func (d *device) take(rid uint64) *operation {
	return d.takeIf(rid, func(*operation) bool { return true })
}

// takeIf is take for an operation that is of a sort.
func (d *device) takeIf(rid uint64, is func(*operation) bool) *operation {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.pending, func(op *operation) bool { return op.rid == rid && is(op) })
	if i < 0 {
		return nil
	}
	op := d.pending[i]
	d.makeRoom(1)
	d.pending = slices.Delete(d.pending, i, i+1)
	d.ending++
	return op
}

// counted notes that what a driver's goroutine took has its outcome, and who waits for that hears of it. op, which may be nil, is
// used no more.
func (d *device) counted(op *operation) {
	if op != nil {
		d.fleet.pools.operations.Put(op)
	}
	d.mu.Lock()
	d.ending--
	more := d.waiting.len() > 0 || d.leaving
	d.mu.Unlock()
	if more {
		d.tell()
	}
}

// makeRoom notes that n operations are about to end. The caller holds the lock.
func (d *device) makeRoom(n int) {
	if len(d.pending) >= d.group.InFlight && n > 0 {
		d.room = time.Now()
	}
}

func (op *operation) end(o metrics.Outcome) {
	now := time.Now()
	o = inTime(op.deadline, now, o)
	op.EndBecause(now, o, endReason(o))
}

// inTime is the outcome of what ends now and had time until a deadline: an answer that comes after its time-out is none, also when it is
// seen before the time-out is.
func inTime(deadline, now time.Time, o metrics.Outcome) metrics.Outcome {
	if now.After(deadline) {
		return metrics.Timeout
	}
	return o
}

// sending is a message on its way to the target. It is used once more when the driver has told what became of it.
type sending struct {
	d        *device
	rid      uint64
	answered bool   // the target answers with a message: that it has this one says nothing
	request  uint64 // of the message as a request; 0 for none
	kind     *kind  // of a message of a kind
	marked   bool   // it has deliveries
	turn     int64  // of them
	said     int64  // when it was sent, as device.said has it; 0 for what is not acknowledged
	told     func(error)
}

// publish sends a message. Unless the target answers it, its operation ends with the acknowledgement; a failed write ends both.
func (d *device) publish(conn link.Conn, m link.Message, what sending) {
	if what.said = d.says(m.QoS); m.QoS == 0 {
		what.said = 0
	}
	conn.Publish(m, d.sending(what))
}

// sending is who is told what became of something that is sent.
func (d *device) sending(what sending) (told func(error)) {
	s := d.fleet.pools.sendings.Get().(*sending)
	what.told = s.told
	*s = what
	s.d = d
	return s.told
}

// done is what became of the message.
func (s *sending) done(err error) {
	x := *s
	*s = sending{told: x.told}
	x.d.fleet.pools.sendings.Put(s)
	if err == nil && x.said != 0 {
		x.d.said.CompareAndSwap(x.said, 0) // unless more was sent since
	}
	if errors.Is(err, context.DeadlineExceeded) || x.answered && err == nil {
		return // it is waited for, as if it had gone out
	}
	switch {
	case !x.marked:
	case err != nil:
		x.d.forget(x.kind, x.turn)
	case x.kind.QoS > 0:
		x.d.taken(x.kind, x.turn)
	}
	if x.request != 0 && err != nil {
		x.d.unasked(x.request, err)
	}
	op := x.d.take(x.rid)
	if op == nil {
		return
	}
	defer x.d.counted(op)
	if err == nil {
		op.end(metrics.OK)
		return
	}
	x.d.fail(op, err)
	if op.renews {
		x.d.renewSoon()
	}
}

// fail ends an operation with an error: what the target refused says so, and what was not sent because it takes no such thing; everything else went
// with its connection.
func (d *device) fail(op *operation, err error) {
	var refused *link.RefusedError
	var unsent link.UnsupportedError
	switch {
	case errors.As(err, &unsent):
		op.EndBecause(time.Now(), metrics.Failed, unsent.Reason())
		return
	case !errors.As(err, &refused):
		op.end(metrics.Failed)
		return
	}
	now := time.Now()
	if o := inTime(op.deadline, now, refusal(refused)); o != metrics.Timeout {
		op.EndBecause(now, o, d.fleet.whys.Refused(refused, d.id))
		return
	}
	op.EndBecause(now, metrics.Timeout, endReason(metrics.Timeout))
}

// renewSoon has a token renewed once more, which was not.
func (d *device) renewSoon() {
	d.mu.Lock()
	d.soon = true
	d.mu.Unlock()
	d.tell()
}

func (d *device) getTwin(conn link.Conn, intended time.Time) {
	op := d.newOperation()
	op.twinGet = true
	rid, _ := d.started(d.group.twinGet, op, intended, intended)
	d.publish(conn, d.group.protocol.GetTwin(d.who, ridText(rid)), sending{rid: rid, answered: true})
}

// report sends the device's connectivity: {"connectivity":{"type":"cellular"}}.
func (d *device) report(conn link.Conn, turn int64, intended, free time.Time) {
	types, u := &d.group.Report.Types, d.fleet.streams.connectivity.Unit(d.index, turn)
	if turn == 0 {
		d.connectivity = types.First(u)
	} else {
		d.connectivity = types.Next(d.connectivity, u)
	}
	buffer := d.fleet.pools.buffers.Get().(*[]byte)
	body := append((*buffer)[:0], `{"connectivity":{"type":`...)
	body = payload.AppendString(body, d.connectivity)
	body = append(body, "}"...)
	if extra := d.group.Report.Extra; extra != nil {
		before := len(body)
		body = d.render(body, extra, d.fleet.streams.properties, turn, 0)
		body[before] = ',' // instead of the brace
		if len(body) == before+2 {
			body = body[:before] // no properties after all
		} else {
			body = body[:len(body)-1]
		}
	}
	body = append(body, '}')
	op := d.newOperation()
	op.connectivity, op.writes = d.connectivity, true
	rid, _ := d.started(d.group.report, op, intended, free)
	d.publish(conn, d.group.protocol.Report(d.who, ridText(rid), body), sending{rid: rid, answered: true})
	d.release(buffer, body)
}

// release gives a buffer back, as it has become.
func (d *device) release(buffer *[]byte, body []byte) {
	if cap(body) <= keptBuffer {
		*buffer = body
		d.fleet.pools.buffers.Put(buffer)
	}
}

// render appends what a source gives for the turn of the device, counted from 0, to which so many bytes are added afterwards.
func (d *device) render(body []byte, source payload.Source, draws chance.Stream, turn int64, reserve int) []byte {
	x := d.fleet.pools.draws.Get().(*draw)
	defer d.fleet.pools.draws.Put(x)
	draws.Seed(&x.pcg, d.index, turn)
	x.context.Device, x.context.Index, x.context.Seq, x.context.Now = d.id, d.index, turn+1, time.Now()
	x.context.Group, x.context.Number = d.group.Name, d.group.FirstIndex+d.index-d.group.First
	x.context.Chance, x.context.Reserve = draws.Own(d.index), reserve
	return source.Append(body, &x.context)
}

// nextTimeout is when the oldest operation runs out of time. It is found anew only when the last
// known one has passed or there was none: operations are begun in the order of their deadlines.
func (d *device) nextTimeout(known time.Time) time.Time {
	now := time.Now()
	if known.After(now) && known.Sub(now) <= d.group.Timeout {
		return known
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	first := now.Add(never)
	if len(d.pending) > 0 {
		first = d.pending[0].deadline
	}
	return d.firstDue(first)
}

// sweep ends the operations whose time is up.
func (d *device) sweep(now time.Time) {
	d.sweepDeliveries(now)
	d.mu.Lock()
	n := 0
	for n < len(d.pending) && !d.pending[n].deadline.After(now) {
		n++
	}
	if n == 0 {
		d.mu.Unlock()
		return
	}
	d.makeRoom(n)
	late := slices.Clone(d.pending[:n])
	d.pending = slices.Delete(d.pending, 0, n)
	d.mu.Unlock()
	for _, op := range late {
		op.end(metrics.Timeout)
		if op.renews {
			d.renewSoon()
		}
		d.fleet.pools.operations.Put(op)
	}
}

// endPending ends the operations whose connection ended: it was lost, or nobody waits any more. Those that the session has under way go on over
// a loss.
func (d *device) endPending(o metrics.Outcome) {
	d.mu.Lock()
	var left []*operation
	d.pending = slices.DeleteFunc(d.pending, func(op *operation) bool {
		ends := !op.stays || o != metrics.Failed
		if ends {
			left = append(left, op)
		}
		return ends
	})
	d.mu.Unlock()
	for _, op := range left {
		op.end(o)
		d.fleet.pools.operations.Put(op)
	}
}
