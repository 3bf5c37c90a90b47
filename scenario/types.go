// Package scenario is the language of scenarios: what a file says about target, fleet, stages, the
// service side and the thresholds. Load decodes one strictly: every mistake is reported at once, each
// with its place and what would be right, and nothing starts before all of it is valid.
package scenario

import (
	"encoding/json"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/fleet/payload/rows"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/scenario/target"
	"github.com/twinfleet/twinfleet/schedule/chance"
)

// Scenario is a valid scenario. It is not changed after Load.
type Scenario struct {
	Name        string                // in reports and metrics; the file's name when the file gives none
	Description string                // a line for people; may be empty
	Seed        uint64                // every random choice follows from it
	Target      target.Target         // what is loaded
	Fleet       Fleet                 // who loads it
	Stages      []Stage               // one after the other; at least one
	Service     Service               // the service side, beside the stages
	Thresholds  []threshold.Threshold // conditions of the verdict, in the order of the file; empty for none
	Generator   Generator             // what follows from the generator's own health
	// Scaled is what another size, that was asked for, makes of the file: a line each.
	Scaled []string
	// Source is the scenario as it runs, in YAML: with overrides and of that size, with ${NAME} as written, without secrets.
	Source []byte
}

// Devices is how many devices the whole fleet has.
func (s *Scenario) Devices() int {
	n := 0
	for _, g := range s.Fleet.Groups {
		n += g.Count
	}
	return n
}

// Fleet is the devices.
type Fleet struct {
	Client          string   // the driver of devices' connections, a name of package drivers
	SourceAddresses []string // local addresses that devices connect from, in turn; empty for the system's choice
	Groups          []Group  // at least one, with different names
}

// Group is devices that share a profile.
type Group struct {
	Name      string              // in metrics and device ids
	Count     int                 // devices, 1 to 10,000,000
	ID        string              // template: {group} and {index}
	Identity  Identity            // how the hub knows the devices
	Report    Report              // what goes into their twins
	Telemetry Telemetry           // messages that they send
	Subscribe Subscribe           // broker only: what they listen to
	Online    chance.Distribution // how long a device stays; zero for always, with Offline
	Offline   chance.Distribution // how long it stays away between
	Tokens    Tokens              // how its credentials end
	Backoff   string              // exponential, steep, fixed or none
	KeepAlive time.Duration       // of MQTT, in whole seconds
	Timeout   time.Duration       // of every operation of a device
	Answer    bool                // desired properties are answered in reported
	Method    Method              // how direct methods are answered
	InFlight  int                 // unanswered operations of one device
	Overflow  string              // what is due beyond InFlight: drop or wait
	place     problem.Place
}

// Weight is one choice by weight.
type Weight struct {
	Name   string  // what is chosen
	Weight float64 // in proportion to the others; 0 is never chosen
}

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
	Every   time.Duration       // in the mean, with Gaps
	Gaps    chance.Distribution // between two messages, by chance; zero for always Every
	Payload *payload.Template   // of a message; nil sends {}
	QoS     int                 // 0 to 2; IoT Hub takes 0 and 1
	Retain  bool                // set the retain flag
	Sync    bool                // all devices in one instant, instead of spread over Every

	Present    bool       // the file says something of telemetry
	Rows       *rows.Rows // instead of Payload
	Topic      string     // broker only: instead of the target's
	Deliveries int        // broker only: subscribers of the run that get each message
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

// Range is a rate per second that changes linearly over a stage.
type Range struct {
	From, To float64 // at the start of the stage, and at its end; alike for a rate that stays
}

// Stage is a stretch of the run.
type Stage struct {
	Name          string        // differs from those of other stages
	Duration      time.Duration // 0 ends the stage with its last step
	Devices       int           // active devices at the end of the stage; below 0 leaves them as they are
	ByGroup       []int         // active devices of each group at the end of the stage, below 0 for as before; nil when the stage says nothing of groups
	ConnectRate   *Range        // devices that come or go a second, until there are Devices; nil spreads them over Duration
	Paused        bool          // devices stay connected and start nothing on their own
	ReportRate    *Range        // of the whole fleet
	TelemetryRate *Range        // of the whole fleet
	Arrivals      string        // of those two rates: even or poisson
	Storm         *Storm        // nil cuts nothing
	Hub           *HubFault     // nil for a hub that behaves
	Network       *Network      // nil for a good network
	Steps         []Step        // in this order
	goals         []goal        // what the file says by group
	active        []int         // active devices of each group at the end of the stage; nil when no stage tells them apart
	place         problem.Place
}

// Storm cuts connections at the start of a stage.
type Storm struct {
	Drop   float64       // share of the connected devices
	Within time.Duration // the cuts are spread over so long; 0 for all at once
	Groups []string      // whose devices; empty for all
}

// HubFault makes the embedded hub misbehave from the start of a stage.
type HubFault struct {
	Refuse   time.Duration // close new connections
	Stall    time.Duration // read and answer nothing
	Restart  time.Duration // close all connections and refuse new ones
	DropAcks float64       // share of the answers that are not sent, until the stage ends
	Service  *ServiceModel // the time that twin operations of devices take, until the stage ends
}

// ServiceModel is a queue before servers: the embedded hub's time for a twin operation of a device.
type ServiceModel struct {
	Servers      int           // operations served at once, 1 to 10,000
	Time         time.Duration // mean of one operation
	Distribution string        // exponential or fixed
}

// Step is one thing that the service side does once, in order, at the start of a stage. Exactly one
// of its parts is set.
type Step struct {
	Statistics *StatisticsStep // read counts of the registry
	Tag        *TagStep        // set tags
	Query      *QueryStep      // query until the result is as expected
	Desired    *DesiredStep    // write desired properties
	Await      *AwaitStep      // wait for devices
}

// StatisticsStep reads the registry's statistics.
type StatisticsStep struct {
	Expect int // identities; below 0 expects nothing
}

// TagStep sets tags on a group's devices.
type TagStep struct {
	Group string          // whose devices
	Tags  json.RawMessage // a JSON object
}

// QueryStep runs a query until its result has the expected size.
type QueryStep struct {
	Name   string        // of one of the service's queries; or
	SQL    string        // a query of its own
	Expect int           // below 0 expects nothing
	Within time.Duration // how long to repeat it until the result is as expected
}

// DesiredStep writes desired properties and waits for the devices' answers.
type DesiredStep struct {
	Group      string          // whose devices
	Properties json.RawMessage // a JSON object
	Within     time.Duration   // 0 does not wait
}

// AwaitStep waits for the devices.
type AwaitStep struct {
	Connected int           // below 0 for any number
	Reported  int           // devices with an acknowledged report; below 0 for any number
	Within    time.Duration // how long to wait; then the step failed
}
