// Package topics is the MQTT topics of IoT Hub's device interface (iot-mqtt-connect-to-iot-hub).
package topics

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Kind says what a topic of the device interface is for.
type Kind uint8

// The topics of the device interface (iot-mqtt-connect-to-iot-hub).
const (
	KindUnknown        Kind = iota
	KindTwinGet             // device asks for its twin
	KindReport              // device patches its reported properties
	KindTelemetry           // device sends a message
	KindMethodResponse      // device answers a direct method
	KindTwinResponse        // hub answers a twin request
	KindDesired             // hub tells of a change of desired properties
	KindMethodRequest       // hub calls a direct method
	KindC2D                 // hub delivers a cloud-to-device message
	KindInput               // hub delivers a message to an input of a module
)

const (
	twinGetPrefix        = "$iothub/twin/GET/"
	twinReportPrefix     = "$iothub/twin/PATCH/properties/reported/"
	methodResponsePrefix = "$iothub/methods/res/"
	twinResponsePrefix   = "$iothub/twin/res/"
	desiredPrefix        = "$iothub/twin/PATCH/properties/desired/"
	methodRequestPrefix  = "$iothub/methods/POST/"
	devicesPrefix        = "devices/"
	ridParameter         = "$rid="
	versionParameter     = "$version="
)

// The topic filters a device may subscribe to, beside FilterC2D.
const (
	FilterTwinResponses = twinResponsePrefix + "#"
	FilterDesired       = desiredPrefix + "#"
	FilterMethods       = methodRequestPrefix + "#"
)

// FilterC2D is the topic filter for a device's cloud-to-device messages.
func FilterC2D(deviceID string) string { return devicesPrefix + deviceID + "/messages/devicebound/#" }

// ValidFilter reports whether a device (or module, when moduleID is not empty) may subscribe to a filter.
func ValidFilter(filter, deviceID, moduleID string) bool {
	switch filter {
	case FilterTwinResponses, FilterDesired, FilterMethods:
		return true
	}
	if moduleID == "" {
		return filter == FilterC2D(deviceID)
	}
	module := devicesPrefix + deviceID + "/modules/" + moduleID + "/"
	return filter == module+"#" || filter == module+"inputs/#" || filter == module+"messages/devicebound/#" // the last is the Java SDK's
}

// Topic is a parsed topic of the device interface. Its strings are parts of the text that was parsed.
type Topic struct {
	Kind       Kind   // never KindUnknown once parsed
	DeviceID   string // telemetry and messages of the hub
	ModuleID   string // of a module; empty for a device
	RequestID  string // $rid, as written
	Method     string // method requests
	Input      string // messages to an input of a module
	Properties string // raw property bag of telemetry and messages of the hub
	Status     int    // responses; any integer of a device, else not negative
	Version    int64  // $version, when HasVersion
	HasVersion bool
}

// ErrTopic is the class of errors for topics outside the device interface.
var ErrTopic = errors.New("not a topic of the device interface")

// Parse reads a topic of either direction. It does not allocate for topics that begin with $iothub.
func Parse(topic string) (Topic, error) {
	if rest, ok := strings.CutPrefix(topic, twinReportPrefix); ok {
		return parameters(Topic{Kind: KindReport}, rest)
	}
	if rest, ok := strings.CutPrefix(topic, twinResponsePrefix); ok {
		return statusTopic(KindTwinResponse, rest)
	}
	if rest, ok := strings.CutPrefix(topic, twinGetPrefix); ok {
		return parameters(Topic{Kind: KindTwinGet}, rest)
	}
	if rest, ok := strings.CutPrefix(topic, desiredPrefix); ok {
		return parameters(Topic{Kind: KindDesired}, rest)
	}
	if rest, ok := strings.CutPrefix(topic, methodResponsePrefix); ok {
		return statusTopic(KindMethodResponse, rest)
	}
	if rest, ok := strings.CutPrefix(topic, methodRequestPrefix); ok {
		name, rest, ok := strings.Cut(rest, "/")
		if !ok || name == "" {
			return Topic{}, ErrTopic
		}
		return parameters(Topic{Kind: KindMethodRequest, Method: name}, rest)
	}
	if rest, ok := strings.CutPrefix(topic, devicesPrefix); ok {
		return deviceTopic(rest)
	}
	return Topic{}, ErrTopic
}

func statusTopic(kind Kind, rest string) (Topic, error) {
	status, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return Topic{}, ErrTopic
	}
	n, err := strconv.Atoi(status)
	if err != nil || n < 0 && kind != KindMethodResponse || status[0] == '+' {
		return Topic{}, ErrTopic
	}
	return parameters(Topic{Kind: kind, Status: n}, rest)
}

