// Package shadow is the dialect of AWS IoT's device shadows (iot/latest/developerguide/device-shadow-mqtt): the reported state
// of a thing, without direct methods.
package shadow

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
)

// Protocol is the dialect. The names of the messages are the user's.
type Protocol struct {
	Topic func(protocol.Device) string // where a device sends its messages; required
}

var _ protocol.Protocol = Protocol{}

func topic(d protocol.Device, rest string) string { return "$aws/things/" + d.ID + "/shadow/" + rest }

// Twins implements protocol.Protocol.
func (Protocol) Twins() bool { return true }

// Filters implements protocol.Protocol.
func (Protocol) Filters(d protocol.Device) []link.Filter {
	var all []link.Filter
	for _, rest := range []string{"update/accepted", "update/rejected", "update/delta", "get/accepted", "get/rejected"} {
		all = append(all, link.Filter{Topic: topic(d, rest)})
	}
	return all
}

// Report implements protocol.Protocol. The service hands the token back.
func (Protocol) Report(d protocol.Device, rid string, patch []byte) link.Message {
	return link.Message{Topic: topic(d, "update"), Payload: fmt.Appendf(nil, `{"state":{"reported":%s},"clientToken":%q}`, patch, rid)}
}

// GetTwin implements protocol.Protocol.
func (Protocol) GetTwin(d protocol.Device, rid string) link.Message {
	return link.Message{Topic: topic(d, "get"), Payload: fmt.Appendf(nil, `{"clientToken":%q}`, rid)}
}

// document is what the service sends.
type document struct {
	State struct {
		Desired json.RawMessage `json:"desired"`
	} `json:"state"`
	Token   string `json:"clientToken"`
	Version int64  `json:"version"`
	Code    int    `json:"code"`
}

// Twin implements protocol.Protocol.
func (Protocol) Twin(body []byte) (protocol.Twin, error) {
	var d document
	if err := json.Unmarshal(body, &d); err != nil {
		return protocol.Twin{}, fmt.Errorf("reading a shadow: %w", err)
	}
	return protocol.Twin{Desired: d.State.Desired, DesiredVersion: d.Version, ReportedVersion: d.Version}, nil
}

// MethodResult implements protocol.Protocol; nobody calls it.
func (Protocol) MethodResult(protocol.Device, string, int, []byte) link.Message {
	return link.Message{}
}

// Telemetry implements protocol.Protocol.
func (p Protocol) Telemetry(d protocol.Device) string { return p.Topic(d) }

// Parse implements protocol.Protocol.
func (Protocol) Parse(m link.Message) (in protocol.Inbound, ok bool) {
	_, rest, found := strings.Cut(m.Topic, "/shadow/")
	var d document
	if !found || json.Unmarshal(m.Payload, &d) != nil {
		return in, false
	}
	switch rest {
	case "update/accepted", "get/accepted":
		return protocol.Inbound{Kind: protocol.Answer, RID: d.Token, Status: 200, Version: d.Version, Body: m.Payload}, true
	case "update/rejected", "get/rejected":
		return protocol.Inbound{Kind: protocol.Answer, RID: d.Token, Status: d.Code, Body: m.Payload}, true
	case "update/delta":
		return protocol.Inbound{Kind: protocol.Desired, Version: d.Version, Body: m.Payload}, true
	}
	return in, false
}
