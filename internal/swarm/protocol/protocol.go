// Package protocol is what coordinator and agents of a run on many machines say to one another: names, messages, and how they are written.
//
// All times are of the run's clock, which is that of the first coordinator; who has another one converts them.
package protocol

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/seal"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// Version is what both sides must speak: it changes with anything here.
const Version = 1

// Names of the services.
const (
	AgentService       = "twinfleet-agent"
	CoordinatorService = "twinfleet-run"
)

// Endpoints of an agent.
const (
	Hello  = "hello"  // HelloAsk, HelloAnswer: who is there
	Join   = "join"   // JoinAsk, JoinAnswer: that the coordinator knows the token, and that the agent is no echo
	Load   = "load"   // Chunk: a piece of something sealed; no answer
	Offer  = "offer"  // OfferAsk, OfferAnswer: how much of the scenario that was loaded it can run
	Assign = "assign" // AssignAsk: its work, whose identities were loaded; the answer means that it is ready
	Free   = "free"   // FreeAsk: the run is not to be after all
)

// Endpoints of a coordinator.
const (
	Time   = "time"   // the answer is its clock: Unix nanoseconds in decimal
	Events = "events" // Batch of an agent; no answer
)

// HelloAsk opens a session with an agent.
type HelloAsk struct {
	Version int    `json:"version"`
	Run     string `json:"run"` // the session: the run's id
}

// HelloAnswer is who an agent is.
type HelloAnswer struct {
	Version int            `json:"version"`
	Program string         `json:"program"` // version of the program
	Machine report.Machine `json:"machine"`
	Join    seal.Hello     `json:"join"`           // that it knows the join token, and its name
	Busy    string         `json:"busy,omitempty"` // the run that it is part of; empty when it is free
}

// JoinAsk says that the coordinator knows the token.
type JoinAsk struct {
	Run     string       `json:"run"`
	Welcome seal.Welcome `json:"welcome"`
}

// JoinAnswer says that the agent does, and that it is not somebody who overheard it.
type JoinAnswer struct {
	Confirmation seal.Confirmation `json:"confirmation"`
}

// Kinds of what is loaded.
const (
	KindScenario   = "scenario"   // a parcel.Parcel
	KindIdentities = "identities" // what target.Identities.Export wrote
)

// Chunk is a piece of something sealed to an agent.
type Chunk struct {
	Run    string `json:"run"`
	Kind   string `json:"kind"`
	Epoch  int    `json:"epoch"`  // of the cut, for identities
	Number int    `json:"number"` // from 0
	Count  int    `json:"count"`  // of all
	Sealed []byte `json:"sealed"`
}

// OfferAsk asks how much an agent can run of the scenario that was loaded.
type OfferAsk struct {
	Run string `json:"run"`
	// Override is keys of the scenario that are others than in its text, as scenario.Options.Set: what the coordinator settled.
	Override []string `json:"override,omitempty"`
	Places   []string `json:"places,omitempty"` // of the hubs, with keys that open nothing: see target.Places
}

// OfferAnswer is what an agent can hold.
type OfferAnswer struct {
	Devices int    `json:"devices"`          // the most
	Limit   string `json:"limit,omitempty"`  // what does not suffice for one more
	Weight  int    `json:"weight,omitempty"` // how fast it is, as cut.Agent has it
}

// AssignAsk is the work of an agent.
type AssignAsk struct {
	Run     string        `json:"run"`
	Marks   string        `json:"marks"`   // fleet.Config.Run
	Cut     []byte        `json:"cut"`     // cut.Cut in JSON
	Follow  []int         `json:"follow"`  // devices whose reports are told, by index
	Every   time.Duration `json:"every"`   // between two Statuses, at least
	OnLoss  string        `json:"on_loss"` // what it does when the coordinator is gone: Finish or Stop
	Patient time.Duration `json:"patient"` // after how long of silence the coordinator counts as gone
}

// What agents do when their coordinator is gone.
const (
	Finish = "finish" // the stages that are planned
	Stop   = "stop"   // nothing more, once it has been gone for as long as AssignAsk.Patient
)

// FreeAsk ends a session.
type FreeAsk struct {
	Run string `json:"run"`
}

// Order is an entry of a run's plan, which grows in the run's store: orders are never taken back, and each has a key of its own.
type Order struct {
	Kind    OrderKind          `json:"kind"`
	At      time.Time          `json:"at"`                // when it holds
	Stage   int                `json:"stage,omitempty"`   // of a Stage: its number, from 0
	Paused  bool               `json:"paused,omitempty"`  // of a Pause
	Change  *report.LoadChange `json:"change,omitempty"`  // of a Change
	Agent   string             `json:"agent,omitempty"`   // of a Lost
	Cut     []byte             `json:"cut,omitempty"`     // of a Lost: the next cut
	Devices int                `json:"devices,omitempty"` // of a Lost: that went with the agent
	Why     string             `json:"why,omitempty"`     // of a Lost
	Status  *Status            `json:"status,omitempty"`  // of a Lost: how the agent stood when it was last heard of
	Known   time.Time          `json:"known,omitzero"`    // of a Lost: when it was noted; At is when the agent was last heard of
}

