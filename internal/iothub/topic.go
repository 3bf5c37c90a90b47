package iothub

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// TopicKind says what a topic of the device interface is for.
type TopicKind uint8

// The topics of the device interface (iot-mqtt-connect-to-iot-hub).
const (
	TopicUnknown        TopicKind = iota
	TopicTwinGet                  // device asks for its twin
	TopicTwinReport               // device patches its reported properties
	TopicTelemetry                // device sends a message
	TopicMethodResponse           // device answers a direct method
	TopicTwinResponse             // hub answers a twin request
	TopicDesired                  // hub tells of a change of desired properties
	TopicMethodRequest            // hub calls a direct method
	TopicC2D                      // hub delivers a cloud-to-device message
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
	return filter == module+"#" || filter == module+"inputs/#"
}

// Topic is a parsed topic of the device interface. Its strings are parts of the text that was parsed.
type Topic struct {
	Kind       TopicKind
	DeviceID   string // telemetry and cloud-to-device
	ModuleID   string
	RequestID  string // $rid, as written
	Method     string // method requests
	Properties string // raw property bag of telemetry and cloud-to-device messages
	Status     int    // responses
	Version    int64  // $version, when HasVersion
	HasVersion bool
}

// ErrTopic is the class of errors for topics outside the device interface.
var ErrTopic = errors.New("not a topic of the device interface")

// ParseTopic reads a topic of either direction. It does not allocate for topics that begin with $iothub.
func ParseTopic(topic string) (Topic, error) {
	if rest, ok := strings.CutPrefix(topic, twinReportPrefix); ok {
		return parameters(Topic{Kind: TopicTwinReport}, rest)
	}
	if rest, ok := strings.CutPrefix(topic, twinResponsePrefix); ok {
		return statusTopic(TopicTwinResponse, rest)
	}
	if rest, ok := strings.CutPrefix(topic, twinGetPrefix); ok {
		return parameters(Topic{Kind: TopicTwinGet}, rest)
	}
	if rest, ok := strings.CutPrefix(topic, desiredPrefix); ok {
		return parameters(Topic{Kind: TopicDesired}, rest)
	}
	if rest, ok := strings.CutPrefix(topic, methodResponsePrefix); ok {
		return statusTopic(TopicMethodResponse, rest)
	}
	if rest, ok := strings.CutPrefix(topic, methodRequestPrefix); ok {
		name, rest, ok := strings.Cut(rest, "/")
		if !ok || name == "" {
			return Topic{}, ErrTopic
		}
		return parameters(Topic{Kind: TopicMethodRequest, Method: name}, rest)
	}
	if rest, ok := strings.CutPrefix(topic, devicesPrefix); ok {
		return deviceTopic(rest)
	}
	return Topic{}, ErrTopic
}

func statusTopic(kind TopicKind, rest string) (Topic, error) {
	status, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return Topic{}, ErrTopic
	}
	n, err := strconv.Atoi(status)
	if err != nil || n < 0 || status[0] == '+' {
		return Topic{}, ErrTopic
	}
	return parameters(Topic{Kind: kind, Status: n}, rest)
}

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
			if err != nil || version < 0 || value[0] == '+' {
				return Topic{}, ErrTopic
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
	}
	if bag, found := strings.CutPrefix(rest, "messages/events"); found && (bag == "" || bag[0] == '/') {
		t.Kind, t.Properties = TopicTelemetry, strings.TrimPrefix(bag, "/")
		return t, nil
	}
	if bag, found := strings.CutPrefix(rest, "messages/devicebound"); found && (bag == "" || bag[0] == '/') {
		t.Kind, t.Properties = TopicC2D, strings.TrimPrefix(bag, "/")
		return t, nil
	}
	return Topic{}, ErrTopic
}

// TwinGetTopic is where a device asks for its twin.
func TwinGetTopic(rid string) string { return twinGetPrefix + "?" + ridParameter + rid }

// ReportTopic is where a device patches its reported properties.
func ReportTopic(rid string) string { return twinReportPrefix + "?" + ridParameter + rid }

// ReportVersionTopic is ReportTopic for a patch that holds only at a given version.
func ReportVersionTopic(rid string, version int64) string {
	return ReportTopic(rid) + "&" + versionParameter + strconv.FormatInt(version, 10)
}

// TwinResponseTopic is where the hub answers a twin request.
func TwinResponseTopic(status int, rid string) string {
	return twinResponsePrefix + strconv.Itoa(status) + "/?" + ridParameter + rid
}

// ReportAcceptedTopic is TwinResponseTopic for an accepted patch: 204 and the new version.
func ReportAcceptedTopic(rid string, version int64) string {
	return TwinResponseTopic(204, rid) + "&" + versionParameter + strconv.FormatInt(version, 10)
}

// DesiredTopic is where the hub tells a device of changed desired properties.
func DesiredTopic(version int64) string {
	return desiredPrefix + "?" + versionParameter + strconv.FormatInt(version, 10)
}

// MethodRequestTopic is where the hub calls a direct method.
func MethodRequestTopic(name, rid string) string {
	return methodRequestPrefix + name + "/?" + ridParameter + rid
}

// MethodResponseTopic is where a device answers a direct method.
func MethodResponseTopic(status int, rid string) string {
	return methodResponsePrefix + strconv.Itoa(status) + "/?" + ridParameter + rid
}

// TelemetryTopic is where a device sends messages.
func TelemetryTopic(deviceID string, properties PropertyBag) string {
	return devicesPrefix + deviceID + "/messages/events/" + properties.Encode()
}

// C2DTopic is where the hub delivers a cloud-to-device message.
func C2DTopic(deviceID string, properties PropertyBag) string {
	return devicesPrefix + deviceID + "/messages/devicebound/" + properties.Encode()
}

// Property is one entry of a property bag. System properties have names that begin with "$.".
type Property struct {
	Name     string
	Value    string
	HasValue bool // false writes the name alone: a null value
}

// PropertyBag holds the properties of a message in the order of the topic.
type PropertyBag []Property

// ParseProperties decodes a property bag; a plus sign stands for itself. Errors match ErrTopic.
func ParseProperties(raw string) (PropertyBag, error) {
	raw = strings.TrimSuffix(strings.TrimPrefix(raw, "?"), "/")
	if raw == "" {
		return nil, nil
	}
	var bag PropertyBag
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, has := strings.Cut(pair, "=")
		n, err := url.PathUnescape(name)
		if err != nil {
			return nil, fmt.Errorf("%w: property name: %w", ErrTopic, err)
		}
		v, err := url.PathUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("%w: value of property %q: %w", ErrTopic, n, err)
		}
		bag = append(bag, Property{n, v, has})
	}
	return bag, nil
}

// Encode writes the bag as the last segment of a topic.
func (bag PropertyBag) Encode() string {
	var b strings.Builder
	for i, p := range bag {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(escape(p.Name))
		if p.HasValue {
			b.WriteByte('=')
			b.WriteString(escape(p.Value))
		}
	}
	return b.String()
}

// escape is percent encoding as encodeURIComponent does it: spaces are %20.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// Get finds a property by name.
func (bag PropertyBag) Get(name string) (string, bool) {
	for _, p := range bag {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Size is the number of bytes of names and values, as metering counts them (iot-hub-devguide-pricing).
func (bag PropertyBag) Size() int {
	n := 0
	for _, p := range bag {
		n += len(p.Name) + len(p.Value)
	}
	return n
}
