package target

import (
	"errors"
	"testing"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

// Devices go to the target, and as who they registered, or nowhere.
func TestAssignedToTheTarget(t *testing.T) {
	for _, tt := range []struct {
		target, hub, device, why string
	}{
		{"h.azure-devices.net", "h.azure-devices.net", "Dev-1", ""},
		{"h.azure-devices.net", "H.Azure-Devices.net", "Dev-1", ""},
		{"h.azure-devices.net:443", "h.azure-devices.net", "Dev-1", ""},
		{"localhost", "localhost:40123", "Dev-1", ""},
		{"localhost:8883", "localhost:8884", "Dev-1", "assigned to another hub than the target"},
		{"h.azure-devices.net", "h2.azure-devices.net", "Dev-1", "assigned to another hub than the target"},
		{"h", "", "Dev-1", "assigned to another hub than the target"},
		{"h", "h", "dev-1", "assigned as another device than it registered as"},
		{"h", "h", "", "assigned as another device than it registered as"},
	} {
		err := (&Target{places: []*place{{host: tt.target}}}).assigned("Dev-1", fleet.Assignment{Hub: tt.hub, Device: tt.device})
		if (err != nil) != (tt.why != "") || err != nil && (!errors.Is(err, ErrElsewhere) || reason.Of(err) != tt.why) {
			t.Errorf("%q at %q, assigned to %q: %v; want %q", tt.device, tt.target, tt.hub, err, tt.why)
		}
	}
}
