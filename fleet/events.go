package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/metrics"
)

// received takes what the target sent, on the driver's goroutine.
func (d *device) received(m link.Message) {
	now := time.Now()
	if d.group.Subscribe != nil {
		d.arrived(m.Payload, m.Retain, now)
		return
	}
	topic, err := iothub.ParseTopic(m.Topic)
	if err != nil {
		return
	}
	switch topic.Kind {
	case iothub.TopicTwinResponse:
		d.answered(topic, m.Payload, now)
	case iothub.TopicDesired:
		d.mu.Lock()
		d.versions.desired = max(d.versions.desired, topic.Version)
		d.mu.Unlock()
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
	outcome := op.inTime(now, statusOutcome(topic.Status))
	reason := statusReason(topic.Status)
	if outcome == metrics.Timeout {
		reason = ""
	}
	op.EndBecause(now, outcome, reason)
	d.settle(op, topic, body)
	if outcome != metrics.OK {
		d.fleet.log.Debug("the target refused", "device", d.id, "status", topic.Status)
		return
	}
	switch {
	case op.twinGet:
		// It is told of before reports that are acknowledged after it: the device's goroutine may come to it later.
		e := event{desired: bytes.Clone(body), complete: true}
		if desired, properties, version, ok := e.parse(); ok {
			d.toldDesired(&e, desired, properties, version)
		}
		d.tell(e)
	case op.reports():
		r := Report{Index: d.index, Connectivity: op.connectivity, Version: topic.Version, Acked: now, Sent: op.Sent, Answered: op.answers}
		d.mu.Lock()
		switch {
		case op.connectivity != "" && r.Version >= d.acked.Version:
			d.acked, d.versions.same = r, 0
		case op.connectivity == "" && r.Version == d.acked.Version+d.versions.same+1:
			d.versions.same++
		}
		d.mu.Unlock()
		if d.fleet.cfg.OnReported != nil {
			d.fleet.cfg.OnReported(r)
		}
	}
}

// settle holds the answer to a twin request against what the target told before.
func (d *device) settle(op *operation, topic iothub.Topic, body []byte) {
	var twin struct {
		Desired, Reported struct {
			Version int64 `json:"$version"`
		}
	}
	if op.twinGet && (topic.Status >= 300 || json.Unmarshal(body, &twin) != nil) {
		return
	}
	var found []Contradiction
	add := func(c Contradiction, bad bool) {
		if bad {
			found = append(found, c)
		}
	}
	d.mu.Lock()
	v := &d.versions
	switch {
	case op.twinGet:
		add(v.read(op.told, twin.Reported.Version))
		add(v.readDesired(op.told, twin.Desired.Version))
	case !op.reports():
	case topic.Status < 300:
		add(v.accept(op.told, op.connectivity, topic.Version))
	case topic.Status < 500: // above, the target may have carried it out
		v.refuse(op.connectivity)
	}
	d.mu.Unlock()
	for _, c := range found {
		d.contradict(c)
	}
}

// reports says whether the operation writes reported properties.
func (op *operation) reports() bool { return op.connectivity != "" || op.answers > 0 }

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
	desired, properties, version, ok := e.parse()
	if !ok || (!e.complete && version <= d.desiredVersion) {
		return // older than what the twin said at connecting
	}
	d.desiredVersion = version
	if !e.complete {
		d.toldDesired(&e, desired, properties, version)
	}
	if d.group.Answer && len(properties) > 0 && version > d.answeredVersion {
		d.answeredVersion = version
		d.answerDesired(conn, properties, version)
	}
}

// parse is the desired properties that an event brings, without their version.
func (e *event) parse() (desired json.RawMessage, properties map[string]json.RawMessage, version int64, ok bool) {
	desired = e.desired
	if e.complete {
		var twin struct {
			Desired json.RawMessage `json:"desired"`
		}
		if json.Unmarshal(e.desired, &twin) != nil {
			return nil, nil, 0, false
		}
		desired = twin.Desired
	}
	if json.Unmarshal(desired, &properties) != nil {
		return nil, nil, 0, false
	}
	version, err := strconv.ParseInt(string(properties["$version"]), 10, 64)
	delete(properties, "$version")
	return desired, properties, version, err == nil
}

// toldDesired hands on that the device was told of desired properties.
func (d *device) toldDesired(e *event, desired json.RawMessage, properties map[string]json.RawMessage, version int64) {
	if hook := d.fleet.cfg.OnDesired; hook != nil && len(properties) > 0 {
		hook(DesiredUpdate{Index: d.index, Device: d.id, Group: d.group.Name, Complete: e.complete, Version: version, JSON: desired, At: time.Now()})
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
	now := time.Now()
	rid := d.begin(d.group.report, &operation{answers: version}, now, now)
	d.ask(conn, rid, iothub.ReportTopic(rid), body)
}

// answerMethod puts the answer to a direct method on the agenda, after the group's delay.
func (d *device) answerMethod(a *agenda, e event) {
	d.fleet.chance.methods.Seed(&d.pcg, d.index, d.turns.methods)
	d.turns.methods++
	a.answers = append(a.answers, delayedAnswer{
		at: time.Now().Add(d.group.Methods.Delay.Draw(&d.rng)),
		message: link.Message{
			Topic:   iothub.MethodResponseTopic(d.group.Methods.Status, e.rid),
			Payload: fmt.Appendf(nil, `{"method":%q}`, e.method),
		},
	})
}
