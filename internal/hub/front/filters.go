package front

import (
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/iothub/username"
)

// filterKind is a topic filter that a device or a module may subscribe to. There are fewer of them
// than the five filters that the service allows a device (iot-hub-mqtt-support).
type filterKind uint8

const (
	filterTwinResponses filterKind = iota
	filterDesired
	filterMethods
	filterC2D
	filterModule       // all topics of a module
	filterModuleInputs // its inputs
	filterKinds        // how many there are
)

// filterSet holds the filters of a device: the granted QoS plus 1, or 0 for what it did not subscribe to.
type filterSet [filterKinds]byte

// kindOf is the kind of a filter; false when the device may not have it.
func kindOf(filter string, user username.Name) (filterKind, bool) {
	if !topics.ValidFilter(filter, user.DeviceID, user.ModuleID) {
		return 0, false
	}
	switch filter {
	case topics.FilterTwinResponses:
		return filterTwinResponses, true
	case topics.FilterDesired:
		return filterDesired, true
	case topics.FilterMethods:
		return filterMethods, true
	}
	switch {
	case user.ModuleID == "":
		return filterC2D, true
	case filter[len(filter)-len("inputs/#"):] == "inputs/#":
		return filterModuleInputs, true
	default:
		return filterModule, true
	}
}
