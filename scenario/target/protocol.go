package target

import (
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/fleet/protocol/iothub"
	"github.com/twinfleet/twinfleet/fleet/protocol/plain"
)

// Topics are what the scenario names of the messages of its devices, for targets where it names them. Both functions must be
// safe for concurrent use.
type Topics struct {
	Telemetry func(protocol.Device) string        // where a device sends its messages; required
	Filters   func(protocol.Device) []link.Filter // what a device listens to; nil for nothing
}

// Protocol is what devices say to targets of the kind over a transport.
func (k Kind) Protocol(t Topics, over DeviceTransport) protocol.Protocol {
	switch {
	case k == Broker:
		return plain.Protocol{Topic: t.Telemetry, Listen: t.Filters}
	case !over.Twins():
		return iothub.Sender{}
	}
	return iothub.Protocol{}
}
