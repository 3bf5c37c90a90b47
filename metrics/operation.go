// Package metrics keeps the numbers of a run. Every measured operation goes once to the one Recorder, and nobody else keeps
// a number.
//
// An operation belongs to a Series, of a kind and a group, and to the stage in which it was intended. It has an intended time, when
// the schedule wanted it, a time at which it was sent, and an end with an Outcome; or it was dropped, for a reason. Nothing
// that was due vanishes: what was scheduled is what ended, what is under way, and what was dropped.
//
// What comes out is a Snapshot, plain data that can be merged and subtracted exactly. Thresholds are compared with it (package
// threshold), through a whole run (package judge), and Prometheus scrapes it (package prom).
package metrics

import "time"

// Operation names one kind of thing that is measured.
type Operation string

// The operations of a run. Any other, unless it is among Options.Operations, is counted as OpOther, so that labels stay bounded.
const (
	OpProvision    Operation = "provision"     // identities made in bulk
	OpStatistics   Operation = "statistics"    // registry statistics read
	OpTag          Operation = "tag"           // tags written to twins
	OpDPSRegister  Operation = "dps_register"  // a device is assigned to its hub: from when that was due, whatever connections, polls and refusals it takes
	OpDPSConnect   Operation = "dps_connect"   // of that: the connection to the provisioning service, from dialling to CONNACK
	OpDPSPut       Operation = "dps_put"       // of that: one request to be registered, until its answer
	OpDPSGet       Operation = "dps_get"       // of that: one poll, until its answer
	OpConnect      Operation = "connect"       // a device's connection, from dialling to CONNACK
	OpRenew        Operation = "renew"         // a device renews its token on its connection, until the answer
	OpSubscribe    Operation = "subscribe"     // a device's subscriptions
	OpTwinGet      Operation = "twin_get"      // a device reads its twin
	OpTwinReport   Operation = "twin_report"   // a device patches its reported properties
	OpTelemetry    Operation = "telemetry"     // a device sends a message, until it is acknowledged
	OpDelivery     Operation = "delivery"      // a device's message, from when it was due until a subscriber has it: of a hub, who reads its messages
	OpRequest      Operation = "request"       // a device's request to another, by MQTT 5, until the response is there
	OpQuery        Operation = "query"         // a twin query through all its pages; the group is the query's name
	OpDesiredPatch Operation = "desired_patch" // the service writes desired properties
	OpDesired      Operation = "desired"       // from that write to the device's notification
	OpDesiredReply Operation = "desired_reply" // from that write to the device's answer in reported
	OpMethod       Operation = "method"        // a direct method, until the device's answer
	OpTwinRead     Operation = "twin_read"     // the service reads a twin
	OpJob          Operation = "job"           // a job, from its creation to its end
	OpFreshness    Operation = "freshness"     // from the acknowledgement of a report to its first appearance in a query
	OpRecovery     Operation = "recovery"      // from the loss of connections until 99 % of the devices are back
	OpOther        Operation = "other"         // one that the Recorder does not know
)

// row is what is known of an operation.
type row struct {
	op      Operation
	devices bool // a device begins it: its group is theirs
	brokers bool // plain brokers know it too
}

// known is how many operations there are.
const known = 25

// table has every operation, in the order in which reports list them: a new one is a line here.
func table() [known]row { // an array costs no garbage
	return [...]row{
		{op: OpProvision},
		{op: OpStatistics},
		{op: OpTag},
		{op: OpDPSRegister, devices: true},
		{op: OpDPSConnect, devices: true},
		{op: OpDPSPut, devices: true},
		{op: OpDPSGet, devices: true},
		{op: OpConnect, devices: true, brokers: true},
		{op: OpRenew, devices: true},
		{op: OpSubscribe, devices: true, brokers: true},
		{op: OpTwinGet, devices: true},
		{op: OpTwinReport, devices: true},
		{op: OpTelemetry, devices: true, brokers: true},
		{op: OpDelivery, devices: true, brokers: true},
		{op: OpRequest, devices: true, brokers: true},
		{op: OpQuery},
		{op: OpDesiredPatch},
		{op: OpDesired},
		{op: OpDesiredReply},
		{op: OpMethod},
		{op: OpTwinRead},
		{op: OpJob},
		{op: OpFreshness},
		{op: OpRecovery, brokers: true},
		{op: OpOther},
	}
}

// Operations are all the operations there are, in the order in which reports list them.
func Operations() []Operation {
	all := make([]Operation, 0, known)
	for _, r := range table() {
		all = append(all, r.op)
	}
	return all
}

// OfDevices reports whether devices begin it, so that it belongs to a group of theirs.
func (o Operation) OfDevices() bool { return o.isKnown() && table()[o.rank()].devices }

// OnBrokers reports whether it is an operation of plain brokers too.
func (o Operation) OnBrokers() bool { return o.isKnown() && table()[o.rank()].brokers }

func (o Operation) isKnown() bool { return o.rank() < known }

// rank orders operations as Operations does, and those of a program's own behind them.
func (o Operation) rank() int {
	all := table()
	for i := range all {
		if all[i].op == o {
			return i
		}
	}
	return len(all)
}

// OfDPS reports whether it is a part of having a device assigned to its hub by a provisioning service.
func (o Operation) OfDPS() bool {
	return o == OpDPSRegister || o == OpDPSConnect || o == OpDPSPut || o == OpDPSGet
}

// Outcome is how an operation ended. Throttled is not slow and slow is not failed: they are counted apart.
type Outcome uint8

// The outcomes.
const (
	OK         Outcome = iota // it was done
	Throttled                 // the target shed it: 429
	Timeout                   // no answer in time
	Refused                   // the target would not: credentials, permissions
	Failed                    // anything else: "error"
	Unanswered                // nobody waited for the answer to the end: how it would have ended is not known
	outcomes                  // how many there are
)

// lost is what reasons of connections that were lost are counted by, among those of outcomes.
const lost = outcomes

// Outcomes are all outcomes, best first.
func Outcomes() []Outcome { return []Outcome{OK, Throttled, Timeout, Refused, Failed, Unanswered} }

// String is the outcome as labels and reports write it.
func (o Outcome) String() string {
	switch o {
	case OK:
		return "ok"
	case Throttled:
		return "throttled"
	case Timeout:
		return "timeout"
	case Refused:
		return "refused"
	case Unanswered:
		return "unanswered"
	case lost:
		return LostConnection
	default:
		return "error"
	}
}

// The reasons why a scheduled operation was never sent. Any other is counted as DropOther.
const (
	DropInFlight     = "in_flight"    // its device, or the audit, had too many unanswered operations
	DropNotConnected = "disconnected" // its device had no connection
	DropStopped      = "stopped"      // the run ended first
	DropPaused       = "paused"       // a stage paused the fleet
	DropOther        = "other"        // any other reason
	reasons          = 5              // how many there are
)

// DropReasons are all of them, in the order in which reports and /metrics list them.
func DropReasons() []string {
	return []string{DropInFlight, DropNotConnected, DropStopped, DropPaused, DropOther}
}

// Observation is one operation that ended.
type Observation struct {
	Operation Operation // which; OpOther for one that the Recorder does not know
	Group     string    // the devices' group, or the query's name; may be empty
	Intended  time.Time // when the schedule wanted it to start
	Sent      time.Time // when it really started
	Done      time.Time // when it ended
	Outcome   Outcome   // how it ended
}
