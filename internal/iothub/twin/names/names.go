// Package names is the names of a twin's own members, which queries may write in any case.
package names

// System returns the usual spelling of a name of the system's own, whatever the case
// it is written in, and "" for any other name.
func System(name string) string {
	var lower [25]byte // As long as the longest name.
	if len(name) > len(lower) {
		return ""
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	return spelling(lower[:len(name)])
}

// spelling is systemName for a name in lower case.
func spelling(lower []byte) string {
	switch string(lower) { // The compiler makes no string of it.
	case "tags":
		return "tags"
	case "properties":
		return "properties"
	case "desired":
		return "desired"
	case "reported":
		return "reported"
	case "deviceid":
		return "deviceId"
	case "moduleid":
		return "moduleId"
	case "etag":
		return "etag"
	case "deviceetag":
		return "deviceEtag"
	case "status":
		return "status"
	case "statusreason":
		return "statusReason"
	case "statusupdatetime":
		return "statusUpdateTime"
	case "connectionstate":
		return "connectionState"
	case "lastactivitytime":
		return "lastActivityTime"
	case "cloudtodevicemessagecount":
		return "cloudToDeviceMessageCount"
	case "authenticationtype":
		return "authenticationType"
	case "x509thumbprint":
		return "x509Thumbprint"
	case "primarythumbprint":
		return "primaryThumbprint"
	case "secondarythumbprint":
		return "secondaryThumbprint"
	case "capabilities":
		return "capabilities"
	case "configurations":
		return "configurations"
	case "devicescope":
		return "deviceScope"
	case "parentscopes":
		return "parentScopes"
	case "iotedge":
		return "iotEdge"
	case "modelid":
		return "modelId"
	case "version":
		return "version"
	default:
		return ""
	}
}

// Canonical returns a path of a twin with the names of the system's own in
// their usual spelling: DEVICEID becomes deviceId, Tags.Plant becomes tags.Plant. Names of
// tags and properties stay as they are. A name the system does not know stays too.
func Canonical(path []string) []string {
	out := make([]string, len(path))
	copy(out, path)
	for i := range out {
		name := System(out[i])
		if name == "" {
			return out
		}
		out[i] = name
		if i == 0 && name == "configurations" {
			return out // ids follow, which may be called like a name of the system's
		}
		section := i == 0 && name == "tags" || i == 1 && out[0] == "properties"
		if section {
			return out
		}
	}
	return out
}
