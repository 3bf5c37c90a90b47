package front

import (
	"bytes"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/hub/calls"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// Call sends a direct method call, whose id is its request id.
func (c *conn) Call(id uint64, method string, payload []byte) error {
	topic := topics.MethodRequest(method, requestID(id))
	if !mqtt.PublishFits(len(topic), len(payload)) {
		return iothub.ErrMessageTooLarge.With("A method's name has at most %d bytes", mqtt.MaxField)
	}
	return c.write(func(b []byte) []byte { return mqtt.AppendPublish(b, topic, payload, 0, false, false, 0) })
}

func requestID(call uint64) string { return strconv.FormatUint(call, 16) }

// methodAnswered gives a device's answer to the call that waits for it.
func (c *conn) methodAnswered(topic topics.Topic, payload []byte) {
	id, err := strconv.ParseUint(topic.RequestID, 16, 64)
	if err != nil || requestID(id) != topic.RequestID {
		return // it was no request of the hub's
	}
	c.front.devices.Answer(c.client, c, id, calls.Answer{Status: topic.Status, Payload: bytes.Clone(payload)})
}
