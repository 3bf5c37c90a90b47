// Package iothub is the dialect of Azure IoT Hub (iot-mqtt-connect-to-iot-hub).
package iothub

import (
	"encoding/json"
	"fmt"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
)

// Protocol is the dialect; it has no state.
type Protocol struct{}

var _ protocol.Protocol = Protocol{}

// Twins implements protocol.Protocol.
func (Protocol) Twins() bool { return true }

// Filters implements protocol.Protocol: answers, desired properties and direct methods.
func (Protocol) Filters(protocol.Device) []link.Filter {
	return []link.Filter{{Topic: topics.FilterTwinResponses}, {Topic: topics.FilterDesired}, {Topic: topics.FilterMethods}}
}

// Report implements protocol.Protocol.
func (Protocol) Report(_ protocol.Device, rid string, patch []byte) link.Message {
	return link.Message{Topic: topics.Report(rid), Payload: patch}
}

// GetTwin implements protocol.Protocol.
func (Protocol) GetTwin(_ protocol.Device, rid string) link.Message {
	return link.Message{Topic: topics.TwinGet(rid), Payload: []byte(" ")}
}

// Twin implements protocol.Protocol.
func (Protocol) Twin(body []byte) (protocol.Twin, error) {
	var twin struct {
		Desired  json.RawMessage
		Reported struct {
			Version int64 `json:"$version"`
		}
	}
	var desired struct {
		Version int64 `json:"$version"`
	}
	err := json.Unmarshal(body, &twin)
	if err == nil && twin.Desired != nil {
		err = json.Unmarshal(twin.Desired, &desired)
	}
	if err != nil {
		return protocol.Twin{}, fmt.Errorf("reading a twin: %w", err)
	}
	return protocol.Twin{Desired: twin.Desired, DesiredVersion: desired.Version, ReportedVersion: twin.Reported.Version}, nil
}

// MethodResult implements protocol.Protocol.
func (Protocol) MethodResult(_ protocol.Device, rid string, status int, body []byte) link.Message {
	return link.Message{Topic: topics.MethodResponse(status, rid), Payload: body}
}

// Telemetry implements protocol.Protocol.
func (Protocol) Telemetry(d protocol.Device) string { return topics.Telemetry(d.ID, nil) }

// Parse implements protocol.Protocol.
func (Protocol) Parse(m link.Message) (in protocol.Inbound, ok bool) {
	topic, err := topics.Parse(m.Topic)
	if err != nil {
		return in, false
	}
	switch topic.Kind {
	case topics.KindTwinResponse:
		return protocol.Inbound{Kind: protocol.Answer, RID: topic.RequestID, Status: topic.Status, Version: topic.Version, Body: m.Payload}, true
	case topics.KindDesired:
		return protocol.Inbound{Kind: protocol.Desired, Version: topic.Version, Body: m.Payload}, true
	case topics.KindMethodRequest:
		return protocol.Inbound{Kind: protocol.Call, RID: topic.RequestID, Method: topic.Method, Body: m.Payload}, true
	default:
		return in, false
	}
}

// Sender is the dialect of devices that send and hear nothing: over HTTPS they have no twins and no direct methods
// (iot-hub-devguide-protocols). It has no state.
type Sender struct{ Protocol }

// Twins implements protocol.Protocol.
func (Sender) Twins() bool { return false }

// Filters implements protocol.Protocol.
func (Sender) Filters(protocol.Device) []link.Filter { return nil }
