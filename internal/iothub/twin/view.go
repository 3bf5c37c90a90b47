package twin

import (
	"strconv"
	"strings"
)

// AppendJSON appends the twin as the service sees it: identity members, tags, and both
// property sections with $metadata and $version.
func (t *Twin) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"deviceId":`...)
	dst = appendString(dst, t.DeviceID)
	if t.ModuleID != "" {
		dst = append(dst, `,"moduleId":`...)
		dst = appendString(dst, t.ModuleID)
	}
	dst = append(dst, `,"etag":"`...)
	dst = appendETag(dst, t.ETag)
	dst = append(dst, `","deviceEtag":`...)
	dst = appendString(dst, t.DeviceETag)
	dst = append(dst, `,"status":`...)
	dst = appendString(dst, t.Status)
	if t.StatusReason != "" {
		dst = append(dst, `,"statusReason":`...)
		dst = appendString(dst, t.StatusReason)
	}
	dst = append(dst, `,"statusUpdateTime":"`...)
	dst = instantOf(t.StatusUpdated).append(dst)
	dst = append(dst, `","connectionState":"`...)
	dst = append(dst, t.connectionState()...)
	dst = append(dst, `","lastActivityTime":"`...)
	dst = instantOf(t.LastActivity).append(dst)
	dst = append(dst, `","cloudToDeviceMessageCount":`...)
	dst = strconv.AppendInt(dst, int64(t.C2DCount), 10)
	dst = append(dst, `,"authenticationType":`...)
	dst = appendString(dst, t.AuthType)
	dst = append(dst, `,"x509Thumbprint":`...)
	dst = t.thumbprints().AppendJSON(dst)
	dst = append(dst, `,"modelId":`...)
	dst = appendString(dst, t.ModelID)
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendInt(dst, t.Version, 10)
	dst = append(dst, `,"tags":`...)
	dst = t.Tags.AppendJSON(dst, true, true)
	dst = append(dst, `,"properties":{"desired":`...)
	dst = t.Desired.AppendJSON(dst, true, true)
	dst = append(dst, `,"reported":`...)
	dst = t.Reported.AppendJSON(dst, true, true)
	dst = append(dst, `},"capabilities":{"iotEdge":`...)
	dst = strconv.AppendBool(dst, t.IoTEdge)
	return append(dst, "}}"...)
}

// MarshalJSON returns the service's view.
func (t *Twin) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil), nil }

// AppendDeviceJSON appends the twin as the device sees it: both property sections with
// $version, no metadata, no tags (iot-hub-mqtt-support, "Retrieve device twin properties").
func (t *Twin) AppendDeviceJSON(dst []byte) []byte {
	dst = append(dst, `{"desired":`...)
	dst = t.Desired.AppendJSON(dst, false, true)
	dst = append(dst, `,"reported":`...)
	dst = t.Reported.AppendJSON(dst, false, true)
	return append(dst, '}')
}

// connectionState spells Connected as documents do.
func (t *Twin) connectionState() string {
	if t.Connected {
		return "Connected"
	}
	return "Disconnected"
}

// thumbprints makes the member x509Thumbprint, with null for what is not set.
func (t *Twin) thumbprints() Value {
	return ObjectValue(
		Member{"primaryThumbprint", textOrNull(t.PrimaryThumbprint)},
		Member{"secondaryThumbprint", textOrNull(t.SecondaryThumbprint)},
	)
}

func textOrNull(s string) Value {
	if s == "" {
		return NullValue()
	}
	return StringValue(s)
}

// Field returns what a query finds under a path, such as "tags", "location", "plant" or
// "properties", "reported", "$version"; Undefined where there is nothing. The names of
// the system's own members match in any case, names of tags and properties exactly.
// Times are strings, as in documents.
func (t *Twin) Field(path ...string) Value {
	if len(path) == 0 {
		return Value{}
	}
	name, rest := systemName(path[0]), path[1:]
	switch name {
	case "tags":
		return t.Tags.field(rest)
	case "properties":
		return t.properties(rest)
	case "x509Thumbprint":
		return foldPath(t.thumbprints(), rest)
	case "capabilities":
		return foldPath(ObjectValue(Member{"iotEdge", BoolValue(t.IoTEdge)}), rest)
	}
	if len(rest) > 0 {
		return Value{}
	}
	return t.system(name)
}

// properties looks up a path below "properties".
func (t *Twin) properties(path []string) Value {
	if len(path) == 0 {
		return ObjectValue(
			Member{"desired", t.Desired.document()},
			Member{"reported", t.Reported.document()},
		)
	}
	switch systemName(path[0]) {
	case "reported":
		return t.Reported.field(path[1:])
	case "desired":
		return t.Desired.field(path[1:])
	default:
		return Value{}
	}
}

// system returns one of the scalar members outside tags and properties.
func (t *Twin) system(name string) Value {
	switch name {
	case "deviceId":
		return StringValue(t.DeviceID)
	case "moduleId":
		return textOrUndefined(t.ModuleID)
	case "etag":
		return StringValue(ETagString(t.ETag))
	case "deviceEtag":
		return StringValue(t.DeviceETag)
	case "status":
		return StringValue(t.Status)
	case "statusReason":
		return textOrUndefined(t.StatusReason)
	case "statusUpdateTime":
		return StringValue(instantOf(t.StatusUpdated).String())
	case "connectionState":
		return StringValue(t.connectionState())
	case "lastActivityTime":
		return StringValue(instantOf(t.LastActivity).String())
	case "cloudToDeviceMessageCount":
		return IntValue(int64(t.C2DCount))
	case "authenticationType":
		return StringValue(t.AuthType)
	case "modelId":
		return StringValue(t.ModelID)
	case "version":
		return IntValue(t.Version)
	default:
		return Value{}
	}
}

func textOrUndefined(s string) Value {
	if s == "" {
		return Value{}
	}
	return StringValue(s)
}

// foldPath walks down an object whose names are the system's own.
func foldPath(v Value, path []string) Value {
	for _, name := range path {
		var next Value
		for key, member := range v.Members() {
			if strings.EqualFold(key, name) {
				next = member
			}
		}
		v = next
	}
	return v
}
