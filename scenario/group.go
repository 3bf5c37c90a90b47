package scenario

import (
	"slices"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link/drivers"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/topic"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// AnyClient leaves the choice of the client to the machine that runs the scenario: see package fit.
const AnyClient = "auto"

// MostShared is how many devices IoT Hub takes on one connection: as many tokens (azure iotedge-lorawan 1337).
const MostShared = 1000

// Over is what carries what the group's devices say.
func (g *Group) Over() target.DeviceTransport { return target.DeviceTransport(g.Transport) }

// Reconnects reports whether devices connect anew because their tokens end, as MQTT has it.
func (g *Group) Reconnects() bool { return g.Tokens.Life > 0 && g.Over().IsMQTT() }

// Renews reports whether devices renew their tokens on their connections. Over HTTPS each message has a fresh one.
func (g *Group) Renews() bool { return g.Tokens.Life > 0 && g.Over().IsAMQP() }

// PerConnection is how many devices share a connection.
func (g *Group) PerConnection() int { return max(1, g.Shared) }

// Sharers are the devices of the group that have one connection with the i-th of them: from first to before last.
func (g *Group) Sharers(i int) (first, last int) { return schedule.Sharers(i, g.Shared, g.Count) }

// Fleet is the devices.
type Fleet struct {
	Client          string   // the driver of devices' connections, a name of package drivers, or AnyClient
	SourceAddresses []string // local addresses that devices connect from, in turn; empty for the system's choice
	Groups          []Group  // at least one, with different names
}

// Group is devices that share a profile.
type Group struct {
	Name      string // in metrics and device ids
	Transport string // what carries what devices say to a hub: a name of target.DeviceTransport
	Shared    int    // how many devices are on one connection, in their order; 1 unless the transport is AMQP
	Count     int    // devices, 1 to 10,000,000
	ID        string // template: {group} and {index}
	// FirstIndex is what the first device has for {index}, in all templates: those that follow count on from it. 0 to MostIndex.
	FirstIndex int
	IndexWidth int                 // digits of {index} at the least, 1 to 10: zeros stand before it; 6 when 0
	ClientID   string              // template, broker only: {device}, {group} and {index}; {device} when empty
	Unnamed    bool                // broker only: devices have no client id, so that the server gives each one
	Username   string              // template, broker only, as ClientID; empty for none
	Password   Secret              // likewise; zero for none
	Identity   Identity            // how the target knows the devices
	Report     Report              // what goes into their twins
	Telemetry  Telemetry           // messages that they send
	Messages   []Message           // broker only: further kinds of messages that they send
	Subscribe  Subscribe           // broker only: what they listen to
	Will       *Will               // broker only; nil for none
	MQTT5      MQTT5               // broker only, with MQTT 5
	Kept       bool                // broker only: the broker keeps a device's session between its connections
	Expiry     time.Duration       // of a session that is Kept, with MQTT 5: for how long; for ever when 0
	Online     chance.Distribution // how long a device stays; zero for always, with Offline
	Offline    chance.Distribution // how long it stays away between
	Tokens     Tokens              // how its credentials end
	Backoff    string              // exponential, steep, fixed or none
	KeepAlive  time.Duration       // of MQTT, in whole seconds
	Timeout    time.Duration       // of every operation of a device
	Answer     bool                // desired properties are answered in reported
	Method     Method              // how direct methods are answered
	InFlight   int                 // unanswered operations of one device
	Overflow   string              // what is due beyond InFlight: drop or wait
	place      problem.Place
}

// Tokens is the life of SAS tokens.
type Tokens struct {
	Present              bool          // the file says something of tokens: they are renewed
	Life, Margin, Spread time.Duration // Life is 0 when they are not
}

// Method is how devices answer direct methods.
type Method struct {
	Delay  chance.Distribution // before the answer; zero for at once
	Status int                 // of the answer, 1 to 999; 200 is well
}

// Subscribe is what devices of a plain broker listen to.
type Subscribe struct {
	Topics            []string // filters; {device}, {group} and {index} are replaced
	QoS               int      // that is asked for, 0 to 2
	NoLocal           bool     // of MQTT 5: not what the device sends itself
	RetainAsPublished bool     // of MQTT 5: the retain flag is that of the sender
	RetainHandling    string   // of MQTT 5: RetainSend, RetainNew or RetainNone
	Identifier        int      // of MQTT 5; 0 for none
	Respond           bool     // of MQTT 5: requests are answered
}

func fleetKeys(f *Fleet) []language.Key {
	return []language.Key{
		key("client", value.OneOf(&f.Client, append([]string{AnyClient}, drivers.Names()...)...), is(AnyClient),
			"The MQTT client that drives the devices that speak MQTT: paho is "+
				"Eclipse's, lean takes a tenth of its memory and half of its processor time, and auto takes paho while this machine carries the fleet with it."),
		key("source_addresses", value.Texts(&f.SourceAddresses), means("the system's choice"),
			"Local addresses that devices connect from, in turn: each has some 28,000 ports."),
		key("groups", value.List(&f.Groups, value.Empty, groupKeys, func(g *Group, p problem.Place) { g.place = p }).Required(), none,
			"Devices that share a profile."),
	}
}

func groupKeys(g *Group) []language.Key {
	reported, telemetry := reportKeys(&g.Report), telemetryKeys(&g.Telemetry)
	session := []language.Key{
		key("online", timing.Random(&g.Online), none, "How long a device stays: 20m, 5m..30m, exp(20m), normal(20m, 5m)."),
		key("offline", timing.Random(&g.Offline), none, "How long it stays away."),
		key("clean", value.Not(&g.Kept), is("true"),
			"Broker: each connection begins with nothing. false has the broker keep a device's subscriptions, and what comes for it meanwhile, for its return; the run ends "+
				"such sessions when it is over."),
		key("expiry", seconds(&g.Expiry), means("for ever"), "MQTT 5, with clean: false: for how long the broker keeps it after a connection; in whole seconds."),
	}
	tokens := []language.Key{
		key("life", timing.Duration(&g.Tokens.Life, time.Second), is("1h"), "How long a token lives."),
		key("margin", timing.Duration(&g.Tokens.Margin, 0), means("15m, or a quarter of life when that is shorter"),
			"How long before the end the device renews it."),
		key("spread", timing.Duration(&g.Tokens.Spread, 0), is("0s"),
			"Renewals come up to so much earlier, by chance; 0s renews all devices at once."),
	}
	desired := []language.Key{key("answer", value.Bool(&g.Answer), is("true"), "Answer desired properties in reported, as IoT Plug and Play does.")}
	methods := []language.Key{
		key("delay", timing.Random(&g.Method.Delay), means("0s"), "How long a device takes to answer a direct method."),
		key("status", value.Count(&g.Method.Status, 1, 999), is("200"), "The status of its answer."),
	}
	return slices.Concat([]language.Key{
		key("name", value.Name(&g.Name).Required(), none, "The group's name, in metrics and device ids."),
		key("count", value.Count(&g.Count, 1, MostDevices), is("1"), "How many devices."),
		key("id", value.Text(&g.ID), is("{group}-{index}"),
			"Device ids; {group} and {index} are replaced, the index with as many digits as index_width says. They stand in topics, so that + and # are none "+
				"of their characters."),
		key("first_index", value.Count(&g.FirstIndex, 0, MostIndex), is("0"),
			"What the first device has for {index}, in ids and everywhere else; the others count on from it. Runs that share a target have different ids so."),
		key("index_width", value.Count(&g.IndexWidth, 1, 10), is(strconv.Itoa(topic.IndexWidth)),
			"Digits of {index}: zeros stand before it. Numbers with more digits are longer."),
		key("identity", value.Object(identityKeys(&g.Identity)), means("made by the run, with keys of their own; a broker's have user name and password"),
			"How devices get to be known by the target, and prove who they are."),
		key("transport", value.OneOf(&g.Transport, target.DeviceTransports()...), is(string(target.MQTT)),
			"IoT Hub: what devices speak to it. mqtt and mqtt_ws (MQTT over WebSocket) are driven by fleet.client, amqp and amqp_ws are AMQP, and "+
				"https only sends telemetry: it has no twins and no direct methods. A hub with one port speaks all of them there; Azure "+
				"has 8883 for mqtt, 5671 for amqp, and 443 for the others. Devices that provision do so over MQTT."),
		key("devices_per_connection", value.Count(&g.Shared, 1, MostShared), is("1"),
			"amqp, amqp_ws: so many devices share one connection, as behind a gateway, and lose it together. They prove who they are with keys."),
		key("reported", value.Object(reported), means("nothing is reported"), "What devices report into their twins."),
		key("telemetry", value.Present(&g.Telemetry.Present, telemetry).Part(), means("none"), "Messages that devices send."),
		key("messages", messageKinds(g), means("none"), "Broker: further kinds of messages, each with its schedule, topic and payload; rates of stages are of telemetry alone."),
		key("will", value.Optional(&g.Will, value.Empty, willKeys), means("none"), "Broker: the message that the broker sends when it loses a device."),
		key("mqtt5", value.Object(mqtt5Keys(&g.MQTT5)), means("nothing"), "MQTT 5: what devices ask for when they connect."),
		key("session", value.Object(session), means("always online"), "Churn: devices come and go; and what the broker keeps of them meanwhile."),
		key("tokens", value.Present(&g.Tokens.Present, tokens), means("no renewal"),
			"SAS tokens that end and are renewed: by connecting anew over MQTT, on the living connection over AMQP, where it is the operation renew. "+
				"Over HTTPS each message has a fresh one."),
		key("backoff", value.OneOf(&g.Backoff, "exponential", "steep", "fixed", "none"), is("exponential"),
			"How devices come back after a loss: exponential (100 ms to 10 s, as the Node SDK, and 10 s to a minute after the hub "+
				"said that it is busy), steep (100 ms, doubled, to 10 s, as the .NET and Java SDKs), fixed (10 s, as the Python SDK), "+
				"none."),
		key("keepalive", timing.KeepAlive(&g.KeepAlive), is("3m"),
			"Keep-alive of MQTT, idle time-out of AMQP, in whole seconds, 65535s at most."),
		key("timeout", timing.Duration(&g.Timeout, timing.Shortest), is("30s"), "How long a device waits for an answer."),
		key("desired", value.Object(desired), means("answered"), "What devices do with desired properties."),
		key("methods", value.Object(methods), means("answered at once"), "How devices answer direct methods."),
	}, loginKeys(g), loadKeys(g))
}

// loadKeys are the keys of a group that say how a device loads its target.
func loadKeys(g *Group) []language.Key {
	return []language.Key{
		key("subscribe", value.Object(subscribeKeys(&g.Subscribe)), means("nothing"),
			"Broker: what devices listen to. Devices that subscribe start before all others."),
		key("in_flight", value.Count(&g.InFlight, 1, 10_000), is("64"), "Operations of one device that may be unanswered at once."),
		key("overflow", value.OneOf(&g.Overflow, "drop", "wait"), is("drop"),
			"What is due while in_flight operations are unanswered: drop counts and forgets it; wait starts it late, when its turn "+
				"comes, and its latency runs from the time that was intended."),
	}
}
