package fleet

import (
	"log/slog"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/metrics"
)

// Device states, as the gauge twinfleet_devices names them.
//
//	waiting ──start──▶ connecting ──CONNACK 0──▶ connected ──loss──▶ backoff
//	   ▲                 ▲   │                     │  │               │
//	   │                 │   └──refused, no answer─┼──┼──────────────▶│
//	   │                 ├────────wait over────────┼──┼───────────────┘
//	   │                 └──back online── offline ◀──┘ session over
//	   └──scaled down, stopped── (from every state)
const (
	StateWaiting    = "waiting"    // not started yet, or scaled away
	StateConnecting = "connecting" // being assigned to a hub, dialling, waiting for CONNACK, subscribing
	StateConnected  = "connected"  // does what is due
	StateBackoff    = "backoff"    // lost its connection, or was refused; waits to retry
	StateOffline    = "offline"    // its session is over; waits for the next one
)

// Target is where the devices connect.
type Target interface {
	// Link is what a device's connection needs: client id, credentials, transport. The fleet sets the rest, Connection too.
	Link(index int, id string) link.Options
	// Protocol is what devices say to it, but those of groups with a protocol of their own. It is asked once.
	Protocol() protocol.Protocol
}

// Config is a fleet.
type Config struct {
	Seed     uint64            // every random choice follows from it
	Groups   []Group           // in the order of their devices
	Target   Target            // needed
	Driver   link.Driver       // of the connections, but those of groups with a driver of their own, and of those to a provisioning service; needed
	Recorder *metrics.Recorder // gets every operation; needed
	Logger   *slog.Logger      // nil logs nothing
	Start    time.Time         // of all schedules; zero for when the fleet is made. Fleets that are parts of one have the same
	// Mine says which devices, by index, are this fleet's to run; nil for all. The others are those of fleets whose Config differs in Mine
	// alone, perhaps on other machines: together they do what one fleet would do. IDs of devices that are not Mine may be empty.
	Mine func(index int) bool
	// Others joins the fleets that are parts of one, so that deliveries are measured from each to each. Where it is nil they are within this fleet:
	// what devices of others send is known to nobody.
	Others *Others
	// Run, letters and digits, names the run in the marks of messages whose deliveries are measured, so that two runs on the
	// same topics know whose each is. When it is empty the marks name none.
	Run string
	// OnDesired, which may be nil, is told of desired properties that reached a device. It must not block.
	OnDesired func(DesiredUpdate)
	// OnReporting, which may be nil, is told of a report before it is sent. It must not block.
	OnReporting func(index int, sent time.Time)
	// OnReported, which may be nil, is told of every acknowledged report, in the order of the
	// acknowledgements. It must not block.
	OnReported func(Report)
	// OnContradiction, which may be nil, is told of what the target said and what cannot be true beside
	// what it said before. It must not block.
	OnContradiction func(Contradiction)
}

// DesiredUpdate is desired properties that reached a device.
type DesiredUpdate struct {
	Index    int       // of the device in the fleet
	Device   string    // its id
	Group    string    // its name
	Complete bool      // the whole section, read at connecting; else a change, sent by the hub
	Version  int64     // $version
	JSON     []byte    // as received; the receiver's to keep
	At       time.Time // when it arrived
}

// Report is an acknowledged report of a device.
type Report struct {
	Index        int       // of the device in the fleet
	Connectivity string    // empty in an answer to desired properties
	Version      int64     // $version of the reported properties
	Acked        time.Time // when the acknowledgement arrived
	Sent         time.Time // as OnReporting was told it
	Answered     int64     // $version of the desired properties that this report answered; 0 for none
}
