// Package scenario is the language of scenarios: what a file says about target, fleet, stages, the
// service side and the thresholds. Load decodes one strictly: every mistake is reported at once, each
// with its place and what would be right, and nothing starts before all of it is valid.
package scenario

import (
	"encoding/json"
	"time"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/metrics/threshold"
	"github.com/twinfleet/twinfleet/scenario/problem"
	"github.com/twinfleet/twinfleet/schedule"
)

// Scenario is a valid scenario. It is not changed after Load.
type Scenario struct {
	Name        string
	Description string
	Seed        uint64 // every random choice follows from it
	Target      Target
	Fleet       Fleet
	Stages      []Stage
	Service     Service
	Thresholds  []threshold.Threshold
	Generator   Generator
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
	Client          string // the driver of devices' connections, a name of package drivers
	SourceAddresses []string
	Groups          []Group
}

// Group is devices that share a profile.
type Group struct {
	Name      string
	Count     int
	ID        string // template: {group} and {index}
	Identity  Identity
	Report    Report
	Telemetry Telemetry
	Subscribe Subscribe
	Online    schedule.Distribution
	Offline   schedule.Distribution
	Tokens    Tokens
	Backoff   string
	KeepAlive time.Duration
	Timeout   time.Duration
	Answer    bool
	Method    Method
	InFlight  int    // unanswered operations of one device
	Overflow  string // what is due beyond InFlight: drop or wait
	place     problem.Place
}

// Weight is one choice by weight.
type Weight struct {
	Name   string
	Weight float64
}

// Report is how devices report.
type Report struct {
	Types      []Weight
	Next       map[string][]Weight // the type after another; empty draws from Types every time
	Properties *payload.Template
	Every      time.Duration         // in the mean, with Gaps
	Gaps       schedule.Distribution // between two reports, by chance; zero for always Every
	Sync       bool
}

// Telemetry is the messages that devices send.
type Telemetry struct {
	Every   time.Duration         // in the mean, with Gaps
	Gaps    schedule.Distribution // between two messages, by chance; zero for always Every
	Payload *payload.Template
	QoS     int
	Retain  bool
	Sync    bool

	Present    bool          // the file says something of telemetry
	Rows       *payload.Rows // instead of Payload
	Topic      string        // broker only: instead of the target's
	Deliveries int           // broker only: subscribers of the run that get each message
}

// Tokens is the life of SAS tokens.
type Tokens struct {
	Present              bool          // the file says something of tokens: they are renewed
	Life, Margin, Spread time.Duration // Life is 0 when they are not
}

// Method is how devices answer direct methods.
type Method struct {
	Delay  schedule.Distribution
	Status int
}

// Range is a rate per second that changes linearly over a stage.
type Range struct{ From, To float64 }

// Stage is a stretch of the run.
type Stage struct {
	Name          string
	Duration      time.Duration // 0 ends the stage with its last step
	Devices       int           // active devices at the end of the stage; below 0 leaves them as they are
	ByGroup       []int         // active devices of each group at the end of the stage, below 0 for as before; nil when the stage says nothing of groups
	ConnectRate   *Range        // devices that come or go a second, until there are Devices; nil spreads them over Duration
	Paused        bool          // devices stay connected and start nothing on their own
	ReportRate    *Range        // of the whole fleet
	TelemetryRate *Range        // of the whole fleet
	Arrivals      string        // of those two rates: even or poisson
	Storm         *Storm
	Hub           *HubFault
	Network       *Network
	Steps         []Step
	goals         []goal // what the file says by group
	active        []int  // active devices of each group at the end of the stage; nil when no stage tells them apart
	place         problem.Place
}

// Storm cuts connections at the start of a stage.
type Storm struct {
	Drop   float64 // share of the connected devices
	Within time.Duration
	Groups []string // whose devices; empty for all
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
	Servers      int
	Time         time.Duration // mean of one operation
	Distribution string        // exponential or fixed
}

// Step is one thing that the service side does once, in order, at the start of a stage. Exactly one
// of its parts is set.
type Step struct {
	Statistics *StatisticsStep
	Tag        *TagStep
	Query      *QueryStep
	Desired    *DesiredStep
	Await      *AwaitStep
}

// StatisticsStep reads the registry's statistics.
type StatisticsStep struct{ Expect int } // identities; below 0 expects nothing

// TagStep sets tags on a group's devices.
type TagStep struct {
	Group string
	Tags  json.RawMessage
}

// QueryStep runs a query until its result has the expected size.
type QueryStep struct {
	Name   string // of one of the service's queries; or
	SQL    string // a query of its own
	Expect int    // below 0 expects nothing
	Within time.Duration
}

// DesiredStep writes desired properties and waits for the devices' answers.
type DesiredStep struct {
	Group      string
	Properties json.RawMessage
	Within     time.Duration // 0 does not wait
}

// AwaitStep waits for the devices.
type AwaitStep struct {
	Connected int // below 0 for any number
	Reported  int // devices with an acknowledged report; below 0 for any number
	Within    time.Duration
}
