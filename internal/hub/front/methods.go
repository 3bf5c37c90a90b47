package front

import (
	"bytes"
	"context"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/hub/calls"
	"github.com/twinfleet/twinfleet/internal/hub/filters"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// InvokeMethod calls a direct method of a device or a module and waits for the answer until ctx ends. It returns
// iothub.ErrDeviceNotOnline for a device that is not connected or not subscribed to methods,
// iothub.ErrMethodTimeout when ctx ended first, and iothub.ErrMessageTooLarge for what no packet holds. The name must be usable as
// one level of a topic.
func (f *Front) InvokeMethod(ctx context.Context, client, name string, payload []byte) (int, []byte, error) {
	c := f.lookup(client)
	if c == nil || !c.subscribed(filters.Methods) {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	rid := strconv.FormatUint(f.lastCall.Add(1), 16)
	topic := topics.MethodRequest(name, rid)
	if !mqtt.PublishFits(len(topic), len(payload)) {
		return 0, nil, iothub.ErrMessageTooLarge.With("A method's name has at most %d bytes", mqtt.MaxField)
	}
	var answer <-chan calls.Answer
	f.existing(client, func(d *deviceState) {
		if d.conn == c {
			answer = d.calls.Begin(rid)
		}
	})
	if answer == nil {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	defer f.existing(client, func(d *deviceState) { d.calls.End(rid) })
	if err := c.write(func(b []byte) []byte { return mqtt.AppendPublish(b, topic, payload, 0, false, false, 0) }); err != nil {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	select {
	case a := <-answer:
		return a.Status, a.Payload, a.Err
	case <-ctx.Done():
		return 0, nil, iothub.ErrMethodTimeout
	}
}

// methodAnswered gives a device's answer to the call that waits for it. A late one is dropped.
func (c *conn) methodAnswered(topic topics.Topic, payload []byte) error {
	c.front.existing(c.client, func(d *deviceState) {
		if d.conn == c {
			d.calls.Answer(topic.RequestID, calls.Answer{Status: topic.Status, Payload: bytes.Clone(payload)})
		}
	})
	return nil
}
