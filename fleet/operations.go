package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/metrics"
)

// begin counts an operation that starts now and keeps it until its answer; it returns its id.
func (d *device) begin(op *operation) string {
	op.sent = time.Now()
	op.deadline = op.sent.Add(d.group.Timeout)
	op.series.Start(op.intended, op.sent)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastRID++
	rid := strconv.FormatUint(d.lastRID, 16)
	d.pending[rid] = op
	return rid
}

// take gives an operation up to whoever answers it; nil when somebody was first.
func (d *device) take(rid string) *operation {
	d.mu.Lock()
	defer d.mu.Unlock()
	op := d.pending[rid]
	delete(d.pending, rid)
	return op
}

func (op *operation) end(o metrics.Outcome) {
	op.series.ObserveBecause(op.intended, op.sent, time.Now(), o, endReason(o))
}

// ask publishes a twin request. The hub's response is its acknowledgement; a failed write ends it.
func (d *device) ask(conn link.Conn, rid, topic string, body []byte) {
	conn.Publish(link.Message{Topic: topic, Payload: body}, func(err error) {
		if err == nil {
			return
		}
		if op := d.take(rid); op != nil {
			op.end(metrics.Failed)
		}
	})
}

func (d *device) getTwin(conn link.Conn, intended time.Time) {
	rid := d.begin(&operation{series: d.group.twinGet, intended: intended, twinGet: true})
	d.ask(conn, rid, iothub.TwinGetTopic(rid), []byte(" "))
}

// report sends the device's connectivity: {"connectivity":{"type":"cellular"}}.
func (d *device) report(conn link.Conn, intended time.Time) {
	d.reports++
	d.connectivity = d.nextConnectivity()
	body := make([]byte, 0, 64)
	body = append(body, `{"connectivity":{"type":`...)
	body = strconv.AppendQuote(body, d.connectivity)
	body = append(body, "}"...)
	if extra := d.group.Report.Extra; extra != nil {
		rendered := extra.Append(nil, &payload.Context{Device: d.id, Seq: d.reports, Now: time.Now(), Rand: d.chance})
		if len(rendered) > 2 {
			body = append(append(body, ','), rendered[1:len(rendered)-1]...)
		}
	}
	body = append(body, '}')
	rid := d.begin(&operation{series: d.group.report, intended: intended, connectivity: d.connectivity})
	d.ask(conn, rid, iothub.ReportTopic(rid), body)
}

func (d *device) nextConnectivity() string {
	r := &d.group.Report
	if r.Next != nil && d.connectivity != "" {
		if next, ok := r.Next[d.connectivity]; ok && !next.Empty() {
			return next.Pick(d.chance.Float64())
		}
		return d.connectivity
	}
	return r.Types.Pick(d.chance.Float64())
}

// send sends one telemetry message. It waits in pending for its acknowledgement like a twin request.
func (d *device) send(conn link.Conn, intended time.Time) {
	d.messages++
	body := []byte("{}")
	if t := d.group.Telemetry.Payload; t != nil {
		body = t.Append(nil, &payload.Context{Device: d.id, Seq: d.messages, Now: time.Now(), Rand: d.chance})
	}
	rid := d.begin(&operation{series: d.group.telemetry, intended: intended})
	m := link.Message{Topic: d.fleet.cfg.Target.TelemetryTopic(d.index, d.id), Payload: body, QoS: d.group.Telemetry.QoS, Retain: d.group.Telemetry.Retain}
	conn.Publish(m, func(err error) {
		op := d.take(rid)
		switch {
		case op == nil:
		case err != nil:
			op.end(metrics.Failed)
		default:
			op.end(metrics.OK)
		}
	})
}

// received takes what the target sent, on the driver's goroutine.
func (d *device) received(m link.Message) {
	now := time.Now()
	topic, err := iothub.ParseTopic(m.Topic)
	if err != nil {
		return
	}
	switch topic.Kind {
	case iothub.TopicTwinResponse:
		d.answered(topic, m.Payload, now)
	case iothub.TopicDesired:
		d.tell(event{desired: bytes.Clone(m.Payload), version: topic.Version})
	case iothub.TopicMethodRequest:
		d.tell(event{method: topic.Method, rid: topic.RequestID})
	}
}

// tell gives an event to the device's goroutine. It drops what a device cannot keep up with: the
// driver must not wait, and a real device would be as deaf.
func (d *device) tell(e event) {
	select {
	case d.events <- e:
	default:
		d.fleet.log.Warn("a device cannot keep up with what it is sent", "device", d.id)
	}
}

