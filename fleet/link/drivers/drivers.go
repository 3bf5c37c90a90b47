// Package drivers makes drivers of connections by the names that scenarios give them.
package drivers

import (
	"cmp"
	"fmt"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/amqp"
	"github.com/twinfleet/twinfleet/fleet/link/https"
	"github.com/twinfleet/twinfleet/fleet/link/lean"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
)

// Default is the driver of MQTT that has no name.
const Default = "paho"

// driver is a driver by a name.
type driver struct {
	name string
	make func() link.Driver
}

// table is every driver of MQTT: a new one is a package beside this and a line here.
func table() []driver {
	return []driver{
		{"paho", func() link.Driver { return paho.New() }},
		{"lean", func() link.Driver { return lean.New() }},
	}
}

// others are the drivers of transports that are not MQTT, by the transport's name: likewise.
func others() []driver {
	return []driver{
		{"amqp", func() link.Driver { return amqp.New() }},
		{"https", func() link.Driver { return https.New() }},
	}
}

// Names are the names of all drivers of MQTT.
func Names() []string {
	var all []string
	for _, d := range table() {
		all = append(all, d.name)
	}
	return all
}

// New makes the driver of MQTT of a name; an empty one is the default.
func New(name string) (link.Driver, error) {
	name = cmp.Or(name, Default)
	for _, d := range table() {
		if d.name == name {
			return d.make(), nil
		}
	}
	return nil, fmt.Errorf("there is no client %q", name)
}

// Over makes the driver of a transport that is not MQTT, by the transport's name, without what it is spoken on: amqp for amqp_ws too.
func Over(transport string) (link.Driver, error) {
	for _, d := range others() {
		if d.name == transport {
			return d.make(), nil
		}
	}
	return nil, fmt.Errorf("there is no driver for the transport %q", transport)
}
