// Package protocol is what devices say and hear: the topics and bodies of a dialect of MQTT, below which lies package link.
package protocol

import (
	"encoding/json"

	"github.com/twinfleet/twinfleet/fleet/link"
)

// Device is one whose messages are meant.
type Device struct {
	Index int    // in the fleet, from 0
	ID    string // as the target knows it
}

// Protocol is a dialect. It is safe for concurrent use.
type Protocol interface {
	// Twins reports whether devices have twins. Without them only Filters, Telemetry and Parse are asked.
	Twins() bool
	// Filters are what a device subscribes to with every connection; nil for nothing.
	Filters(d Device) []link.Filter
	// Report writes reported properties, a JSON object. Its answer names rid.
	Report(d Device, rid string, patch []byte) link.Message
	// GetTwin asks for the twin. Its answer names rid; Twin reads its body.
	GetTwin(d Device, rid string) link.Message
	// Twin reads the body of an answer to GetTwin.
	Twin(body []byte) (Twin, error)
	// MethodResult answers the call of a direct method that named rid.
	MethodResult(d Device, rid string, status int, body []byte) link.Message
	// Telemetry is the topic of a device's own messages.
	Telemetry(d Device) string
	// Parse sorts a message that arrived; ok is false for one that means nothing to a device. It must be quick.
	Parse(m link.Message) (in Inbound, ok bool)
}

// Kind is what an Inbound is.
type Kind uint8

// The kinds of what arrives.
const (
	Answer  Kind = iota + 1 // to Report or GetTwin: RID, Status, Version when it is told, Body
	Desired                 // desired properties have changed: Version, Body holds what has
	Call                    // of a direct method: RID, Method, Body
	Arrived                 // a message of somebody's
)

// Inbound is a message that arrived.
type Inbound struct {
	Kind    Kind   // says which of the fields below are set
	RID     string // of the request that is answered, or of the call that wants an answer
	Status  int    // as HTTP has it: below 300 for good, 429 for throttled
	Version int64  // of the reported properties, or of the desired ones; 0 when it is not told
	Method  string // name
	Body    []byte // the message's own: kept only as long as that
}

// Twin is what a device reads of its twin.
type Twin struct {
	Desired         json.RawMessage // the whole section, a JSON object; it may hold members that begin with "$"
	DesiredVersion  int64           // 0 when it is not told
	ReportedVersion int64           // likewise
}
