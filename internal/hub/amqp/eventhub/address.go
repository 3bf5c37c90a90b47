// Package eventhub is the Event-Hubs-compatible endpoint of a hub as its clients write to it and read it: addresses, filters and the
// requests of $management. It opens no connection and keeps no message.
package eventhub

import (
	"strconv"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/amqp/address"
)

// Kind is what an address names.
type Kind uint8

// The kinds.
const (
	None       Kind = iota // nothing of this endpoint
	Management             // the node that tells of the hub and its partitions
	Partition              // a partition, for a consumer group
	Hub                    // the event hub itself: where others send, and from where nobody reads
	Elsewhere              // a partition of an event hub of another name
)

// Address is what an address of the endpoint names.
type Address struct {
	Kind      Kind
	Hub       string // the event hub as the client calls it; empty for the bare $management, and on the IoT hub's own addresses
	Group     string // consumer group of a Partition
	Partition int    // its number; -1 when it is no number
	Device    bool   // it is one of the IoT hub's own addresses, messages/events and below: a client is redirected from there
}

// fold compares fixed parts, whose case does not matter.
var fold = strings.EqualFold

// ParseAddress reads an address. Its Kind is None when it is none of the endpoint's. name is that of the event hub.
func ParseAddress(parts address.Address, name string) (a Address) {
	if len(parts) == 0 {
		return a
	}
	switch {
	case len(parts) >= 2 && fold(parts[0], "messages") && fold(parts[1], "events"):
		a.Device, parts = true, parts[2:]
	case fold(parts[0], "$management"):
	case fold(parts[0], name):
		a.Hub, parts = parts[0], parts[1:]
	case parts.Is("*", "ConsumerGroups", "*", "Partitions", "*"):
		return Address{Kind: Elsewhere, Hub: parts[0]}
	default:
		return a
	}
	switch {
	case len(parts) == 0:
		a.Kind = Hub
	case len(parts) == 1 && fold(parts[0], "$management"):
		a.Kind = Management
	case len(parts) == 4 && fold(parts[0], "ConsumerGroups") && fold(parts[2], "Partitions"):
		a.Kind, a.Group = Partition, parts[1]
		var err error
		if a.Partition, err = strconv.Atoi(parts[3]); err != nil || a.Partition < 0 {
			a.Partition = -1
		}
	}
	return a
}

// Resource is of what a token must speak for a link to an address: its own, or for a bare $management that below the event hub of a name.
func (a Address) Resource(of address.Address, name string) address.Address {
	if a.Device || a.Hub != "" {
		return of
	}
	return append(address.Address{name}, of...)
}

// Path is the address below the event hub of a name, as one without a slash before it.
func (a Address) Path(name string) string {
	switch a.Kind {
	case Management:
		return name + "/$management"
	case Partition:
		return name + "/ConsumerGroups/" + a.Group + "/Partitions/" + strconv.Itoa(a.Partition)
	default:
		return name + "/"
	}
}
