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

	Driver   link.Driver       // of their connections; nil is the Config's
	Protocol protocol.Protocol // what they say; nil is the target's
	// Shared is how many devices share one connection, in their order, as behind a gateway: its driver must be link.Sharing. 1 when 0.
	Shared int

	Report    Reporting        // what goes into twins; zero reports nothing
	Telemetry Telemetry        // messages; zero sends none
	Session   schedule.Churn   // the zero value stays for ever
	Backoff   schedule.Backoff // the zero value is schedule.ExponentialBackoff
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