func (d *device) answered(topic iothub.Topic, body []byte, now time.Time) {
	op := d.take(topic.RequestID)
	if op == nil {
		return // it came after its time-out
	}
	outcome := statusOutcome(topic.Status)
	op.series.ObserveBecause(op.intended, op.sent, now, outcome, statusReason(topic.Status))
	if outcome != metrics.OK {
		d.fleet.log.Debug("the target refused", "device", d.id, "status", topic.Status)
		return
	}
	switch {
	case op.twinGet:
		d.tell(event{desired: bytes.Clone(body), complete: true})
	case op.connectivity != "":
		d.mu.Lock()
		newer := topic.Version >= d.acked.Version
		if newer {
			d.acked = Report{d.index, op.connectivity, topic.Version, now}
		}
		r := d.acked
		d.mu.Unlock()
		if newer && d.fleet.cfg.OnReported != nil {
			d.fleet.cfg.OnReported(r)
		}
	}
}

// statusOutcome sorts the status of a twin response.
func statusOutcome(status int) metrics.Outcome {
	switch {
	case status < 300:
		return metrics.OK
	case status == 429:
		return metrics.Throttled
	case status == 401 || status == 403:
		return metrics.Refused
	default:
		return metrics.Failed
	}
}

// act does what an event asks for.
func (d *device) act(conn link.Conn, a *agenda, e event) {
	if e.method != "" {
		d.answerMethod(a, e)
		a.answer(conn, time.Now())
		return
	}
	desired := e.desired
	if e.complete {
		var twin struct {
			Desired json.RawMessage `json:"desired"`
		}
		if json.Unmarshal(e.desired, &twin) != nil {
			return
		}
		desired = twin.Desired
	}
	var properties map[string]json.RawMessage
	if json.Unmarshal(desired, &properties) != nil {
		return
	}
	version, err := strconv.ParseInt(string(properties["$version"]), 10, 64)
	if err != nil || (!e.complete && version <= d.desiredVersion) {
		return // older than what the twin said at connecting
	}
	d.desiredVersion = version
	delete(properties, "$version")
	if hook := d.fleet.cfg.OnDesired; hook != nil && len(properties) > 0 {
		hook(DesiredUpdate{Index: d.index, Device: d.id, Group: d.group.Name, Complete: e.complete, Version: version, JSON: desired, At: time.Now()})
	}
	if d.group.Answer && len(properties) > 0 && version > d.answeredVersion {
		d.answeredVersion = version
		d.answerDesired(conn, properties, version)
	}
}

// acknowledgement is how IoT Plug and Play answers a writable property (iot-develop: concepts-convention).
type acknowledgement struct {
	Value   json.RawMessage `json:"value"`
	Status  int             `json:"ac"`
	Version int64           `json:"av"`
	Text    string          `json:"ad"`
}

func (d *device) answerDesired(conn link.Conn, properties map[string]json.RawMessage, version int64) {
	answer := make(map[string]any, len(properties))
	for name, value := range properties {
		if string(value) == "null" {
			answer[name] = nil
			continue
		}
		answer[name] = acknowledgement{value, 200, version, "applied"}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		d.fleet.log.Error("answering desired properties", "device", d.id, "error", err)
		return
	}
	rid := d.begin(&operation{series: d.group.report, intended: time.Now()})
	d.ask(conn, rid, iothub.ReportTopic(rid), body)
}

// answerMethod puts the answer to a direct method on the agenda, after the group's delay.
func (d *device) answerMethod(a *agenda, e event) {
	a.answers = append(a.answers, delayedAnswer{
		at: time.Now().Add(d.group.Methods.Delay.Draw(d.timing)),
		message: link.Message{
			Topic:   iothub.MethodResponseTopic(d.group.Methods.Status, e.rid),
			Payload: fmt.Appendf(nil, `{"method":%q}`, e.method),
		},
	})
}

// nextTimeout is when the oldest operation runs out of time. It is looked up only when the last
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
	return first
}

// sweep ends the operations whose time is up.
func (d *device) sweep(now time.Time) {
	d.mu.Lock()
	var late []*operation
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

// failPending ends the operations whose connection ended. Those of a device that was stopped say
// nothing about the target.
func (d *device) failPending() {
	d.mu.Lock()
	left := d.pending
	d.pending = make(map[string]*operation)
	d.mu.Unlock()
	for _, op := range left {
		if d.halted() {
			op.series.Abandon()
		} else {
			op.end(metrics.Failed)
		}
	}
}
