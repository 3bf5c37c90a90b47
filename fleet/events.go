package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/internal/fleet/status"
	"github.com/twinfleet/twinfleet/internal/fleet/versions"
	"github.com/twinfleet/twinfleet/metrics"
)

// received takes what the target sent, on the driver's goroutine.
func (d *device) received(m link.Message) {
	now := time.Now()
	if d.replied(m, now) {
		return
	}
	in, ok := d.group.protocol.Parse(m)
	if !ok {
		return
	}
	switch in.Kind {
	case protocol.Answer:
		d.answered(in, now)
	case protocol.Desired:
		d.mu.Lock()
		d.versions.Desired(in.Version)
		d.mu.Unlock()
		d.hear(event{desired: bytes.Clone(in.Body), version: in.Version})
	case protocol.Call:
		d.hear(event{method: strings.Clone(in.Method), rid: strings.Clone(in.RID)})
	case protocol.Arrived:
		d.arrived(m, now)
		d.respond(m)
	}
}

// hear keeps an event for who acts. What a device cannot keep up with is dropped: a real one would be as deaf.
func (d *device) hear(e event) {
	d.mu.Lock()
	fits := len(d.events) < maxEvents
	if fits {
		d.events = append(d.events, e)
	}
	d.mu.Unlock()
	if !fits {
		d.fleet.log.Warn("a device cannot keep up with what it is sent", "device", d.id)
		return
	}
	d.tell()
}

// answered takes the answer to a twin request, on the driver's goroutine.
func (d *device) answered(in protocol.Inbound, now time.Time) {
	rid, err := strconv.ParseUint(in.RID, 16, 64)
	if err != nil {
		return // to nothing that this device asked
	}
	op := d.take(rid)
	if op == nil {
		return // it came after its time-out
	}
	defer d.counted(op)
	outcome := inTime(op.deadline, now, status.Outcome(in.Status))
	reason := ""
	if outcome != metrics.OK && outcome != metrics.Timeout {
		reason = statusReason(in.Status)
	}
	op.EndBecause(now, outcome, reason)
	twin, read := protocol.Twin{}, false
	if op.twinGet && in.Status < 300 {
		var err error
		twin, err = d.group.protocol.Twin(in.Body)
		read = err == nil
	}
	d.settle(op, in, twin, read)
	if outcome != metrics.OK {
		d.fleet.log.Debug("the target refused", "device", d.id, "status", in.Status)
		return
	}
	switch {
	case read:
		// It is told of before reports that are acknowledged after it: the device's goroutine may come to it later.
		e := event{desired: bytes.Clone(twin.Desired), complete: true, version: twin.DesiredVersion}
		if properties, version, ok := e.parse(); ok {
			d.toldDesired(&e, properties, version)
		}
		d.hear(e)
	case op.reports():
		r := Report{Index: d.index, Connectivity: op.connectivity, Version: in.Version, Acked: now, Sent: op.Sent, Answered: op.answers}
		d.mu.Lock()
		switch {
		case op.connectivity != "" && r.Version >= d.acked.Version:
			d.acked, d.same = r, 0
		case op.connectivity == "" && r.Version == d.acked.Version+d.same+1:
			d.same++
		}
		d.mu.Unlock()
		if d.fleet.cfg.OnReported != nil {
			d.fleet.cfg.OnReported(r)
		}
	}
}

// settle holds the answer to a twin request against what the target told before; read says that it gave a twin.
func (d *device) settle(op *operation, in protocol.Inbound, twin protocol.Twin, read bool) {
	if op.twinGet && !read {
		return
	}
	var found []versions.Finding
	add := func(c versions.Finding, bad bool) {
		if bad {
			found = append(found, c)
		}
	}
	d.mu.Lock()
	v := &d.versions
	switch {
	case op.twinGet:
		add(v.Read(op.told, twin.ReportedVersion))
		add(v.ReadDesired(op.told, twin.DesiredVersion))
	case !op.reports():
	case in.Status < 300:
		add(v.Accept(op.told, op.connectivity, in.Version))
	case in.Status < 500: // above, the target may have carried it out
		v.Refuse(op.connectivity)
	}
	d.mu.Unlock()
	for _, c := range found {
		d.contradict(Contradiction{Kind: kindOf(c.Kind), Detail: c.Detail})
	}
}

// reports says whether the operation writes reported properties.
func (op *operation) reports() bool { return op.writes }

// react does what an event asks for.
func (d *device) react(conn link.Conn, a *agenda, e event) {
	if e.method != "" {
		d.answerMethod(a, e)
		a.answer(conn, time.Now())
		return
	}
	properties, version, ok := e.parse()
	if !ok || (!e.complete && version <= d.desiredVersion) {
		return // older than what the twin said at connecting
	}
	d.desiredVersion = version
	if !e.complete {
		d.toldDesired(&e, properties, version)
	}
	if d.group.Answer && len(properties) > 0 && version > d.answeredVersion {
		d.answeredVersion = version
		d.answerDesired(conn, properties, version)
	}
}

// parse is the desired properties that an event brings, without their version.
func (e *event) parse() (properties map[string]json.RawMessage, version int64, ok bool) {
	if json.Unmarshal(e.desired, &properties) != nil {
		return nil, 0, false
	}
	version = e.version
	if said, ok := properties["$version"]; ok {
		var err error
		if version, err = strconv.ParseInt(string(said), 10, 64); err != nil {
			return nil, 0, false
		}
		delete(properties, "$version")
	}
	return properties, version, version > 0
}

// toldDesired hands on that the device was told of desired properties.
func (d *device) toldDesired(e *event, properties map[string]json.RawMessage, version int64) {
	if hook := d.fleet.cfg.OnDesired; hook != nil && len(properties) > 0 {
		hook(DesiredUpdate{Index: d.index, Device: d.id, Group: d.group.Name, Complete: e.complete, Version: version, JSON: e.desired, At: time.Now()})
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
	op := d.newOperation()
	op.answers, op.writes = version, true
	rid, _ := d.started(d.group.report, op, now, now)
	d.publish(conn, d.group.protocol.Report(d.who, ridText(rid), body), sending{rid: rid, answered: true})
}

// answerMethod puts the answer to a direct method on the agenda, after the group's delay.
func (d *device) answerMethod(a *agenda, e event) {
	x := d.fleet.pools.draws.Get().(*draw)
	defer d.fleet.pools.draws.Put(x)
	d.fleet.streams.methods.Seed(&x.pcg, d.index, d.turns.methods)
	d.turns.methods++
	a.answers = append(a.answers, delayedAnswer{
		at:      time.Now().Add(d.group.Methods.Delay.Draw(x.context.Rand)),
		message: d.group.protocol.MethodResult(d.who, e.rid, d.group.Methods.Status, fmt.Appendf(nil, `{"method":%q}`, e.method)),
	})
}