// OrderKind says what an Order is.
type OrderKind string

// The kinds of orders.
const (
	Start    OrderKind = "start"  // the schedules of the devices begin
	StageAt  OrderKind = "stage"  // a stage begins, and the one before ends
	PauseAt  OrderKind = "pause"  // devices do nothing by themselves, or go on
	ChangeAt OrderKind = "change" // the load of the stage that runs changes
	EndAt    OrderKind = "end"    // nothing is due any more
	Leave    OrderKind = "leave"  // devices leave, each after its last answers
	Kill     OrderKind = "kill"   // devices leave at once
	Lost     OrderKind = "lost"   // an agent is no longer part of the run
)

// Run is what a coordinator that takes a run over must know of it. There is no secret in it.
type Run struct {
	Version  int       `json:"version"`
	Started  time.Time `json:"started"`
	Scenario string    `json:"scenario"`        // checksum of the scenario as it runs
	Marks    string    `json:"marks"`           // fleet.Config.Run
	Cut      []byte    `json:"cut"`             // the first
	Agents   []Member  `json:"agents"`          // those that it began with
	Made     []int     `json:"made,omitempty"`  // devices whose identities the run made: from, to, from, to, each to the one before
	Led      int       `json:"led"`             // coordinators before this one
	Unled    []Unled   `json:"unled,omitempty"` // times in which there was none: before each that took the run over
}

// Unled is a time in which nobody led a run.
type Unled struct {
	From time.Time `json:"from"` // when the coordinator before is last known to have led it
	To   time.Time `json:"to"`   // when the next one took it over
}

// Member is an agent that a run began with.
type Member struct {
	Name    string         `json:"name"`
	Program string         `json:"program"`
	Machine report.Machine `json:"machine"`
}

// Coordinator is the name under which the numbers of the n-th coordinator, counted from 0, are kept.
func Coordinator(n int) string { return "coordinator-" + strconv.Itoa(n) }

// Keys of a run's store.
const (
	KeyRun     = "run"     // Run
	KeyRecord  = "record"  // report.Run, packed: as it was last known
	PrefixPlan = "plan"    // Order: plan.<number>
	PrefixFig  = "figures" // figures.<agent>.<stage> and figures.<agent>.now
)

// OrderKey is where an order is kept. Stages and what there is once have names that whoever tells of them makes alike; others are numbered.
func OrderKey(o *Order, n int) string {
	switch o.Kind {
	case Start, EndAt, Leave, Kill:
		return PrefixPlan + "." + string(o.Kind)
	case StageAt:
		return fmt.Sprintf("%s.stage.%d", PrefixPlan, o.Stage)
	case Lost:
		return PrefixPlan + ".lost." + o.Agent
	default:
		return fmt.Sprintf("%s.%s.%d", PrefixPlan, o.Kind, n)
	}
}

// FiguresKey is where an agent keeps its numbers of a stage.
func FiguresKey(agent string, stage int) string {
	return PrefixFig + "." + agent + "." + strconv.Itoa(stage)
}

// NowKey is where an agent keeps what is known of it beside its numbers by stage.
func NowKey(agent string) string { return PrefixFig + "." + agent + ".now" }

// FiguresOf takes a key of figures apart; stage is -1 for a NowKey.
func FiguresOf(key string) (agent string, stage int, ok bool) {
	rest, ok := strings.CutPrefix(key, PrefixFig+".")
	i := strings.LastIndexByte(rest, '.')
	if !ok || i <= 0 {
		return "", 0, false
	}
	if rest[i+1:] == "now" {
		return rest[:i], -1, true
	}
	n, err := strconv.Atoi(rest[i+1:])
	return rest[:i], n, err == nil && n >= 0
}

// StatusSubject is where an agent says how it stands; * hears all agents of a run.
func StatusSubject(run, agent string) string { return "twinfleet." + run + ".status." + agent }

// BeatSubject is where a coordinator says that it is there.
func BeatSubject(run string) string { return "twinfleet." + run + ".beat" }

// StoreName is the name of a run's store.
func StoreName(run string) string { return "twinfleet-" + run }

// Status is how an agent stands. It is said some times a second while it changes, else about once, and may be lost.
type Status struct {
	At        time.Time      `json:"at"`
	Counts    map[string]int `json:"counts"` // devices by state
	Lost      int            `json:"lost,omitempty"`
	Losses    int            `json:"losses,omitempty"`
	Reasons   map[string]int `json:"reasons,omitempty"` // why connections were lost, as of the moment of Losses or a little before
	Returns   int            `json:"returns,omitempty"`
	Left      int            `json:"left,omitempty"`
	Reporters int            `json:"reporters,omitempty"` // devices with an acknowledged report
	Last      string         `json:"last,omitempty"`      // of a single one, what it said last
	Stage     int            `json:"stage"`               // that runs, from 0; -1 before the first
	Clock     report.Clock   `json:"clock"`
	// Adopted is what became of the devices that the agent took over, by the name of the agent that they were lost with: none is nil, and an agent
	// that had to look whether there are any for it, and found none, says so with zeros.
	Adopted map[string]Adopted `json:"adopted,omitempty"`
	// Undelivered is how many messages of its devices, whose deliveries are measured, are on their way to subscribers.
	Undelivered int `json:"undelivered,omitempty"`
	// Talking is how many of its devices that send such messages have not left.
	Talking int `json:"talking,omitempty"`
	// Over says that its devices have left, and that all that its subscribers got has been told.
	Over bool `json:"over,omitempty"`
}

