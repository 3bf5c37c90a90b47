package drivers_test

import (
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link/drivers"
)

func TestDrivers(t *testing.T) {
	if !slices.Contains(drivers.Names(), drivers.Default) {
		t.Errorf("%v lacks the default, %s", drivers.Names(), drivers.Default)
	}
	for _, name := range drivers.Names() {
		if d, err := drivers.New(name); d == nil || err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"amqp", "https"} {
		if d, err := drivers.Over(name); d == nil || err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := drivers.Over("mqtt"); err == nil {
		t.Error("MQTT has a client, and was made without")
	}
	if _, err := drivers.New("carrier-pigeon"); err == nil {
		t.Error("a driver that does not exist was made")
	}
}
