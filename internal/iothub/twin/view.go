package twin

import (
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/etag"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonstring"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/names"
)

// AppendJSON appends the twin as the service sees it: identity members, tags, and both property sections with $metadata
// and $version. Tags are left out while there are none, and the capabilities of a module's device too, as recorded from
// the service.
func (t *Twin) AppendJSON(dst []byte) []byte { return t.append(dst, t.ModuleID == "") }

// AppendRow appends the twin as a query lists it: as AppendJSON, and with capabilities also for a module.
func (t *Twin) AppendRow(dst []byte) []byte { return t.append(dst, true) }

func (t *Twin) append(dst []byte, capabilities bool) []byte {
	dst = append(dst, `{"deviceId":`...)
	dst = jsonstring.Append(dst, t.DeviceID)
	if t.ModuleID != "" {
		dst = append(dst, `,"moduleId":`...)
		dst = jsonstring.Append(dst, t.ModuleID)
	}
	dst = append(dst, `,"etag":"`...)
	dst = etag.AppendTwin(dst, t.ETag)
	dst = append(dst, `","deviceEtag":`...)
	dst = jsonstring.Append(dst, t.DeviceETag)
	dst = append(dst, `,"status":`...)
	dst = jsonstring.Append(dst, t.Status)
	if t.StatusReason != "" {
		dst = append(dst, `,"statusReason":`...)
		dst = jsonstring.Append(dst, t.StatusReason)
	}
	dst = append(dst, `,"statusUpdateTime":"`...)
	dst = timestamp.Of(t.StatusUpdated).Append(dst)
	dst = append(dst, `","connectionState":"`...)
	dst = append(dst, t.connectionState()...)
	dst = append(dst, `","lastActivityTime":"`...)
	dst = timestamp.Of(t.LastActivity).Append(dst)
	dst = append(dst, `","cloudToDeviceMessageCount":`...)
	dst = strconv.AppendInt(dst, int64(t.C2DCount), 10)
	dst = append(dst, `,"authenticationType":`...)
	dst = jsonstring.Append(dst, t.AuthType)
	dst = append(dst, `,"x509Thumbprint":`...)
	dst = t.thumbprints().AppendJSON(dst)
	dst = append(dst, `,"modelId":`...)
	dst = jsonstring.Append(dst, t.ModelID)
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendInt(dst, t.Version, 10)
	if t.Tags.Value().Len() > 0 {
		dst = append(dst, `,"tags":`...)
		dst = t.Tags.AppendJSON(dst, true, true)
	}
	dst = append(dst, `,"properties":{"desired":`...)
	dst = t.Desired.AppendJSON(dst, true, true)
	dst = append(dst, `,"reported":`...)
	dst = t.Reported.AppendJSON(dst, true, true)
	dst = append(dst, '}')
	if len(t.Configurations) > 0 {
		dst = append(dst, `,"configurations":`...)
		dst = t.configurations().AppendJSON(dst)
	}
	if capabilities {
		dst = append(dst, `,"capabilities":{"iotEdge":`...)
		dst = strconv.AppendBool(dst, t.IoTEdge)
		dst = append(dst, '}')
	}
	if t.Scope != "" {
		dst = append(dst, `,"deviceScope":`...)
		dst = jsonstring.Append(dst, t.Scope)
	}
	if len(t.ParentScopes) > 0 {
		dst = append(dst, `,"parentScopes":`...)
		dst = t.parentScopes().AppendJSON(dst)
	}
	return append(dst, '}')
}

