package front

import (
	"bytes"
	"context"

	"github.com/twinfleet/twinfleet/internal/hub/calls"
	"github.com/twinfleet/twinfleet/internal/hub/filters"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// InvokeMethod calls a direct method and waits for the device's answer until ctx ends. It returns
// iothub.ErrDeviceNotOnline for a device that is not connected or not subscribed to methods, and
// iothub.ErrMethodTimeout when ctx ended first. The name must be usable as one level of a topic.
func (f *Front) InvokeMethod(ctx context.Context, deviceID, name string, payload []byte) (int, []byte, error) {
	c := f.lookup(deviceID)
	if c == nil || !c.subscribed(filters.Methods) {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	var rid string
	var answer <-chan calls.Answer
	f.device(c.client, func(d *deviceState) { rid, answer = d.calls.Begin() })
	defer f.device(c.client, func(d *deviceState) { d.calls.End(rid) })
	topic := topics.MethodRequest(name, rid)
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
	c.front.device(c.client, func(d *deviceState) {
		if d.conn == c {
			d.calls.Answer(topic.RequestID, calls.Answer{Status: topic.Status, Payload: bytes.Clone(payload)})
		}
	})
	return nil
}