// Adopted is what became of devices that an agent took over.
type Adopted struct {
	Active    int `json:"active,omitempty"`    // that were to run then
	Back      int `json:"back,omitempty"`      // of Active: that were connected since
	Left      int `json:"left,omitempty"`      // of Active: that were stopped before
	Reporters int `json:"reporters,omitempty"` // of all: with a report that was acknowledged since
}

// Same reports whether another Status says the same of the devices, at another time.
func (s *Status) Same(o *Status) bool {
	return maps.Equal(s.Counts, o.Counts) && s.Lost == o.Lost && s.Losses == o.Losses && maps.Equal(s.Reasons, o.Reasons) && s.Returns == o.Returns && s.Left == o.Left &&
		s.Reporters == o.Reporters && s.Last == o.Last && s.Stage == o.Stage && maps.Equal(s.Adopted, o.Adopted) &&
		(s.Undelivered > 0) == (o.Undelivered > 0) && (s.Talking > 0) == (o.Talking > 0) && s.Over == o.Over
}

// Numbers is what is kept under a FiguresKey.
type Numbers struct {
	At    time.Time         `json:"at"`
	Stage metrics.StagePart `json:"stage"`
}

// Now is what is kept under a NowKey.
type Now struct {
	At         time.Time             `json:"at"`
	Open       []metrics.OpenPart    `json:"open,omitempty"`
	Devices    []metrics.DeviceCount `json:"devices,omitempty"`
	Queries    []metrics.QueryCount  `json:"queries,omitempty"`
	Health     *report.Health        `json:"health,omitempty"`
	Doubts     map[string]string     `json:"doubts,omitempty"` // why stages were not delivered as asked, by name
	Deliveries []fleet.Deliveries    `json:"deliveries,omitempty"`
	Reach      []fleet.Reach         `json:"reach,omitempty"`
	// Adopted is what of Reach is devices that the agent took over, by the name of the agent that they were lost with.
	Adopted map[string][]fleet.Reach `json:"adopted,omitempty"`
	Clock   report.Clock             `json:"clock"`
	Control report.Control           `json:"control"`
	CPU     float64                  `json:"cpu,omitempty"`  // processors in use in the last second
	Lag     time.Duration            `json:"lag,omitempty"`  // by which operations started late then by the agent's own doing, 99th percentile
	Own     int                      `json:"own"`            // devices that were its own
	Kept    int                      `json:"kept,omitempty"` // of their sessions, as fleet.Fleet.Kept has it
	// Stopped says that the devices left before the plan said so; nil when they did not.
	Stopped *Stopped `json:"stopped,omitempty"`
	// Final says that the agent's devices have left, that all their numbers are kept, and that all Events were told.
	Final bool `json:"final,omitempty"`
}

// Stopped is that an agent's devices left before the plan said so.
type Stopped struct {
	At  time.Time `json:"at"`  // when they were told to
	Why string    `json:"why"` // such as: nothing was heard of the coordinator for 15s
}

// Batch is what an agent's devices learnt, in order. A batch that is told twice has the same number.
type Batch struct {
	Agent  string    `json:"agent"`
	Number uint64    `json:"number"` // from 1
	Until  time.Time `json:"until"`  // all that happened before is in this batch or an earlier one; zero when more follows
	Events []Event   `json:"events,omitempty"`
	// Within is by how much the times in it, Until among them, may be wrong: by what was known of the clocks when each was told.
	Within time.Duration `json:"within,omitempty"`
	Missed uint64        `json:"missed,omitempty"` // events that there was no room for, so far
}

// Event is something that a device learnt, or its agent; one of its fields is set.
type Event struct {
	Reporting     *Reporting           `json:"reporting,omitempty"`
	Reported      *fleet.Report        `json:"reported,omitempty"`
	Desired       *fleet.DesiredUpdate `json:"desired,omitempty"`
	Contradiction *fleet.Contradiction `json:"contradiction,omitempty"`
	Account       *Account             `json:"account,omitempty"` // once it has stopped
	Raw           *Raw                 `json:"raw,omitempty"`     // once all have stopped
}

// Raw is that the file which takes an agent's operations is not whole.
type Raw struct {
	Text   string `json:"text"`   // a line
	Broken bool   `json:"broken"` // it could not be written; else operations came too fast
}

// Reporting is a report that is about to be sent.
type Reporting struct {
	Index int       `json:"index"`
	Sent  time.Time `json:"sent"`
}

// Account is what a device's twin must be like.
type Account struct {
	Index int `json:"index"`
	fleet.Account
}
