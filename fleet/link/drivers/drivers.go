// Package drivers makes drivers of connections by the names that scenarios give them.
package drivers

import (
	"cmp"
	"fmt"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/lean"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
)

// Default is the driver that has no name.
const Default = "paho"

// table is every driver: a new one is a package beside this and a line here.
func table() []struct {
	name string
	make func() link.Driver
} {
	return []struct {
		name string
		make func() link.Driver
	}{
		{"paho", func() link.Driver { return paho.New() }},
		{"lean", func() link.Driver { return lean.New() }},
	}
}

// Names are the names of all drivers.
func Names() []string {
	var all []string
	for _, d := range table() {
		all = append(all, d.name)
	}
	return all
}

// New makes the driver of a name; an empty one is the default.
func New(name string) (link.Driver, error) {
	name = cmp.Or(name, Default)
	for _, d := range table() {
		if d.name == name {
			return d.make(), nil
		}
	}
	return nil, fmt.Errorf("there is no client %q", name)
}
