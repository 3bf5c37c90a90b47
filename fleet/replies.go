package fleet

import (
	"bytes"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/fleet/mark"
	"github.com/twinfleet/twinfleet/metrics"
)

// withCorrelation are the properties of a request, with the correlation data that its response will have: it names run, device and request,
// for others may have their responses on the same topic.
func (d *device) withCorrelation(p *link.Properties, k *kind, request uint64) *link.Properties {
	var x link.Properties
	if p != nil {
		x = *p
	}
	x.Correlation = mark.Append(nil, d.fleet.run, mark.Mark{Device: d.index, Kind: k.number, Turn: int64(request)})
	return &x
}

// unasked ends a request that was not sent.
func (d *device) unasked(request uint64, err error) {
	if op := d.take(request); op != nil {
		defer d.counted(op)
		d.fail(op, err)
	}
}

// replyTopics are the filters that the responses to a device's requests come by, with the identifier of the SUBSCRIBE that they are a part of.
func (d *device) replyTopics(id uint32) (all []link.Filter) {
	for _, k := range d.group.kinds {
		if k.request == nil {
			continue
		}
		if p := k.Telemetry.Properties(d.who); p != nil {
			all = append(all, link.Filter{Topic: p.ResponseTopic, QoS: k.QoS, ID: id})
		}
	}
	return all
}

// isResponse reports whether a message answers a request.
func isResponse(m link.Message) bool {
	p := m.Properties
	return p != nil && len(p.Correlation) > 0 && p.ResponseTopic == ""
}

// replied takes the response to a request, on the driver's goroutine; it is false for any other message.
func (d *device) replied(m link.Message, now time.Time) bool {
	if !d.group.requests || !isResponse(m) {
		return false
	}
	of, ok := mark.ReadText(string(m.Properties.Correlation), d.fleet.run)
	if !ok || of.Device != d.index {
		return false // somebody else's
	}
	op := d.takeIf(uint64(of.Turn), func(op *operation) bool { return op.asks })
	if op == nil {
		return true // it came after its time-out, or once more
	}
	defer d.counted(op)
	op.EndBecause(now, inTime(op.deadline, now, metrics.OK), "")
	return true
}

// respond answers a request, on the driver's goroutine, when the group's devices do so.
func (d *device) respond(m link.Message) {
	if !d.group.Respond || m.Properties == nil || m.Properties.ResponseTopic == "" {
		return
	}
	d.mu.Lock()
	conn := d.opened.conn
	d.mu.Unlock()
	if conn == nil {
		return
	}
	p := &link.Properties{Correlation: bytes.Clone(m.Properties.Correlation)}
	d.says(0) // nobody hears of its acknowledgement
	conn.Publish(link.Message{Topic: strings.Clone(m.Properties.ResponseTopic), Payload: m.Payload, QoS: m.QoS, Properties: p},
		func(error) {}) // who asked counts a response that does not come
}
