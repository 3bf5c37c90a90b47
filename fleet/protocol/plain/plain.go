// Package plain is the dialect of a plain MQTT broker: topics that the user names, and no twins.
package plain

import (
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
)

// Protocol is topics by device. Both functions must be safe for concurrent use.
type Protocol struct {
	Topic  func(d protocol.Device) string        // where a device sends its messages; required
	Listen func(d protocol.Device) []link.Filter // what a device listens to; nil for nothing
}

var _ protocol.Protocol = Protocol{}

// Twins implements protocol.Protocol.
func (Protocol) Twins() bool { return false }

// Filters implements protocol.Protocol.
func (p Protocol) Filters(d protocol.Device) []link.Filter {
	if p.Listen == nil {
		return nil
	}
	return p.Listen(d)
}

// Telemetry implements protocol.Protocol.
func (p Protocol) Telemetry(d protocol.Device) string { return p.Topic(d) }

// Parse implements protocol.Protocol: every message is somebody's.
func (Protocol) Parse(m link.Message) (in protocol.Inbound, ok bool) {
	return protocol.Inbound{Kind: protocol.Arrived, Body: m.Payload}, true
}

// Report implements protocol.Protocol; nobody calls it.
func (Protocol) Report(protocol.Device, string, []byte) link.Message { return link.Message{} }

// GetTwin implements protocol.Protocol; nobody calls it.
func (Protocol) GetTwin(protocol.Device, string) link.Message { return link.Message{} }

// Twin implements protocol.Protocol; nobody calls it.
func (Protocol) Twin([]byte) (protocol.Twin, error) { return protocol.Twin{}, nil }

// MethodResult implements protocol.Protocol; nobody calls it.
func (Protocol) MethodResult(protocol.Device, string, int, []byte) link.Message {
	return link.Message{}
}
