// Package fleet is the simulated devices: a Fleet has Groups, a Group has Devices, and a device is one
// goroutine that follows its behaviour. Every operation starts when its schedule wants it, whether or
// not earlier ones have been answered, and every operation is one observation of the Recorder.
package fleet

import (
	"log/slog"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/internal/schedule"
	"github.com/twinfleet/twinfleet/metrics"
)

// Device states, as the gauge twinfleet_devices names them.
//
//	waiting ──start──▶ connecting ──CONNACK 0──▶ connected ──loss──▶ backoff
//	   ▲                 ▲   │                     │  │               │
//	   │                 │   └──refused, no answer─┼──┼──────────────▶│
//	   │                 ├────────wait over────────┼──┼───────────────┘
//	   │                 └──online again── offline ◀──┘ session over
//	   └──scaled down, stopped── (from every state)
const (
	StateWaiting    = "waiting"    // not started yet, or scaled away
	StateConnecting = "connecting" // dialling, waiting for CONNACK, subscribing
	StateConnected  = "connected"
	StateBackoff    = "backoff" // lost its connection, or was refused; waits to try again
	StateOffline    = "offline" // its session is over; waits for the next one
)

// Target is where the devices connect.
type Target interface {
	// Link is what a device's connection needs: client id, credentials, transport. The fleet sets the rest.
	Link(index int, id string) link.Options
	// Twins reports whether the target keeps twins: IoT Hub does, a plain broker does not.
	Twins() bool
	// TelemetryTopic is where a device sends its messages.
	TelemetryTopic(index int, id string) string
}

// Config is a fleet.
type Config struct {
	Seed     uint64 // every random choice follows from it
	Groups   []Group
	Target   Target
	Driver   link.Driver
	Recorder *metrics.Recorder
	Logger   *slog.Logger // nil logs nothing
	// OnDesired, which may be nil, is told of desired properties that reached a device. It must not block.
	OnDesired func(DesiredUpdate)
	// OnReporting, which may be nil, is told of a report before it is sent. It must not block.
	OnReporting func(index int, sent time.Time)
	// OnReported, which may be nil, is told of every acknowledged report, in the order of the
	// acknowledgements. It must not block.
	OnReported func(Report)
}

// Group is devices that share a profile.
type Group struct {
	Name  string
	IDs   []string // one a device
	First int      // index of the group's first device in the fleet

	Report    Reporting
	Telemetry Telemetry
	Session   Session
	Backoff   schedule.Backoff
	Tokens    Tokens
	KeepAlive time.Duration // 180 s when 0, as the Node device SDK has it
	Timeout   time.Duration // of an operation; 30 s when 0
	Answer    bool          // answer desired properties in reported
	Methods   Methods
	// InFlight bounds the unanswered operations of one device; 64 when 0. What is due beyond it is dropped and counted.
	InFlight int
}

// Reporting is how devices report their connectivity.
type Reporting struct {
	Types schedule.Weighted[string] // of connectivity; empty reports nothing
	// Next chooses the type after another: a Markov chain. Empty draws from Types every time.
	Next  map[string]schedule.Weighted[string]
	Extra *payload.Template // further reported properties, a JSON object; nil for none
	Every time.Duration     // 0 reports once a connection
	Sync  bool              // all devices report in the same instant, instead of spread over Every
}

// Telemetry is the messages that devices send.
type Telemetry struct {
	Every   time.Duration // 0 sends only what a stage's rate asks for
	Payload *payload.Template
	QoS     byte
	Retain  bool
	Sync    bool
}

// Session is how long devices stay: the zero value stays for ever.
type Session struct {
	Online, Offline schedule.Distribution
}

// Tokens is how long the credentials of a connection live. A device connects anew before they end.
type Tokens struct {
	Life   time.Duration // 0 for connections that never need a new token
	Margin time.Duration // how long before the end
	Spread time.Duration // the renewal comes up to so much earlier, by chance
}

// Methods is how devices answer direct methods.
type Methods struct {
	Delay  schedule.Distribution
	Status int // 200 when 0
}

// DesiredUpdate is desired properties that reached a device.
type DesiredUpdate struct {
	Index    int
	Device   string
	Group    string
	Complete bool   // the whole section, read at connecting; else a change, sent by the hub
	Version  int64  // $version
	JSON     []byte // as received; the receiver's to keep
	At       time.Time
}

// Report is an acknowledged report of a device.
type Report struct {
	Index        int
	Connectivity string    // empty in an answer to desired properties
	Version      int64     // $version of the reported properties
	Acked        time.Time // when the acknowledgement arrived
	Sent         time.Time // as OnReporting was told it
	Answered     int64     // $version of the desired properties that this report answered; 0 for none
}

// withDefaults fills in what a group leaves open.
func (g Group) withDefaults() Group {
	if g.KeepAlive == 0 {
		g.KeepAlive = 180 * time.Second
	}
	if g.Timeout == 0 {
		g.Timeout = 30 * time.Second
	}
	if g.InFlight == 0 {
		g.InFlight = 64
	}
	if g.Methods.Status == 0 {
		g.Methods.Status = 200
	}
	return g
}
