package address_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
)

func TestAddresses(t *testing.T) {
	for _, tt := range []struct{ text, client, rest string }{
		{"/devices/dev-1/messages/events", "dev-1", "/messages/events"},
		{"devices/dev-1/messages/events/", "dev-1", "/messages/events"},
		{"amqps://h.example:5671/devices/Dev/messages/deviceBound", "Dev", "/messages/deviceBound"},
		{"/Devices/a%20b%2B/modules/m%25/twin", "a b+/m%", "/twin"},
		{"/devices/d/modules/m", "d/m", "/"},
		{"/devices/d/modules", "d", "/modules"},
		{"/devices/a%2Fb/twin", "", ""},
		{"/devices/" + strings.Repeat("a", 129) + "/twin", "", ""},
		{"$cbs", "", ""},
		{"/messages/devicebound", "", ""},
		{"amqps://h/$management", "", ""},
	} {
		a, err := address.Parse(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		client, rest, ok := a.Device()
		if ok != (tt.client != "") || ok && (client != tt.client || "/"+strings.Join(rest, "/") != tt.rest) {
			t.Errorf("%s: %q, %s, %v", tt.text, client, rest, ok)
		}
	}
	for _, bad := range []string{"", "/", "amqps://host", "a//b", "%zz", strings.Repeat("a", 1025)} {
		if a, err := address.Parse(bad); !errors.Is(err, address.ErrMalformed) {
			t.Errorf("%q is %v", bad, a)
		}
	}
	a, _ := address.Parse("amqps://h/Messages/deviceBOUND")
	if !a.Is("messages", "devicebound") || a.Is("messages") || !a.Is("*", "devicebound") || a.Is("messages", "events") {
		t.Errorf("%v is not as it should be", a)
	}
}
