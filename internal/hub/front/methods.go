package front

import (
	"bytes"
	"context"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// methodCalls are the direct method calls of a device that wait for its answer.
type methodCalls struct {
	last    uint64
	waiting map[string]chan methodAnswer
}

type methodAnswer struct {
	status  int
	payload []byte
	err     error
}

// failAll ends all calls: the connection that they went over is gone. The caller holds the shard's lock.
func (m *methodCalls) failAll(err error) {
	for rid, answer := range m.waiting {
		answer <- methodAnswer{err: err}
		delete(m.waiting, rid)
	}
}

// InvokeMethod calls a direct method and waits for the device's answer until ctx ends. It returns
// iothub.ErrDeviceNotOnline for a device that is not connected or not subscribed to methods, and
// iothub.ErrMethodTimeout when ctx ended first. The name must be usable as one level of a topic.
func (f *Front) InvokeMethod(ctx context.Context, deviceID, name string, payload []byte) (int, []byte, error) {
	c := f.lookup(deviceID)
	if c == nil || !c.subscribed(filterMethods) {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	answer := make(chan methodAnswer, 1)
	var rid string
	f.device(c.client, func(d *deviceState) {
		d.methods.last++
		rid = strconv.FormatUint(d.methods.last, 16)
		if d.methods.waiting == nil {
			d.methods.waiting = make(map[string]chan methodAnswer)
		}
		d.methods.waiting[rid] = answer
	})
	defer f.device(c.client, func(d *deviceState) { delete(d.methods.waiting, rid) })
	topic := topics.MethodRequest(name, rid)
	if err := c.write(func(b []byte) []byte { return mqtt.AppendPublish(b, topic, payload, 0, false, false, 0) }); err != nil {
		return 0, nil, iothub.ErrDeviceNotOnline
	}
	select {
	case a := <-answer:
		return a.status, a.payload, a.err
	case <-ctx.Done():
		return 0, nil, iothub.ErrMethodTimeout
	}
}

// methodAnswered gives a device's answer to the call that waits for it. A late one is dropped.
func (c *conn) methodAnswered(topic topics.Topic, payload []byte) error {
	c.front.device(c.client, func(d *deviceState) {
		if d.conn != c {
			return
		}
		if answer, ok := d.methods.waiting[topic.RequestID]; ok {
			delete(d.methods.waiting, topic.RequestID)
			answer <- methodAnswer{status: topic.Status, payload: bytes.Clone(payload)}
		}
	})
	return nil
}
