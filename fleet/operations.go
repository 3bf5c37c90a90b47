package fleet

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/fleet/mark"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// begin counts an operation that starts now and keeps it until its answer; it returns its id. It was held up by
// the target until free.
func (d *device) begin(series *metrics.Series, op *operation, intended, free time.Time) string {
	op.Started = series.StartAfter(intended, free, time.Now())
	op.deadline = op.Sent.Add(d.group.Timeout)
	if hook := d.fleet.cfg.OnReporting; hook != nil && op.reports() {
		hook(d.index, op.Sent)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	op.told = d.versions.Told()
	if op.reports() {
		d.versions.Sending(op.connectivity)
	}
	d.lastRID++
	rid := strconv.FormatUint(d.lastRID, 16)
	d.pending[rid] = op
	return rid
}

// take gives an operation up to whoever answers it, who calls counted when all is told of it; nil when somebody was first.
func (d *device) take(rid string) *operation {
	d.mu.Lock()
	op := d.pending[rid]
	if op != nil {
		d.ending++
	}
	d.makeRoom(1)
	delete(d.pending, rid)
	d.mu.Unlock()
	return op
}

// counted notes that what a driver's goroutine took has its outcome, and tells the device when something waits for that.
func (d *device) counted() {
	d.mu.Lock()
	d.ending--
	more := d.waiting.len() > 0 || d.leaving
	d.mu.Unlock()
	if more {
		d.poke()
	}
}

// awaitEnding waits until all that drivers' goroutines have taken is counted: who waits for the device reads its account.
func (d *device) awaitEnding() {
	d.leave(true)
	defer d.leave(false)
	for d.isEnding() {
		<-d.wake
	}
}

func (d *device) isEnding() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ending > 0
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

// ask publishes a twin request. The target's answer is its acknowledgement; a failed write ends it.
func (d *device) ask(conn link.Conn, rid string, m link.Message) {
	conn.Publish(m, func(err error) {
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			return // it is waited for; what did not go out has no answer
		}
		if op := d.take(rid); op != nil {
			defer d.counted()
			op.end(metrics.Failed)
		}
	})
}

func (d *device) getTwin(conn link.Conn, intended time.Time) {
	rid := d.begin(d.group.twinGet, &operation{twinGet: true}, intended, intended)
	d.ask(conn, rid, d.fleet.protocol.GetTwin(d.who, rid))
}

// report sends the device's connectivity: {"connectivity":{"type":"cellular"}}.
func (d *device) report(conn link.Conn, turn int64, intended, free time.Time) {
	types, u := &d.group.Report.Types, d.fleet.streams.connectivity.Unit(d.index, turn)
	if turn == 0 {
		d.connectivity = types.First(u)
	} else {
		d.connectivity = types.Next(d.connectivity, u)
	}
	body := make([]byte, 0, 64)
	body = append(body, `{"connectivity":{"type":`...)
	body = payload.AppendString(body, d.connectivity)
	body = append(body, "}"...)
	if extra := d.group.Report.Extra; extra != nil {
		before := len(body)
		body = d.render(body, extra, d.fleet.streams.properties, turn)
		body[before] = ',' // instead of the brace
		if len(body) == before+2 {
			body = body[:before] // no properties after all
		} else {
			body = body[:len(body)-1]
		}
	}
	body = append(body, '}')
	rid := d.begin(d.group.report, &operation{connectivity: d.connectivity, writes: true}, intended, free)
	d.ask(conn, rid, d.fleet.protocol.Report(d.who, rid, body))
}

// render appends what a source gives for the turn of the device, counted from 0.
func (d *device) render(body []byte, source payload.Source, draws chance.Stream, turn int64) []byte {
	draws.Seed(&d.pcg, d.index, turn)
	d.context.Seq, d.context.Now = turn+1, time.Now()
	return source.Append(body, &d.context)
}

// send sends one telemetry message. It waits in pending for its acknowledgement like a twin request.
func (d *device) send(conn link.Conn, turn int64, intended, free time.Time) {
	body := []byte("{}")
	if source := d.group.Telemetry.Payload; source != nil {
		body = d.render(nil, source, d.fleet.streams.payload, turn)
	}
	measured := d.group.Telemetry.Deliveries > 0
	if measured {
		body = mark.Stamp(body, d.fleet.run, d.index, turn)
	}
	if d.topic == "" {
		d.topic = d.fleet.protocol.Telemetry(d.who)
	}
	op := new(operation)
	rid := d.begin(d.group.telemetry, op, intended, free)
	if measured {
		d.expect(turn, intended, free, op.Sent)
	}
	m := link.Message{Topic: d.topic, Payload: body, QoS: d.group.Telemetry.QoS, Retain: d.group.Telemetry.Retain}
	var failed func()
	if measured {
		failed = func() { d.forget(turn) }
	}
	d.publish(conn, rid, m, failed)
}

// publish sends the message of an operation, which ends with its acknowledgement; failed, which may be nil, is told when the
// message did not go out.
func (d *device) publish(conn link.Conn, rid string, m link.Message, failed func()) {
	conn.Publish(m, func(err error) {
		if errors.Is(err, context.DeadlineExceeded) {
			return // it is waited for, as if it had gone out
		}
		if err != nil && failed != nil {
			failed()
		}
		op := d.take(rid)
		if op == nil {
			return
		}
		defer d.counted()
		if err != nil {
			op.end(metrics.Failed)
		} else {
			op.end(metrics.OK)
		}
	})
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
	for _, op := range d.pending {
		if op.deadline.Before(first) {
			first = op.deadline
		}
	}
	for _, x := range d.deliveries {
		if x.deadline.Before(first) {
			first = x.deadline
		}
	}
	return first
}

// sweep ends the operations whose time is up.
func (d *device) sweep(now time.Time) {
	d.sweepDeliveries(now)
	d.mu.Lock()
	var late []*operation
	d.makeRoom(1)
	for rid, op := range d.pending {
		if !op.deadline.After(now) {
			late = append(late, op)
			delete(d.pending, rid)
		}
	}
	d.mu.Unlock()
	for _, op := range late {
		op.end(metrics.Timeout)
	}
}

// endPending ends the operations whose connection ended: it was lost, or nobody waits any more.
func (d *device) endPending(o metrics.Outcome) {
	d.mu.Lock()
	left := d.pending
	d.pending = make(map[string]*operation)
	d.mu.Unlock()
	for _, op := range left {
		op.end(o)
	}
}
