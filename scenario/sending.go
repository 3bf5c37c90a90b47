package scenario

import (
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/document"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Report is how devices report.
type Report struct {
	Types      []Weight            // of connectivity; empty reports nothing
	Next       map[string][]Weight // the type after another; empty draws from Types every time
	Properties *payload.Template   // sent beside connectivity; nil for none
	Every      time.Duration       // in the mean, with Gaps
	Gaps       chance.Distribution // between two reports, by chance; zero for always Every
	Sync       bool                // all devices in one instant, instead of spread over Every
}

// Telemetry is the messages that devices send.
type Telemetry struct {
	Content
	Every  time.Duration       // in the mean, with Gaps
	Gaps   chance.Distribution // between two messages, by chance; zero for always Every
	QoS    int                 // 0 to 2; IoT Hub takes 0 and 1
	Retain bool                // set the retain flag
	Sync   bool                // all devices in one instant, instead of spread over Every

	Present    bool   // the file says something of telemetry
	Topic      string // broker only: instead of the target's
	Deliveries int    // subscribers of the run that get each message: of a broker devices, or EverySubscriber; of a hub the run's reader, which is one
	fan        fan
	Properties Properties // of each message, with MQTT 5
}

// EverySubscriber is a number of Deliveries: each of the run's subscribers of whose topics one matches, and one of each shared subscription.
const EverySubscriber = -1

func reportKeys(p *Report) []language.Key {
	connectivity := []language.Key{
		key("type", weights(&p.Types).Required(), none, "The type by weight, {cellular: 60, wifi: 40}, or one name."),
		key("next", readNext(p), means("drawn anew"),
			"The type after another, by weight: {cellular: {cellular: 90, wifi: 10}}. A type without an entry stays."),
	}
	return []language.Key{
		key("connectivity", value.Object(connectivity), none, "The network that a device is on."),
		key("properties", document.Template(&p.Properties), means("none"),
			"Further reported properties, with templates; sent in the order of the file."),
		key("every", timing.Gaps(&p.Every, &p.Gaps), means("once a connection"),
			"How often a device reports: 15s; 10s..20s, after gaps between the two; ~15s, at random and independently, after "+
				"exponential gaps with that mean."),
		key("sync", value.Bool(&p.Sync), is("false"), "All devices report in the same instant, instead of spread over every."),
	}
}

// readNext reads weights by type.
func readNext(p *Report) language.Value {
	return language.Value{Form: form.Map, Read: func(r *language.Reader, path string, n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			r.Fail(path, n, "expected weights by type, found %s", language.KindName(n))
			return
		}
		p.Next = make(map[string][]Weight)
		r.Pairs(path, n, func(key string, _, v *yaml.Node) {
			var w []Weight
			weights(&w).Read(r, language.Join(path, key), v)
			p.Next[key] = w
		})
	}}
}

func telemetryKeys(t *Telemetry) []language.Key {
	every := key("every", timing.Gaps(&t.Every, &t.Gaps), means("only what telemetry_rate asks for"),
		"How often a device sends, likewise: 15s, 10s..20s or ~15s.")
	return append([]language.Key{every}, sendingKeys(t)...)
}

// sendingKeys are the keys of a kind of messages but for when they are sent.
func sendingKeys(t *Telemetry) []language.Key {
	return append([]language.Key{
		key("qos", value.Count(&t.QoS, 0, 2), is("1"), "Quality of service; IoT Hub takes 0 and 1."),
		key("retain", value.Bool(&t.Retain), is("false"), "Set the retain flag."),
		key("sync", value.Bool(&t.Sync), is("false"), "All devices send in the same instant."),
		key("topic", value.Text(&t.Topic), means("target.topic"),
			"Broker: where the group's devices send; {device}, {group} and {index} are replaced."),
		key("deliveries", value.CountOr(&t.Deliveries, 0, 10_000, "all", EverySubscriber), means("not measured"),
			"How many subscribers of this run get each message: on a broker devices with subscribe, or all, those whose topics say so, on a hub 1, the run itself, which reads "+
				"the messages at the Event-Hubs-compatible endpoint as a service does (its policy needs ServiceConnect). Measures the time "+
				"until each has it, as the operation delivery; the payload carries a mark for that, the member _delivery; over MQTT 5 one that is no object has it as a user property."),
		key("mqtt5", value.Object(propertiesKeys(&t.Properties)), means("none"), "MQTT 5: properties of each message."),
	}, payloadKeys(&t.Content)...)
}
