package target

import (
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/username"
	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// tokenLife is how long a device's token lives when its group does not say (iot-hub-dev-guide-sas).
const tokenLife = time.Hour

// apiVersion is what devices name in their user names; twins may hold arrays with it.
const apiVersion = "2021-04-12"

// Protocol is what devices say to the target over MQTT.
func (t *Target) Protocol() protocol.Protocol { return t.ProtocolOver(spec.MQTT) }

// ProtocolOver is what devices say to the target over a transport.
func (t *Target) ProtocolOver(over spec.DeviceTransport) protocol.Protocol {
	return t.sc.Target.Kind.Protocol(spec.Topics{Telemetry: t.topic, Filters: t.filters}, over)
}

// Link is what a device's connection needs.
func (t *Target) Link(index int, id string) link.Options {
	return t.linkAt(t.at(index), index, id)
}

// linkAt is Link for a device that connects to a place.
func (t *Target) linkAt(at *place, index int, id string) link.Options {
	g, i := t.groupOf(index)
	way := at.ways[g.Over()]
	bare := way.dial
	if t.sc.Networks() {
		first, _ := g.Sharers(i)
		bare = t.Network.Dial(index-i+first, bare) // the network is bad for a connection, and for all who share it
	}
	if way.through != nil {
		bare = way.through(bare)
	}
	o := link.Options{ClientID: id, CleanSession: true, Dial: bare, Host: at.host}
	if way.secure != nil {
		o.Dial = way.secure(bare)
	}
	if t.Can.Topics {
		if t.sc.Target.V5() {
			o.Version = link.V5
		}
		t.logIn(&o, g, i, index)
		if dial := t.proven(bare, at, g, i, index); dial != nil {
			o.Dial = dial
			if way.web != nil {
				o.Dial = way.web(dial)
			}
		}
		return o
	}
	o.Username = username.Name{Host: at.host, DeviceID: id, APIVersion: apiVersion}.String()
	proof := t.devices.proof(index)
	if proof.cert != nil {
		o.Dial = t.certified(bare, at.certTLS, index)
		if way.web != nil {
			o.Dial = way.web(o.Dial)
		}
		return o
	}
	life := g.Tokens.Life
	if life == 0 {
		life = tokenLife
	}
	host, key := at.host, proof.key
	o.Password = func() string { return sas.Sign(host+"/devices/"+id, key, "", time.Now().Add(life)) }
	return o
}

// groupOf is the group of the device of an index, and its number in it.
func (t *Target) groupOf(index int) (g *scenario.Group, i int) {
	for n := range t.sc.Fleet.Groups {
		g = &t.sc.Fleet.Groups[n]
		if index < g.Count {
			break
		}
		index -= g.Count
	}
	return g, index
}

// topic is where a device of a plain broker sends its messages.
func (t *Target) topic(d protocol.Device) string {
	g, i := t.groupOf(d.Index)
	return g.Fill(g.Telemetry.TopicOf(&t.sc.Target), d.ID, i)
}

// filters are what a device of a plain broker listens to; nil for nothing.
func (t *Target) filters(d protocol.Device) []link.Filter {
	g, i := t.groupOf(d.Index)
	var filters []link.Filter
	for _, topic := range g.Subscribe.Topics {
		filters = append(filters, link.Filter{
			Topic: g.Fill(topic, d.ID, i), QoS: byte(g.Subscribe.QoS), NoLocal: g.Subscribe.NoLocal, RetainAsPublished: g.Subscribe.RetainAsPublished,
			RetainHandling: retainHandling(g.Subscribe.RetainHandling), ID: uint32(g.Subscribe.Identifier),
		})
	}
	return filters
}

// retainHandling is a choice of the scenario as MQTT 5 has it (section 3.8.3.1).
func retainHandling(choice string) byte {
	switch choice {
	case scenario.RetainNew:
		return 1
	case scenario.RetainNone:
		return 2
	default:
		return 0
	}
}
