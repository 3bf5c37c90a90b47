// Package filters is the topic filters that a device or a module may subscribe to (iot-hub-mqtt-support).
package filters

import (
	"slices"

	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/iothub/username"
)

// Kind is a topic filter that a device or a module may subscribe to. There are fewer of them
// than the five filters that the service allows a device (iot-hub-mqtt-support).
type Kind uint8

// The kinds.
const (
	TwinResponses Kind = iota // answers to twin requests
	Desired                   // changes of desired properties
	Methods                   // direct methods
	C2D                       // cloud-to-device messages
	Module                    // all topics of a module
	ModuleInputs              // the inputs of a module
	kinds                     // how many there are
)

// Set holds the filters of a device: the granted QoS plus 1, or 0 for what it did not subscribe to.
type Set [kinds]byte

// TakesMessages reports whether cloud-to-device messages are delivered: of a module those to one of its inputs, or the others.
func (s *Set) TakesMessages(input bool) bool {
	return s[C2D] != 0 || s[Module] != 0 || input && s[ModuleInputs] != 0
}

// setVersion is the first byte of a set that is kept.
const setVersion = 1

// Encode is a set as bytes to keep; nil for an empty one.
func (s *Set) Encode() []byte {
	if *s == (Set{}) {
		return nil
	}
	return append([]byte{setVersion}, s[:]...)
}

// Decode reads what Encode has written; false for anything else.
func Decode(b []byte) (s Set, ok bool) {
	if len(b) != 1+len(s) || b[0] != setVersion {
		return s, false
	}
	copy(s[:], b[1:])
	return s, !slices.ContainsFunc(s[:], func(granted byte) bool { return granted > 2 })
}

// KindOf is the kind of a filter; false when the device may not have it.
func KindOf(filter string, user username.Name) (Kind, bool) {
	if !topics.ValidFilter(filter, user.DeviceID, user.ModuleID) {
		return 0, false
	}
	switch filter {
	case topics.FilterTwinResponses:
		return TwinResponses, true
	case topics.FilterDesired:
		return Desired, true
	case topics.FilterMethods:
		return Methods, true
	}
	switch {
	case user.ModuleID == "":
		return C2D, true
	case filter[len(filter)-len("inputs/#"):] == "inputs/#":
		return ModuleInputs, true
	default:
		return Module, true
	}
}
