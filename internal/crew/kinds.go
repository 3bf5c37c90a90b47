package crew

import (
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/scenario"
)

// filler fills templates in for devices of a group.
type filler struct {
	of    *scenario.Scenario
	group *scenario.Group
	first int // index in the fleet of the group's first device
}

func (f filler) fill(template string, d protocol.Device) string {
	return f.group.Fill(template, d.ID, d.Index-f.first)
}

// user are user properties of a device.
func (f filler) user(all []scenario.Property, d protocol.Device) []link.UserProperty {
	out := make([]link.UserProperty, len(all))
	for i, p := range all {
		out[i] = link.UserProperty{Name: f.fill(p.Name, d), Value: f.fill(p.Value, d)}
	}
	return out
}

// speaks fills in what a group's devices send, and ask of a broker.
func (f filler) speaks(p *fleet.Group) {
	g := f.group
	for _, k := range g.Kinds() {
		t := f.telemetry(&k)
		if k.Name == "" {
			p.Telemetry = t
			continue
		}
		p.Kinds = append(p.Kinds, fleet.Kind{Name: k.Name, Telemetry: t})
	}
	if !f.of.Target.Can().Topics {
		return
	}
	p.Listens, p.Respond, p.Kept = g.Listens(), g.Subscribe.Respond, g.Kept
	if w := g.Will; w != nil {
		p.Will = fleet.Will{Delay: w.Delay, Message: func(d protocol.Device) link.Message {
			return link.Message{Topic: f.fill(w.Topic, d), Payload: []byte(f.fill(w.Payload, d)), QoS: byte(w.QoS), Retain: w.Retain}
		}}
	}
	m := &g.MQTT5
	p.Connect = fleet.Connecting{
		SessionExpiry: g.Expiry, ReceiveMaximum: uint16(m.ReceiveMaximum), MaximumPacket: uint32(m.MaximumPacket), TopicAliases: uint16(m.TopicAliases),
	}
	if len(m.User) > 0 {
		p.Connect.User = func(d protocol.Device) []link.UserProperty { return f.user(m.User, d) }
	}
}

// telemetry is what the scenario says of a kind of messages.
func (f filler) telemetry(k *scenario.Kind) fleet.Telemetry {
	t := fleet.Telemetry{
		Every: k.Every, Gaps: k.Gaps, QoS: byte(k.QoS), Retain: k.Retain, Sync: k.Sync, Deliveries: k.Deliveries, Payload: k.Source(),
	}
	if !f.of.Target.Can().Topics {
		return t
	}
	if topic := k.TopicOf(&f.of.Target); k.Name != "" {
		t.Topic = func(d protocol.Device) string { return f.fill(topic, d) }
	}
	if x := &k.Telemetry.Properties; x.ReplyTo != "" || x.ContentType != "" || x.Text || x.Expiry > 0 || len(x.User) > 0 {
		t.Requests = x.ReplyTo != ""
		t.Properties = func(d protocol.Device) *link.Properties { return f.properties(x, d) }
	}
	return t
}

// properties are those of a device's messages.
func (f filler) properties(x *scenario.Properties, d protocol.Device) *link.Properties {
	return &link.Properties{
		User: f.user(x.User, d), ContentType: x.ContentType, ResponseTopic: f.fill(x.ReplyTo, d), Expiry: x.Expiry.Truncate(time.Second), Text: x.Text,
	}
}