// parentScopes makes the member parentScopes, Undefined when there are none.
func (t *Twin) parentScopes() jsonvalue.Value {
	if len(t.ParentScopes) == 0 {
		return jsonvalue.Value{}
	}
	scopes := make([]jsonvalue.Value, len(t.ParentScopes))
	for i, s := range t.ParentScopes {
		scopes[i] = jsonvalue.StringValue(s)
	}
	return jsonvalue.ArrayValue(scopes...)
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

// thumbprints makes the member x509Thumbprint, with null for what is not set. Names begin with a small letter as recorded
// from the service, and with a large one where there is a thumbprint, as was reported from it.
func (t *Twin) thumbprints() jsonvalue.Value {
	primary, secondary := "primaryThumbprint", "secondaryThumbprint"
	if t.PrimaryThumbprint != "" || t.SecondaryThumbprint != "" {
		primary, secondary = "PrimaryThumbprint", "SecondaryThumbprint"
	}
	return jsonvalue.ObjectValue(
		jsonvalue.Member{Key: primary, Value: textOrNull(t.PrimaryThumbprint)},
		jsonvalue.Member{Key: secondary, Value: textOrNull(t.SecondaryThumbprint)},
	)
}

func textOrNull(s string) jsonvalue.Value {
	if s == "" {
		return jsonvalue.NullValue()
	}
	return jsonvalue.StringValue(s)
}

// Field returns what a query finds under a path, such as "tags", "location", "plant" or
// "properties", "reported", "$version"; Undefined where there is nothing. The names of
// the system's own members match in any case, names of tags and properties exactly.
// Times are strings, as in documents.
func (t *Twin) Field(path ...string) jsonvalue.Value {
	if len(path) == 0 {
		return jsonvalue.Value{}
	}
	name, rest := names.System(path[0]), path[1:]
	switch name {
	case "tags":
		return t.Tags.Field(rest)
	case "properties":
		return t.properties(rest)
	case "x509Thumbprint":
		return foldPath(t.thumbprints(), rest)
	case "configurations":
		return t.configuration(rest)
	case "capabilities":
		return foldPath(jsonvalue.ObjectValue(jsonvalue.Member{Key: "iotEdge", Value: jsonvalue.BoolValue(t.IoTEdge)}), rest)
	}
	if len(rest) > 0 {
		return jsonvalue.Value{}
	}
	return t.system(name)
}

// properties finds a path below "properties".
func (t *Twin) properties(path []string) jsonvalue.Value {
	if len(path) == 0 {
		return jsonvalue.ObjectValue(
			jsonvalue.Member{Key: "desired", Value: t.Desired.Document()},
			jsonvalue.Member{Key: "reported", Value: t.Reported.Document()},
		)
	}
	switch names.System(path[0]) {
	case "reported":
		return t.Reported.Field(path[1:])
	case "desired":
		return t.Desired.Field(path[1:])
	default:
		return jsonvalue.Value{}
	}
}

// system returns one of the scalar members outside tags and properties.
func (t *Twin) system(name string) jsonvalue.Value {
	switch name {
	case "deviceId":
		return jsonvalue.StringValue(t.DeviceID)
	case "moduleId":
		return textOrUndefined(t.ModuleID)
	case "etag":
		return jsonvalue.StringValue(etag.OfTwin(t.ETag))
	case "deviceEtag":
		return jsonvalue.StringValue(t.DeviceETag)
	case "status":
		return jsonvalue.StringValue(t.Status)
	case "statusReason":
		return textOrUndefined(t.StatusReason)
	case "statusUpdateTime":
		return jsonvalue.StringValue(timestamp.Of(t.StatusUpdated).String())
	case "connectionState":
		return jsonvalue.StringValue(t.connectionState())
	case "lastActivityTime":
		return jsonvalue.StringValue(timestamp.Of(t.LastActivity).String())
	case "cloudToDeviceMessageCount":
		return jsonvalue.IntValue(int64(t.C2DCount))
	case "authenticationType":
		return jsonvalue.StringValue(t.AuthType)
	case "modelId":
		return jsonvalue.StringValue(t.ModelID)
	case "deviceScope":
		return textOrUndefined(t.Scope)
	case "parentScopes":
		return t.parentScopes()
	case "version":
		return jsonvalue.IntValue(t.Version)
	default:
		return jsonvalue.Value{}
	}
}

func textOrUndefined(s string) jsonvalue.Value {
	if s == "" {
		return jsonvalue.Value{}
	}
	return jsonvalue.StringValue(s)
}

// foldPath walks down an object whose names are the system's own.
func foldPath(v jsonvalue.Value, path []string) jsonvalue.Value {
	for _, name := range path {
		var next jsonvalue.Value
		for key, member := range v.Members() {
			if strings.EqualFold(key, name) {
				next = member
			}
		}
		v = next
	}
	return v
}
