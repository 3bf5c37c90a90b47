package fleet

import (
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/schedule"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Group is devices that share a profile.
type Group struct {
	Name  string   // in metrics
	IDs   []string // one a device
	First int      // how many devices the groups before have; it is not checked
	// FirstIndex is what payloads have for the {{ index }} of the first device: those that follow count on from it.
	FirstIndex int

	Driver   link.Driver       // of their connections; nil is the Config's
	Protocol protocol.Protocol // what they say; nil is the target's
	// Shared is how many devices share one connection, in their order, as behind a gateway: its driver must be link.Sharing. 1 when 0.
	Shared int

	Report    Reporting // what goes into twins; zero reports nothing
	Telemetry Telemetry // messages; zero sends none
	Kinds     []Kind    // further kinds of messages, with names that differ
	Will      Will      // is sent by the target when the connection is lost; zero for none
	// Kept has the target keep a device's session between its connections: its driver must be link.Keeping. What was sent with QoS above 0
	// stays under way over a loss of the connection, and the run's end ends the sessions.
	// One that the target has from before is ended first: over MQTT 3.1.1, where its first connection tells of it, by one that is not measured.
	Kept    bool
	Connect Connecting       // what devices ask for when they connect; zero asks for nothing
	Session schedule.Churn   // the zero value stays for ever
	Backoff schedule.Backoff // the zero value is schedule.ExponentialBackoff
	// Throttled is the back-off after a refusal for load (link.RefusedError.Throttled). The zero value is as Backoff, or
	// schedule.ThrottledBackoff when that is zero too.
	Throttled schedule.Backoff
	Tokens    Tokens        // how credentials end, and are renewed: in band where connections can (link.Renewer); zero for never
	Provision *Provisioning // has a provisioning service say which hub is theirs; nil connects to the target at once
	KeepAlive time.Duration // 180 s when 0, as the Node device SDK has it
	Timeout   time.Duration // of an operation; 30 s when 0
	Answer    bool          // answer desired properties in reported
	Methods   Methods       // how direct methods are answered
	// Listens has the group's devices subscribe to what their protocol says, and start before all others. Those of a protocol
	// with twins listen to the target in any case.
	Listens bool
	// Respond has devices answer each message that names a response topic (MQTT 5), with its correlation data and its payload.
	Respond bool
	// InFlight bounds the unanswered operations of one device; 64 when 0.
	InFlight int
	// Activities are what the devices do beside Report and Telemetry.
	Activities []Activity
	// Wait keeps what is due beyond InFlight until its turn comes: it starts late, and its latency runs
	// from the time that was intended. Otherwise it is dropped and counted.
	Wait bool
}

// Reporting is how devices report their connectivity.
type Reporting struct {
	Types chance.Chain[string] // of connectivity; empty reports nothing
	Extra *payload.Template    // further reported properties, a JSON object; nil for none
	Every time.Duration        // 0 reports once a connection
	Gaps  chance.Distribution  // between two reports, by chance, instead of Every; the zero value is Every
	Sync  bool                 // all devices report in the same instant, instead of spread over Every
}

// Telemetry is the messages that devices send.
type Telemetry struct {
	Every   time.Duration       // 0 sends only what Fleet.Load asks for, with Rated
	Gaps    chance.Distribution // between two messages, by chance, instead of Every; the zero value is Every
	Rated   bool                // takes its turn when Fleet.Load asks for messages
	Payload payload.Source      // of a message; nil sends {}
	QoS     byte                // 0 to 2
	Retain  bool                // set the retain flag
	Sync    bool                // all devices in one instant, instead of spread over Every
	// Deliveries is how many of the fleet's subscribers, among them that of Fleet.Listening, get each message: the time until each has it is
	// measured, and the payload, which must be a JSON object, carries a mark. 0 measures nothing.
	Deliveries int
	// Topic is where a device's messages go; nil is what the protocol says. It must be safe for concurrent use, as the following.
	Topic func(protocol.Device) string
	// Properties are those of a device's messages (MQTT 5), which are not changed; nil for none. With a response topic each message is a
	// request: the device subscribes to the topic, and waits for the response, which is the operation request.
	Properties func(protocol.Device) *link.Properties
	// Requests says that Properties have a response topic.
	Requests bool
}

// Kind is a kind of messages with a name. Metrics have its messages as of the group GROUP/NAME.
type Kind struct {
	Name      string // without a slash
	Telemetry        // what is sent, and when; it takes no turns when Fleet.Load asks for messages
}

// Will is the message that the target sends when it loses a device.
type Will struct {
	Message func(protocol.Device) link.Message // nil for none
	Delay   time.Duration                      // of MQTT 5, in whole seconds
}

// Connecting is what devices ask for when they connect, of MQTT 5: see link.Options.
type Connecting struct {
	SessionExpiry  time.Duration // of sessions that are Kept; link.MaxExpiry when 0
	ReceiveMaximum uint16
	MaximumPacket  uint32
	TopicAliases   uint16 // that each side may use
	User           func(protocol.Device) []link.UserProperty
}

// Tokens is how long the credentials of a connection live. Before they end a device renews them on its connection, which is an
// operation of its own, or connects anew where the connection cannot.
type Tokens struct {
	Life   time.Duration // 0 for credentials that never end
	Margin time.Duration // how long before the end
	Spread time.Duration // the renewal comes up to so much earlier, by chance
}

// Methods is how devices answer direct methods.
type Methods struct {
	Delay  chance.Distribution // before the answer; zero for at once
	Status int                 // 200 when 0
}

// withDefaults fills in what a group leaves open, so that a zero value is the careful choice.
func (g Group) withDefaults() Group {
	if g.KeepAlive == 0 {
		g.KeepAlive = 180 * time.Second
	}
	if g.Timeout == 0 {
		g.Timeout = 30 * time.Second
	}
	if g.Backoff.IsZero() {
		g.Backoff = schedule.ExponentialBackoff()
		if g.Throttled.IsZero() {
			g.Throttled = schedule.ThrottledBackoff()
		}
	}
	if !g.Report.Gaps.IsZero() {
		g.Report.Every = g.Report.Gaps.Mean()
	}
	if !g.Telemetry.Gaps.IsZero() {
		g.Telemetry.Every = g.Telemetry.Gaps.Mean()
	}
	g.Kinds = slices.Clone(g.Kinds)
	for i := range g.Kinds {
		k := &g.Kinds[i]
		if k.Rated = false; !k.Gaps.IsZero() {
			k.Every = k.Gaps.Mean()
		}
	}
	if g.Kept && g.Connect.SessionExpiry == 0 {
		g.Connect.SessionExpiry = link.MaxExpiry
	}
	g.Activities = slices.Clone(g.Activities)
	for i := range g.Activities {
		if a := &g.Activities[i]; !a.Gaps.IsZero() {
			a.Every = a.Gaps.Mean()
		}
	}
	if p := g.Provision; p != nil && p.Timeout == 0 {
		usual := *p
		usual.Timeout = usualRegistration
		g.Provision = &usual
	}
	if g.InFlight == 0 {
		g.InFlight = 64
	}
	g.Shared = max(1, g.Shared)
	if g.Methods.Status == 0 {
		g.Methods.Status = 200
	}
	return g
}