// NoVersion stands for a $version that no twin ever has: a text that is no number, or one out of range.
const NoVersion = math.MaxInt64

// parameters reads ?$rid=…&$version=…; unknown ones are passed over, as the service does.
func parameters(t Topic, rest string) (Topic, error) {
	if rest == "" {
		return t, nil
	}
	if rest[0] != '?' {
		return Topic{}, ErrTopic
	}
	rest = rest[1:]
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "&")
		if value, ok := strings.CutPrefix(part, ridParameter); ok {
			t.RequestID = value
		} else if value, ok := strings.CutPrefix(part, versionParameter); ok {
			version, err := strconv.ParseInt(value, 10, 64)
			if err != nil || version < 0 || strings.HasPrefix(value, "+") {
				version = NoVersion // A device that asked so again and again would be lost if its connection ended.
			}
			t.Version, t.HasVersion = version, true
		}
	}
	return t, nil
}

func deviceTopic(rest string) (Topic, error) {
	var t Topic
	var ok bool
	if t.DeviceID, rest, ok = strings.Cut(rest, "/"); !ok || t.DeviceID == "" {
		return Topic{}, ErrTopic
	}
	if module, found := strings.CutPrefix(rest, "modules/"); found {
		if t.ModuleID, rest, ok = strings.Cut(module, "/"); !ok || t.ModuleID == "" {
			return Topic{}, ErrTopic
		}
		if input, found := strings.CutPrefix(rest, "inputs/"); found {
			if t.Input, t.Properties, _ = strings.Cut(input, "/"); t.Input == "" {
				return Topic{}, ErrTopic
			}
			t.Kind = KindInput
			return t, nil
		}
	}
	if bag, found := strings.CutPrefix(rest, "messages/events"); found && (bag == "" || bag[0] == '/') {
		t.Kind, t.Properties = KindTelemetry, strings.TrimPrefix(bag, "/")
		return t, nil
	}
	if bag, found := strings.CutPrefix(rest, "messages/devicebound"); found && (bag == "" || bag[0] == '/') {
		t.Kind, t.Properties = KindC2D, strings.TrimPrefix(bag, "/")
		return t, nil
	}
	return Topic{}, ErrTopic
}

// TwinGet is where a device asks for its twin.
func TwinGet(rid string) string { return twinGetPrefix + "?" + ridParameter + rid }

// Report is where a device patches its reported properties.
func Report(rid string) string { return twinReportPrefix + "?" + ridParameter + rid }

// ReportVersion is Report for a patch that holds only at a given version.
func ReportVersion(rid string, version int64) string {
	return Report(rid) + "&" + versionParameter + strconv.FormatInt(version, 10)
}

// TwinResponse is where the hub answers a twin request.
func TwinResponse(status int, rid string) string {
	return twinResponsePrefix + strconv.Itoa(status) + "/?" + ridParameter + rid
}

// ReportAccepted is TwinResponse for an accepted patch: 204 and the new version.
func ReportAccepted(rid string, version int64) string {
	return TwinResponse(204, rid) + "&" + versionParameter + strconv.FormatInt(version, 10)
}

// Desired is where the hub tells a device of changed desired properties.
func Desired(version int64) string {
	return desiredPrefix + "?" + versionParameter + strconv.FormatInt(version, 10)
}

// MethodRequest is where the hub calls a direct method.
func MethodRequest(name, rid string) string {
	return methodRequestPrefix + name + "/?" + ridParameter + rid
}

// MethodResponse is where a device answers a direct method.
func MethodResponse(status int, rid string) string {
	return methodResponsePrefix + strconv.Itoa(status) + "/?" + ridParameter + rid
}

// Telemetry is where a device sends messages.
func Telemetry(deviceID string, properties Bag) string {
	return devicesPrefix + deviceID + "/messages/events/" + properties.Encode()
}

// C2D is where the hub delivers a cloud-to-device message.
func C2D(deviceID string, properties Bag) string {
	return devicesPrefix + deviceID + "/messages/devicebound/" + properties.Encode()
}

// ModuleC2D is where the hub delivers a cloud-to-device message of a module, to one of its inputs unless that is empty.
func ModuleC2D(deviceID, moduleID, input string, properties Bag) string {
	module := devicesPrefix + deviceID + "/modules/" + moduleID
	if input == "" {
		return module + "/messages/devicebound/" + properties.Encode()
	}
	return module + "/inputs/" + input + "/" + properties.Encode()
}
