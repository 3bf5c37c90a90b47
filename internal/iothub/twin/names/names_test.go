package names

import (
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	for path, want := range map[string]string{
		"DEVICEID": "deviceId", "Tags.Location.Plant": "tags.Location.Plant", "PROPERTIES.REPORTED.Version": "properties.reported.Version",
		"capabilities.IoTEdge": "capabilities.iotEdge", "X509THUMBPRINT.primarythumbprint": "x509Thumbprint.primaryThumbprint",
		"Unknown.STATUS": "Unknown.STATUS", "properties.Other": "properties.Other",
	} {
		if got := strings.Join(Canonical(strings.Split(path, ".")), "."); got != want {
			t.Errorf("Canonical(%s) = %s; want %s", path, got, want)
		}
	}
}
