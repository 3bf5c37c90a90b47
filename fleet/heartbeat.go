package fleet

import (
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/metrics"
)

// Heartbeat has each device say on its topic, every so often, that it is there.
func Heartbeat(every time.Duration, topic func(protocol.Device) string) Activity {
	return Activity{Operation: metrics.OpHeartbeat, Every: every, Start: func(t *Turn) {
		t.Publish(link.Message{Topic: topic(t.Device), Payload: []byte("{}"), QoS: 1})
	}}
}
