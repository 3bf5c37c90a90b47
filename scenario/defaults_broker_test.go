package scenario

import "testing"

// everyBrokerObject is a scenario that has every object of the language that only brokers have, and leaves out whatever it can.
const everyBrokerObject = `
target: {hub: "mqtt://127.0.0.1", mqtt: 5}
fleet:
  groups:
    - name: robots
      telemetry: {mqtt5: {}}
      messages: [{name: alarms, every: 1s, mqtt5: {}}]
      will: {topic: gone}
      mqtt5: {}
      session: {clean: false}
      subscribe: {topics: [a]}
    - {name: gates}
stages: [{name: s, devices: 1, duration: 1h}]
`

// brokerEffective is effective of what only brokers have.
func brokerEffective(t *testing.T) map[string]any {
	s := decodeDefaults(t, everyBrokerObject)
	g, gate := &s.Fleet.Groups[0], &s.Fleet.Groups[1]
	m, w, sub := &g.Messages[0], g.Will, &g.Subscribe
	all := map[string]any{
		"fleet.groups.messages":     said(gate.Messages == nil),
		"fleet.groups.messages.qos": m.QoS, "fleet.groups.messages.retain": m.Retain, "fleet.groups.messages.sync": m.Sync,
		"fleet.groups.messages.topic": said(m.Topic == ""), "fleet.groups.messages.deliveries": said(m.Deliveries == 0),
		"fleet.groups.messages.payload": said(m.Payload == nil), "fleet.groups.messages.payload_file": said(m.Rows == nil),
		"fleet.groups.messages.payload_bytes": said(m.Source() == nil), "fleet.groups.messages.payload_size": said(m.Size == 0),
		"fleet.groups.messages.data": said(m.Data == nil),

		"fleet.groups.will": said(gate.Will == nil), "fleet.groups.will.payload": said(w.Payload == ""), "fleet.groups.will.qos": w.QoS,
		"fleet.groups.will.retain": w.Retain, "fleet.groups.will.delay": w.Delay,

		"fleet.groups.mqtt5":                 said(gate.MQTT5.User == nil),
		"fleet.groups.mqtt5.receive_maximum": said(g.MQTT5.ReceiveMaximum == 0), "fleet.groups.mqtt5.maximum_packet": said(g.MQTT5.MaximumPacket == 0),
		"fleet.groups.mqtt5.topic_aliases": said(g.MQTT5.TopicAliases == 0), "fleet.groups.mqtt5.user_properties": said(g.MQTT5.User == nil),

		"fleet.groups.session.clean": !gate.Kept, "fleet.groups.session.expiry": said(g.Kept && g.Expiry == 0),

		"fleet.groups.subscribe.no_local": sub.NoLocal, "fleet.groups.subscribe.retain_as_published": sub.RetainAsPublished,
		"fleet.groups.subscribe.retain_handling": sub.RetainHandling, "fleet.groups.subscribe.identifier": said(sub.Identifier == 0),
		"fleet.groups.subscribe.respond": sub.Respond,
	}
	for path, t := range map[string]*Telemetry{"fleet.groups.telemetry.mqtt5": &g.Telemetry, "fleet.groups.messages.mqtt5": &m.Telemetry} {
		p := &t.Properties
		all[path] = said(gate.Telemetry.Properties.User == nil)
		all[path+".user_properties"], all[path+".content_type"] = said(p.User == nil), said(p.ContentType == "")
		all[path+".expiry"], all[path+".text"], all[path+".reply_to"] = said(p.Expiry == 0), p.Text, said(p.ReplyTo == "")
	}
	return all
}
